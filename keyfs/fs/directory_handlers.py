"""Listing directories.

One with a million clients takes no more of the loop at a time than a small one: its names are put in order in
steps, its nodes are made as they are read, and one answer holds so many of them and no more.
"""

import os
from collections.abc import Generator, Sequence
from typing import Final, overload

import pyfuse3
import trio

from keyfs.broker.tree import Tree
from keyfs.core.policy import READ
from keyfs.core.tree import Facts, Kind, Node, node_at, parent_of
from keyfs.errors import KeyNotFound
from keyfs.fs.handles import DirectoryHandle
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import replies

ENTRIES_AT_ONCE: Final = 200
"""In one answer, whatever room the caller has: readdir(3) has room for about as many."""
_DOTS: Final = (".", "..")
_OF_DOTS: Final = Facts(0o555, 0, 0)  # the kernel takes only the inode number from these entries

Entry = tuple[str, Node]


class ClientEntries(Sequence[Entry]):
    """What is in the directory of a purpose. Of a client no more is kept than its name."""

    def __init__(self, node: Node, labels: Sequence[str]) -> None:
        self._dots = _dots(node)
        self._purpose = node.purpose
        self._labels = labels

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if place < len(_DOTS) or self._purpose is None:
            return self._dots[place]
        label = self._labels[place - len(_DOTS)]
        return label, node_at(self._purpose, label)

    def __len__(self) -> int:
        return len(self._labels) + len(_DOTS)


def directory_entries(tree: Tree, node: Node) -> Generator[None, None, Sequence[Entry]]:
    """What is in a directory, by name; in short steps.

    Raises:
        KeyNotFound: it is gone.
    """
    if node.kind is Kind.PURPOSE and node.purpose is not None:
        return ClientEntries(node, (yield from tree.labels(node.purpose)))
    return [*_dots(node), *((child.path[-1], child) for child in tree.children(node))]


class DirectoryHandlers(Refusals):
    """What `ls` asks."""

    @replies(None)
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory as it is now; the listing does not change while it is read."""
        await self._scene.broker.fresh()
        node = self._scene.inodes.node(inode)
        self._scene.demand(ctx, node, READ)
        entries = await _while_others_are_served(directory_entries(self._scene.broker.tree, node))
        if node.ref is not None:
            entries = [entry for entry in entries if not self._scene.is_hidden(entry[1], ctx.pid)]
            entries += [(s.name, s.node) for s in self._scene.scratches.beside(node.ref, ctx.uid)]
        return self._scene.handles.add(DirectoryHandle(entries))

    @replies(None)
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes; what vanished since `opendir` is left out."""
        entries = self._scene.handles.directory(fh).entries
        looked, replied = 0, 0
        for position in range(start_id, len(entries)):
            if looked == ENTRIES_AT_ONCE:
                if replied:
                    return
                looked = 0
                await trio.lowlevel.checkpoint()  # an answer without entries would be the end
            looked += 1
            try:
                if not self._reply(token, entries[position], position + 1):
                    return
            except KeyNotFound:
                continue
            replied += 1

    @replies(None)
    async def releasedir(self, fh: int) -> None:
        """The end of a directory handle."""
        self._scene.handles.remove(fh)

    def _reply(self, token: pyfuse3.ReaddirToken, entry: Entry, next_id: int) -> bool:
        """Add an entry to an answer; False if there is no room for it.

        Raises:
            KeyNotFound: it is gone.
        """
        name, node = entry
        number = self._scene.inodes.number(node)
        if name in _DOTS:
            attr = self._scene.passing_attributes(node, _OF_DOTS, number)
            return pyfuse3.readdir_reply(token, os.fsencode(name), attr, next_id)
        attr = self._scene.attributes(node, self._scene.facts(node), number)
        if not pyfuse3.readdir_reply(token, os.fsencode(name), attr, next_id):
            return False
        self._scene.inodes.count(number, node)
        return True


def _dots(node: Node) -> tuple[Entry, Entry]:
    return (_DOTS[0], node), (_DOTS[1], parent_of(node))


async def _while_others_are_served(steps: Generator[None, None, Sequence[Entry]]) -> Sequence[Entry]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            entries: Sequence[Entry] = end.value
            return entries
        await trio.lowlevel.checkpoint()
