"""Inode numbers: derived from the node's path, so that they survive a restart and a rotation.

A listing of a large key store makes the kernel refer to millions of nodes. So what is kept of one is the text
of its path, where the rest follows from that; the node itself is made again when it is asked for.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import pyfuse3

from keyfs.core.purposes import Purpose
from keyfs.core.tree import ROOT, Kind, Node, Path, node_at, parent_of
from keyfs.errors import KeyNotFound

RECENT: Final = 1 << 12
"""How many nodes are kept at hand: more than a busy host reads at a time."""
_PERSON: Final = b"keyfs inode 1"
_BITS: Final = 63
_FOLLOW: Final = frozenset({Kind.CLIENT, Kind.KEY, Kind.VIEW, Kind.ROTATE})

Record = bytes | Node


class Inodes:
    """Nodes by inode number, for as long as the kernel refers to them."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {pyfuse3.ROOT_INODE: ROOT}
        self._lookups: dict[int, int] = {}  # where it is not one
        self._moved: dict[bytes, int] = {}  # by path, where another one had its hash first
        self._evading: set[int] = set()  # numbers that were found for such paths
        self._purposes: dict[str, Purpose] = {}
        self._recent: dict[int, Node] = {}
        self._above: dict[str, int] = {}  # the directories of purposes

    def number(self, node: Node) -> int:
        """The node's inode number, without counting a reference."""
        return self._number(text_of_path(node.path)) if node.path else pyfuse3.ROOT_INODE

    def above(self, node: Node) -> int:
        """The number of the directory above a node, as `number` says it."""
        if node.kind is not Kind.CLIENT:
            return self.number(parent_of(node))
        purpose = node.path[0]  # above all the directories of a listing
        number = self._above.get(purpose)
        if number is None:
            number = self._above[purpose] = self.number(parent_of(node))
        return number

    def refer(self, node: Node) -> int:
        """The node's inode number; the kernel now holds one more reference to it."""
        if not node.path:
            return pyfuse3.ROOT_INODE
        text = text_of_path(node.path)
        number = self._number(text)
        self._count(number, node, text)
        self._remember(number, node)  # who looks for a name asks for the file next
        return number

    def count(self, number: int, node: Node) -> None:
        """The kernel now holds one more reference to *node*, of which `number` has just said *number*."""
        if number != pyfuse3.ROOT_INODE:
            self._count(number, node, text_of_path(node.path))

    def node(self, number: int) -> Node:
        """The node the kernel means.

        Raises:
            KeyNotFound: no lookup ever gave out this number.
        """
        node = self._recent.get(number)
        if node is None:
            record = self._records.get(number)
            if record is None:
                raise KeyNotFound(f"unknown inode {number}")
            node = self._node(record)
            self._remember(number, node)
        return node

    def is_known(self, node: Node) -> bool:
        """Whether the kernel refers to this node now."""
        return self.number(node) in self._records

    def known_number(self, node: Node) -> int | None:
        """The number of a node that the kernel may refer to; None if it does not."""
        number = self.number(node)
        return number if number in self._records else None

    def is_number(self, number: int) -> bool:
        """Whether the kernel refers to a node of this number."""
        return number in self._records

    def numbers(self) -> list[int]:
        """All that the kernel refers to."""
        return list(self._records)

    def forget(self, references: Iterable[tuple[int, int]]) -> list[int]:
        """The kernel gives references back; returns the numbers of which it has none left."""
        gone = []
        for number, count in references:
            left = self._lookups.get(number, 1) - count
            if left > 1:
                self._lookups[number] = left
            elif left == 1:
                self._lookups.pop(number, None)
            elif number in self._records and number != pyfuse3.ROOT_INODE:
                self._drop(number)
                gone.append(number)
        return gone

    def __len__(self) -> int:
        return len(self._records)

    def _number(self, text: bytes) -> int:
        moved = self._moved.get(text) if self._moved else None
        if moved is not None:
            return moved
        number = _hash(text)
        # Two live paths with one 63-bit hash are as good as impossible, and would serve a wrong key.
        while (record := self._records.get(number, text)) != text and _text_of(record) != text:
            number = number % (1 << _BITS) + 1
            self._evading.add(number)
        return number

    def _remember(self, number: int, node: Node) -> None:
        if len(self._recent) >= RECENT:
            self._recent.clear()
        self._recent[number] = node

    def _count(self, number: int, node: Node, text: bytes) -> None:
        if number in self._records:
            self._lookups[number] = self._lookups.get(number, 1) + 1
        else:
            self._keep(number, node, text)

    def _keep(self, number: int, node: Node, text: bytes) -> None:
        self._records[number] = self._record(node, text)
        if number in self._evading:
            self._moved[text] = number

    def _record(self, node: Node, text: bytes) -> Record:
        """As little of a node, whose path is this text, as it can be made again from."""
        if node.kind not in _FOLLOW or node.ref is None:
            return node
        self._purposes.setdefault(node.path[0], node.ref.purpose)
        return text

    def _drop(self, number: int) -> None:
        text = _text_of(self._records.pop(number))
        if self._moved:
            self._moved.pop(text, None)
        self._lookups.pop(number, None)
        self._recent.pop(number, None)

    def _node(self, record: Record) -> Node:
        if isinstance(record, Node):
            return record
        path = record.decode("utf-8", "surrogateescape").split("/")
        return node_at(self._purposes[path[0]], *path[1:])


def number_of(path: Path) -> int:
    """The inode number of a path, unless another one has the same."""
    return _hash(text_of_path(path))


def text_of_path(path: Path) -> bytes:
    """A path as one text, from which its number follows."""
    return "/".join(path).encode("utf-8", "surrogateescape")


def _text_of(record: Record) -> bytes:
    return text_of_path(record.path) if isinstance(record, Node) else record


def _hash(text: bytes) -> int:
    digest = hashlib.blake2b(text, digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "big") >> 1 | 2  # neither 0 nor the root's 1
