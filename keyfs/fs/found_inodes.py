"""Inode numbers that an earlier worker gave out: they follow from paths, so they can be found in the tree."""

from collections.abc import Callable, Iterator
from itertools import chain

import trio

from keyfs.broker.tree import Tree
from keyfs.core.tree import ROOT, Node
from keyfs.errors import KeyNotFound
from keyfs.fs.inodes import Inodes, Record, number_of, text_of_path


class FoundInodes(Inodes):
    """Inodes, those included that the kernel knows from before.

    Args:
        tree: where they are looked for.
        adopted: hears of every number that the kernel knows from before.
    """

    def __init__(self, tree: Tree, adopted: Callable[[int], None]) -> None:
        super().__init__()
        self._tree = tree
        self._adopted = adopted
        self._found: dict[int, Record] = {}
        self._one_at_a_time = trio.Lock()

    def is_known(self, node: Node) -> bool:
        """Of any node the kernel may have heard from an earlier worker."""
        return True

    def known_number(self, node: Node) -> int | None:
        """As `Inodes.known_number`."""
        return self.number(node)

    def adopt(self, number: int, node: Node) -> None:
        """*number* means *node*; the kernel may refer to it, without a lookup that we had seen."""
        if number not in self._records:
            self._keep(number, node, text_of_path(node.path))
            self._lookups[number] = 0
            self._adopted(number)

    async def learn(self, number: int) -> None:
        """Have `node` know *number*, if there is anything in the tree that has it."""
        if number in self._records:
            return
        async with self._one_at_a_time:
            if number not in self._found:
                # In a thread: of a large store it takes a while.
                await trio.to_thread.run_sync(self._search, number)
        record = self._found.get(number)
        if record is not None:
            self.adopt(number, self._node(record))

    def _search(self, number: int) -> None:
        """Level by level: what programs keep, such as a directory, is high up more often than not."""
        directories = [ROOT]
        while directories and number not in self._found:
            below: list[Node] = []
            for child in chain.from_iterable(map(self._children, directories)):
                self._found[number_of(child.path)] = self._record(child, text_of_path(child.path))
                if child.kind.is_directory:
                    below.append(child)
            directories = below

    def all(self) -> Iterator[int]:
        """The numbers of all files of keys, wherever they were given out. For a thread."""
        yield from self._below(ROOT)

    def _below(self, node: Node) -> Iterator[int]:
        for child in self._children(node):
            if child.ref is not None:
                yield number_of(child.path)
            yield from self._below(child)

    def _children(self, node: Node) -> Iterator[Node]:
        if node.kind.is_directory:
            try:
                yield from self._tree.children(node)
            except KeyNotFound:
                return  # gone meanwhile
