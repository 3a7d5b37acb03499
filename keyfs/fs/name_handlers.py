"""Names that come and go: what `cp`, `mv`, `rm`, `mkdir` and editors do to directories."""

import os

import pyfuse3

from keyfs.core.names import CURRENT, Half
from keyfs.core.policy import WRITE
from keyfs.core.tree import Facts, Kind, key_node
from keyfs.errors import AccessDenied, KeyExists
from keyfs.fs.handles import WriteHandle, file_info
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import METADATA_WITHIN_S, replies
from keyfs.fs.scene import text_of

NEW_FILE = Facts(mode=0o600, size=0, mtime_ns=0)


class NameHandlers(Refusals):
    """What the kernel asks of a directory's entries."""

    @replies(METADATA_WITHIN_S)
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Only `current` of a key that has lost it can be made; everything else has its own way."""
        await self._scene.broker.fresh()
        parent = self._scene.inodes.node(parent_inode)
        self._scene.demand(ctx, parent, WRITE)
        if parent.kind is not Kind.CLIENT or parent.ref is None or text_of(name) != CURRENT:
            raise AccessDenied(f"{parent}/{text_of(name)} cannot be made: write to current, or to rotate")
        node = key_node(parent.ref, CURRENT, Half.SECRET)
        if flags & os.O_EXCL and self._scene.is_there(node):
            raise KeyExists(f"{node} was made by someone else since the kernel looked")
        staged = await self._scene.broker.stage(node, truncate=True)
        info = file_info(self._scene.handles.add(WriteHandle(node, staged, NEW_FILE)))
        return info, self._scene.attributes(node, self._scene.facts(node), self._scene.inodes.refer(node))
