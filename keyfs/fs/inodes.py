"""Inode numbers: derived from the node's path, so that they survive a restart and a rotation."""

import hashlib
from collections.abc import Iterable
from typing import Final

import pyfuse3

from keyfs.core.tree import ROOT, Node, Path
from keyfs.errors import KeyNotFound

_PERSON: Final = b"keyfs inode 1"
_BITS: Final = 63


class Inodes:
    """Nodes by inode number, for as long as the kernel refers to them."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {pyfuse3.ROOT_INODE: ROOT}
        self._lookups: dict[int, int] = {}
        self._numbers: dict[Path, int] = {ROOT.path: pyfuse3.ROOT_INODE}

    def number(self, node: Node) -> int:
        """The node's inode number, without counting a reference."""
        known = self._numbers.get(node.path)
        if known is not None:
            return known
        number = number_of(node.path)
        # Two live paths with one 63-bit hash are as good as impossible, and would serve a wrong key.
        while number in self._nodes:
            number = number % (1 << _BITS) + 1
        return number

    def refer(self, node: Node) -> int:
        """The node's inode number; the kernel now holds one more reference to it."""
        number = self.number(node)
        if number == pyfuse3.ROOT_INODE:
            return number
        self._nodes[number] = node
        self._numbers[node.path] = number
        self._lookups[number] = self._lookups.get(number, 0) + 1
        return number

    def node(self, number: int) -> Node:
        """The node the kernel means.

        Raises:
            KeyNotFound: no lookup ever gave out this number.
        """
        node = self._nodes.get(number)
        if node is None:
            raise KeyNotFound(f"unknown inode {number}")
        return node

    def is_known(self, node: Node) -> bool:
        """Whether the kernel refers to this node now."""
        return node.path in self._numbers

    def known_number(self, node: Node) -> int | None:
        """The number of a node that the kernel may refer to; None if it does not."""
        return self._numbers.get(node.path)

    def is_number(self, number: int) -> bool:
        """Whether the kernel refers to a node of this number."""
        return number in self._nodes

    def numbers(self) -> list[int]:
        """All that the kernel refers to."""
        return list(self._nodes)

    def forget(self, references: Iterable[tuple[int, int]]) -> list[int]:
        """The kernel gives references back; returns the numbers of which it has none left."""
        gone = []
        for number, count in references:
            left = self._lookups.get(number, 0) - count
            if left > 0:
                self._lookups[number] = left
            elif number in self._nodes and number != pyfuse3.ROOT_INODE:
                self._lookups.pop(number, None)
                del self._numbers[self._nodes.pop(number).path]
                gone.append(number)
        return gone

    def __len__(self) -> int:
        return len(self._nodes)


def number_of(path: Path) -> int:
    """The inode number of a path, unless another one has the same."""
    text = "/".join(path).encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "big") >> 1 | 2  # neither 0 nor the root's 1
