"""Listing directories."""

import os

import pyfuse3

from keyfs.broker.tree import Tree
from keyfs.core.policy import READ
from keyfs.core.tree import Node, parent_of
from keyfs.errors import KeyNotFound
from keyfs.fs.handles import DirectoryHandle
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import METADATA_WITHIN_S, replies


def directory_entries(tree: Tree, node: Node) -> list[tuple[str, Node]]:
    """What is in a directory, by name.

    Raises:
        KeyNotFound: it is gone.
    """
    return [(".", node), ("..", parent_of(node)), *((c.path[-1], c) for c in tree.children(node))]


class DirectoryHandlers(Refusals):
    """What `ls` asks."""

    @replies(METADATA_WITHIN_S)
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory as it is now; the listing does not change while it is read."""
        await self._scene.broker.fresh()
        node = self._scene.inodes.node(inode)
        self._scene.demand(ctx, node, READ)
        entries = directory_entries(self._scene.broker.tree, node)
        entries = [entry for entry in entries if not self._scene.is_hidden(entry[1], ctx.pid)]
        if node.ref is not None:
            entries += [(s.name, s.node) for s in self._scene.scratches.beside(node.ref, ctx.uid)]
        return self._scene.handles.add(DirectoryHandle(tuple(entries)))

    @replies(METADATA_WITHIN_S)
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes; what vanished since `opendir` is left out."""
        entries = self._scene.handles.directory(fh).entries
        for position in range(start_id, len(entries)):
            name, node = entries[position]
            try:
                facts = self._scene.facts(node)
            except KeyNotFound:
                continue
            attr = self._scene.attributes(node, facts, self._scene.inodes.number(node))
            if not pyfuse3.readdir_reply(token, os.fsencode(name), attr, position + 1):
                return
            if name not in (".", ".."):
                self._scene.inodes.refer(node)

    @replies(METADATA_WITHIN_S)
    async def releasedir(self, fh: int) -> None:
        """The end of a directory handle."""
        self._scene.handles.remove(fh)
