"""Listing directories.

One with a million clients takes no more of the loop at a time than a small one: its names are put in order in
steps, its nodes are made as they are read, and one answer holds so many of them and no more.
"""

from collections.abc import Generator, Sequence
from typing import Final, overload

import pyfuse3
import trio

from keyfs.broker.tree import Tree
from keyfs.core.purposes import Purpose
from keyfs.core.tree import Kind, Node, node_at
from keyfs.errors import KeyNotFound
from keyfs.fs.attrs import dot_attributes
from keyfs.fs.handles import DirectoryHandle
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import replies
from keyfs.fs.scene import ENCODING

ENTRIES_AT_ONCE: Final = 200
"""In one answer, whatever room the caller has: readdir(3) has room for about as many."""
_DOTS: Final = (b".", b"..")

Entry = tuple[str, Node]


class ClientEntries(Sequence[Entry]):
    """What is in the directory of a purpose. Of a client no more is kept than its name."""

    def __init__(self, purpose: Purpose, labels: Sequence[str]) -> None:
        self._purpose = purpose
        self._labels = labels

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        label = self._labels[place]
        return label, node_at(self._purpose, label)

    def __len__(self) -> int:
        return len(self._labels)


def directory_entries(tree: Tree, node: Node) -> Generator[None, None, Sequence[Entry]]:
    """What is in a directory, by name; in short steps.

    Raises:
        KeyNotFound: it is gone.
    """
    if node.kind is Kind.PURPOSE and node.purpose is not None:
        return ClientEntries(node.purpose, (yield from tree.labels(node.purpose)))
    return _entries(tree, node)


class DirectoryHandlers(Refusals):
    """What `ls` asks. Everybody may: `DIRECTORY_MODE` lets all users read and search every directory."""

    @replies(None, looks=True)
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory as it is now; the listing does not change while it is read."""
        scene = self._scene
        node, tree = scene.inodes.node(inode), scene.broker.tree
        if node.kind is Kind.PURPOSE:
            entries = await _while_others_are_served(directory_entries(tree, node))
        else:
            entries = _entries(tree, node)
        if node.ref is not None and (scene.removed or scene.scratches):
            entries = [entry for entry in entries if not scene.is_hidden(entry[1], ctx.pid)]
            entries += [(s.name, s.node) for s in scene.scratches.beside(node.ref, ctx.uid)]
        dots = (inode, scene.inodes.above(node))
        return scene.handles.add(DirectoryHandle(node, entries, dots))

    @replies(None)
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes; what vanished since `opendir` is left out."""
        handle = self._scene.handles.directory(fh)
        for place in range(start_id, len(_DOTS)):
            attr = dot_attributes(handle.dots[place])
            if not pyfuse3.readdir_reply(token, _DOTS[place], attr, place + 1):
                return
        looked = replied = max(0, len(_DOTS) - start_id)
        for place in range(max(start_id, len(_DOTS)), len(_DOTS) + len(handle.entries)):
            if looked == ENTRIES_AT_ONCE:
                if replied:
                    return
                looked = 0
                await trio.lowlevel.checkpoint()  # an answer without entries would be the end
            looked += 1
            try:
                if not self._reply(token, handle.entries[place - len(_DOTS)], place + 1):
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
        scene = self._scene
        number = scene.inodes.number(node)
        attr = scene.attributes(node, scene.facts(node), number)
        if not pyfuse3.readdir_reply(token, name.encode(ENCODING, "surrogateescape"), attr, next_id):
            return False
        scene.inodes.count(number, node)
        return True


def _entries(tree: Tree, node: Node) -> list[Entry]:
    return [(child.path[-1], child) for child in tree.children(node)]


async def _while_others_are_served(steps: Generator[None, None, Sequence[Entry]]) -> Sequence[Entry]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            entries: Sequence[Entry] = end.value
            return entries
        await trio.lowlevel.checkpoint()
