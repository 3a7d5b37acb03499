"""Open files: reading a snapshot, writing the next version."""

import errno
import os

import pyfuse3
import trio
from pyfuse3 import FUSEError

from keyfs.broker.snapshot import Snapshot
from keyfs.core.names import CURRENT
from keyfs.core.policy import READ, WRITE
from keyfs.core.tree import ROOT, Kind, Node
from keyfs.errors import AccessDenied, KeyNotFound
from keyfs.fs.handles import NudgeHandle, ReadHandle, ScratchHandle, WriteHandle, file_info
from keyfs.fs.pages import CUT, Admission
from keyfs.fs.polls import CHANGED, READY
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import READ_WITHIN_S, WRITE_WITHIN_S, replies
from keyfs.fs.scene import process_of


class FileHandlers(Refusals):
    """What the kernel asks of an open file."""

    @replies(None, looks=True)
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """For reading, a snapshot; for writing, a version in the making."""
        node = self._scene.inodes.node(inode)
        if node.kind is Kind.SCRATCH:
            return file_info(self._open_scratch(node, flags, ctx.uid))
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            return await self._open_to_change(inode, node, flags, ctx)
        again = self._open_again(inode, node, ctx)
        if again is not None:
            return again
        self._scene.demand(ctx, node, READ)
        snapshot = self._scene.broker.snapshot_here(node)
        if snapshot is not None and self._scene.kernel.is_settled(inode, snapshot.facts.mtime_ns):
            admission = self._scene.kernel.pages.admit(inode, node, snapshot)
            if admission is not None:
                return self._opened(inode, node, snapshot, admission, ctx.pid)
        with trio.fail_after(READ_WITHIN_S):
            return await self._open_later(inode, node, ctx.pid)

    @replies(None)
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes of the handle's snapshot."""
        content = self._scene.handles.reading(fh)
        self._scene.was_read(fh)
        return bytes(content[off : off + size])

    @replies(None)
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Bytes for the version in the making."""
        if self._scene.handles.is_nudge(fh):
            return len(buf)
        scratch = self._scene.handles.scratch(fh)
        if scratch is not None:
            return scratch.write(off, buf)
        handle = self._scene.handles.writing(fh)
        return self._scene.broker.changes.write(handle.node, handle.staged, off, buf)

    @replies(None)
    async def flush(self, fh: int) -> None:
        """The answer to close(2): here a rotation is committed (rule R5)."""
        if self.broker.tree.is_read_only(ROOT):
            raise FUSEError(errno.ENOSYS)  # the kernel asks no more, and close(2) costs no round trip
        await self._commit(fh)

    @replies(None)
    async def fsync(self, fh: int, datasync: bool) -> None:
        """As `flush`: what is acknowledged here is in the store."""
        await self._commit(fh)

    @replies(None)
    async def release(self, fh: int) -> None:
        """The end of a handle. Nobody hears of an error here, so nothing is committed here."""
        self._scene.polls.forget(fh)
        handle = self._scene.handles.remove(fh)
        if isinstance(handle, ReadHandle):
            self._scene.kernel.closed(handle.inode, handle.admission)
            return
        if isinstance(handle, WriteHandle) and handle.inode:
            self._scene.kernel.end_writing(handle.inode)
        if isinstance(handle, WriteHandle | ScratchHandle) and handle.scratch is not None:
            self._scene.scratches.closed(handle.scratch, trio.current_time())

    @replies(None, looks=True)
    async def poll(
        self, inode: int, fh: int, poll_handle: pyfuse3.PollHandle | None, ctx: pyfuse3.RequestContext
    ) -> int:
        """Always readable and writable; POLLPRI once what was opened is not current any more."""
        node = self._scene.inodes.node(inode)
        if node.version == CURRENT and self._is_outdated(node, fh):
            return READY | CHANGED
        if poll_handle is not None and node.ref is not None:
            self._scene.polls.wait(node.ref, fh, poll_handle)
        return READY

    def _is_outdated(self, node: Node, fh: int) -> bool:
        opened = self._scene.handles.opened(fh)
        try:
            return opened is not None and opened.mtime_ns != self._scene.broker.tree.facts(node).mtime_ns
        except KeyNotFound:
            return True

    async def _commit(self, fh: int) -> None:
        if not self._scene.handles.is_writing(fh):
            return
        handle = self._scene.handles.writing(fh)
        with trio.fail_after(WRITE_WITHIN_S):
            await self._scene.broker.changes.commit(handle.node, handle.staged)
            await self._scene.kernel.settled()

    def _open_again(self, inode: int, node: Node, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo | None:
        """What the kernel has already, and is still what is there: nothing has to be opened for it."""
        scene = self._scene
        standing = scene.kernel.pages.standing(inode)
        if standing is None:
            return None
        snapshot, facts = standing.snapshot, standing.snapshot.facts
        if not scene.kernel.is_settled(inode, facts.mtime_ns) or not self.broker.stands(node, standing):
            return None
        scene.demand_of(ctx, node, facts, READ)
        now_s = trio.current_time()
        admission = scene.kernel.pages.admit_again(inode, now_s)
        handle = ReadHandle(node, inode, ctx.pid, snapshot, now_s, admission)
        return file_info(scene.handles.add(handle), admission)

    async def _open_later(self, inode: int, node: Node, pid: int) -> pyfuse3.FileInfo:
        """It has to be fetched, the kernel has to hear of a change first, or others have to close.

        Between the last look at what is current and the answer nothing is awaited: else the kernel could have
        learnt the attributes of a later version meanwhile, and would show them to this open.
        """
        kernel = self._scene.kernel
        while True:
            snapshot = await self._scene.broker.snapshot(node)
            mtime_ns = self._scene.facts(node).mtime_ns
            if snapshot.facts.mtime_ns != mtime_ns or not kernel.is_settled(inode, mtime_ns):
                await kernel.settle(inode, mtime_ns)
                await trio.lowlevel.checkpoint()
                continue
            admission = kernel.pages.admit(inode, node, snapshot)
            if admission is not None:
                return self._opened(inode, node, snapshot, admission, pid)
            await kernel.pages.vacated(inode)

    def _opened(
        self, inode: int, node: Node, snapshot: Snapshot, admission: Admission, pid: int
    ) -> pyfuse3.FileInfo:
        kernel = self._scene.kernel
        if admission.keep:  # not the first time: most keys are opened once
            kernel.pages.stand(inode, self.broker.standing(node, snapshot))
        else:
            admission = kernel.fill(inode, snapshot.content, admission)
        handle = ReadHandle(node, inode, pid, snapshot, trio.current_time(), admission)
        return file_info(self._scene.handles.add(handle), admission)

    async def _open_to_change(
        self, inode: int, node: Node, flags: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        if self._scene.nudger is not None and self._scene.nudger.is_own(ctx.pid):
            return file_info(self._scene.handles.add(NudgeHandle()))
        with trio.fail_after(READ_WITHIN_S):
            if flags & os.O_ACCMODE == os.O_RDONLY:
                return await self._open_cut(inode, node, ctx)
            try:
                return await self._open_for_writing(inode, node, flags, ctx)
            except KeyNotFound:
                if not self._scene.kernel.keeps_keys:
                    raise
                # The kernel knew the name from before. It looks again now, and may make the file.
                raise FUSEError(errno.ESTALE) from None

    async def _open_for_writing(
        self, inode: int, node: Node, flags: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        self._scene.demand(ctx, node, WRITE)
        staged = await self._scene.broker.changes.stage(node, truncate=bool(flags & os.O_TRUNC))
        facts = self._scene.facts(node)
        await self._scene.kernel.settle(inode, facts.mtime_ns)
        await self._scene.kernel.pages.begin_writing(inode)
        self._scene.writers.set(node.path, process_of(ctx.pid), trio.current_time())
        handle = WriteHandle(node, staged, facts, ctx.pid, inode=inode)
        return file_info(self._scene.handles.add(handle))

    async def _open_cut(self, inode: int, node: Node, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """O_RDONLY with O_TRUNC: nothing is cut, but the kernel takes the file for empty, for everybody."""
        self._scene.demand(ctx, node, READ)
        self._scene.demand(ctx, node, WRITE)
        snapshot = await self._scene.broker.snapshot(node)
        await self._scene.kernel.settle(inode, snapshot.facts.mtime_ns)
        await self._scene.kernel.pages.begin_writing(inode)
        handle = ReadHandle(node, inode, ctx.pid, snapshot, trio.current_time(), CUT)
        return file_info(self._scene.handles.add(handle))

    def _open_scratch(self, node: Node, flags: int, uid: int) -> int:
        """A handle for the user who made the file.

        Raises:
            AccessDenied: it is another one.
        """
        scratch = self._scene.scratches.of(node)
        if uid != scratch.uid:
            raise AccessDenied(f"{scratch.ref}/{scratch.name} is a scratch file of another user")
        if flags & os.O_TRUNC:
            scratch.truncate(0)
        return self._scene.open_scratch(scratch)
