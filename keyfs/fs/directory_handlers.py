"""Listing directories.

One with a million clients takes no more of the loop at a time than a small one: its names are put in order in
steps, its nodes are made as they are read, and one answer holds so many of them and no more. What the next
answer holds is made while the caller has the last one.
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
from keyfs.fs.handles import DirectoryHandle, Entry, Line, Lines
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import replies
from keyfs.fs.scene import ENCODING

ENTRIES_AT_ONCE: Final = 200
"""In one answer, whatever room the caller has: readdir(3) has room for about as many."""
_DOTS: Final = (b".", b"..")


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
        entries: Sequence[Entry] | None = None
        if node.kind is Kind.PURPOSE:
            entries = await _while_others_are_served(directory_entries(tree, node))
        elif node.ref is None:
            entries = _entries(tree, node)
        elif scene.removed or scene.scratches:
            entries = [entry for entry in _entries(tree, node) if not scene.is_hidden(entry[1], ctx.pid)]
            entries += [(s.name, s.node) for s in scene.scratches.beside(node.ref, ctx.uid)]
        else:
            tree.demand(node.ref)  # what is in it is looked at when the caller has its answer
        handle = DirectoryHandle(node, entries, (inode, scene.inodes.above(node)))
        self._asked_next = handle, 0
        return scene.handles.add(handle)

    @replies(None)
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes; what vanished since `opendir` is left out."""
        handle = self._scene.handles.directory(fh)
        for place in range(start_id, len(_DOTS)):
            attr = dot_attributes(handle.dots[place])
            if not pyfuse3.readdir_reply(token, _DOTS[place], attr, place + 1):
                return
        place = max(0, start_id - len(_DOTS))
        while lines := self._lines(handle, place):
            told = self._reply(token, lines, place + len(_DOTS))
            place += told
            if told < len(lines) or any(lines):
                break
            await trio.lowlevel.checkpoint()  # an answer without entries would be the end
        self._asked_next = handle, place

    @replies(None)
    async def releasedir(self, fh: int) -> None:
        """The end of a directory handle."""
        self._scene.handles.remove(fh)

    def make_ahead(self) -> None:
        """While a caller has its answer: what it asks for next, if it lists a directory. Never blocks.

        Raises:
            KeyfsError: it cannot be made; who asks for it is told.
        """
        if self._asked_next is not None:
            (handle, place), self._asked_next = self._asked_next, None
            self._lines(handle, place)

    def _lines(self, handle: DirectoryHandle, place: int) -> Sequence[Line | None]:
        """The next lines of a listing, None for what has vanished; none at its end."""
        tree, ahead = self._scene.broker.tree, handle.ahead
        if handle.entries is None:
            handle.entries = _entries_now(tree, handle.node)
        if place >= len(handle.entries):
            return ()
        edition = tree.edition
        lines: list[Line | None] = []
        if ahead is not None and ahead.start <= place and ahead.edition == edition:
            lines += ahead.lines[place - ahead.start :]
        if len(lines) < ENTRIES_AT_ONCE:
            first = place + len(lines)
            lines += map(self._line, handle.entries[first : first + ENTRIES_AT_ONCE])
        # What else is listed changes without the tree's knowing.
        is_kept = handle.node.purpose is not None and not self._scene.scratches
        handle.ahead = Lines(edition, place, lines) if is_kept else None
        return lines[:ENTRIES_AT_ONCE]

    def _line(self, entry: Entry) -> Line | None:
        name, node = entry
        scene = self._scene
        try:
            facts = scene.facts(node)
        except KeyNotFound:
            return None
        return Line(name.encode(ENCODING, "surrogateescape"), node, scene.inodes.number(node), facts)

    def _reply(self, token: pyfuse3.ReaddirToken, lines: Sequence[Line | None], first_id: int) -> int:
        """Add lines to an answer as long as there is room for them; returns how many are done with."""
        scene = self._scene
        for told, line in enumerate(lines):
            if line is None:
                continue
            name, node, number, facts = line
            if scene.inodes.is_number(number):  # maybe of another node, since the line was made
                number = scene.inodes.number(node)
            attr = scene.attributes(node, facts, number)
            if not pyfuse3.readdir_reply(token, name, attr, first_id + told + 1):
                return told
            scene.inodes.count(number, node)
        return len(lines)


def _entries_now(tree: Tree, node: Node) -> list[Entry]:
    try:
        return _entries(tree, node)
    except KeyNotFound:
        return []  # gone since it was opened


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
