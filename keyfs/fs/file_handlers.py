"""Open files: reading a snapshot, writing the next version."""

import errno
import os

import pyfuse3
import trio
from pyfuse3 import FUSEError

from keyfs.core.policy import READ, WRITE
from keyfs.core.tree import ROOT
from keyfs.fs.handles import NudgeHandle, ReadHandle, WriteHandle, file_info
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import METADATA_WITHIN_S, READ_WITHIN_S, WRITE_WITHIN_S, replies


class FileHandlers(Refusals):
    """What the kernel asks of an open file."""

    @replies(READ_WITHIN_S)
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """For reading, a snapshot; for writing, a version in the making."""
        await self._scene.broker.fresh()
        node = self._scene.inodes.node(inode)
        if flags & os.O_ACCMODE == os.O_RDONLY:
            self._scene.demand(ctx, node, READ)
            snapshot = await self._scene.broker.snapshot(node)
            handle = ReadHandle(node, inode, ctx.pid, snapshot, trio.current_time())
            return file_info(self._scene.handles.add(handle))
        if self._scene.nudger is not None and self._scene.nudger.is_own(ctx.pid):
            return file_info(self._scene.handles.add(NudgeHandle()))
        self._scene.demand(ctx, node, WRITE)
        staged = await self._scene.broker.stage(node, truncate=bool(flags & os.O_TRUNC))
        return file_info(self._scene.handles.add(WriteHandle(node, staged, self._scene.facts(node))))

    @replies(READ_WITHIN_S)
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes of the handle's snapshot."""
        return bytes(self._scene.handles.reading(fh)[off : off + size])

    @replies(METADATA_WITHIN_S)
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Bytes for the version in the making."""
        if self._scene.handles.is_nudge(fh):
            return len(buf)
        return self._scene.handles.writing(fh).staged.write(off, buf)

    @replies(WRITE_WITHIN_S)
    async def flush(self, fh: int) -> None:
        """The answer to close(2): here a rotation is committed (rule R5)."""
        if self._scene.broker.tree.is_read_only(ROOT):
            raise FUSEError(errno.ENOSYS)  # the kernel asks no more, and close(2) costs no round trip
        await self._commit(fh)

    @replies(WRITE_WITHIN_S)
    async def fsync(self, fh: int, datasync: bool) -> None:
        """As `flush`: what is acknowledged here is in the store."""
        await self._commit(fh)

    @replies(METADATA_WITHIN_S)
    async def release(self, fh: int) -> None:
        """The end of a handle. Nobody hears of an error here, so nothing is committed here."""
        self._scene.handles.remove(fh)

    async def _commit(self, fh: int) -> None:
        if self._scene.handles.is_writing(fh):
            handle = self._scene.handles.writing(fh)
            await self._scene.broker.commit(handle.node, handle.staged)
