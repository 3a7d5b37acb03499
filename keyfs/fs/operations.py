"""The pyfuse3 handlers. Each translates a request for the broker and its answer for the kernel."""

import errno
import logging
import os
import re
import stat
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyfuse3
import trio
from pyfuse3 import FUSEError

from keyfs.broker.broker import KeyBroker
from keyfs.core.names import CLIENT_ID_MAX, CURRENT, Half
from keyfs.core.policy import READ, SEARCH, WRITE, Caller, Ownership, may
from keyfs.core.tree import ROOT, Facts, Kind, Node, key_node, parent_of
from keyfs.errors import AccessDenied, KeyExists, KeyNotFound, OperationRefused
from keyfs.fs.attrs import entry_attributes
from keyfs.fs.handles import DirectoryHandle, Handles, NudgeHandle, ReadHandle, WriteHandle
from keyfs.fs.inodes import Inodes
from keyfs.fs.nudge import Nudger
from keyfs.fs.outsider import Outsider
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import METADATA_WITHIN_S, READ_WITHIN_S, WRITE_WITHIN_S, replies, swallows
from keyfs.logs import event

NAME_MAX: Final = CLIENT_ID_MAX  # one more than on most media: Redis keeps such a key, so it has to open
STATE_XATTR: Final = b"user.keyfs.state"
NEW_FILE: Final = Facts(mode=0o600, size=0, mtime_ns=0)
_GROUPS: Final = re.compile(rb"^Groups:(.*)$", re.MULTILINE)
_log = logging.getLogger(__name__)


class KeyfsOperations(Refusals):
    """The file system.

    Args:
        broker: what answers.
        owner: who owns every file.
    """

    def __init__(self, broker: KeyBroker, owner: Ownership) -> None:
        super().__init__()
        self._broker = broker
        self._owner = owner
        self._inodes = Inodes()
        self._handles = Handles()
        self._nudger: Nudger | None = None

    def wake_watchers(self, mountpoint: str, outsider: Outsider) -> None:
        """From now on wake inotify watchers under *mountpoint* when keys change by other hands."""
        self._nudger = Nudger(mountpoint, outsider, self._inodes.is_known)
        self._broker.on_change(self._nudger.tell)

    @replies(METADATA_WITHIN_S)
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A name in a directory."""
        await self._broker.fresh()
        parent = self._inodes.node(parent_inode)
        self._demand(ctx, parent, SEARCH)
        node = self._broker.tree.child(parent, _text(name))
        return self._attributes(node, self._broker.tree.facts(node), self._inodes.refer(node))

    @swallows
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """References the kernel gives back."""
        self._inodes.forget(inode_list)

    @replies(METADATA_WITHIN_S)
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """What `stat` shows; to a process that has the file open, what it has open."""
        await self._broker.fresh()
        node = self._inodes.node(inode)
        seen = self._handles.seen_by(inode, ctx.pid, trio.current_time())
        return self._attributes(node, seen or self._facts(node), inode)

    @replies(METADATA_WITHIN_S)
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Truncate, touch, chmod, chown: none of them makes a version (rule R8)."""
        await self._broker.fresh()
        node = self._inodes.node(inode)
        facts = self._facts(node)
        _refuse_change(attr, fields, facts, self._owner)
        if fields.update_size:
            self._demand(ctx, node, WRITE)
            if fh is not None and self._handles.is_writing(fh):
                self._handles.writing(fh).staged.truncate(attr.st_size)
                # The kernel appends where it believes the end to be.
                facts = replace(facts, size=attr.st_size)
        return self._attributes(node, facts, inode)

    @replies(METADATA_WITHIN_S)
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """Permission, by the rules of `keyfs.core.policy`."""
        await self._broker.fresh()
        node = self._inodes.node(inode)
        return may(_caller(ctx), self._owner, self._facts(node).mode, mode & (READ | WRITE | SEARCH))

    @replies(METADATA_WITHIN_S)
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory as it is now; the listing does not change while it is read."""
        await self._broker.fresh()
        node = self._inodes.node(inode)
        self._demand(ctx, node, READ)
        entries = [(".", node), ("..", parent_of(node))]
        entries += [(child.path[-1], child) for child in self._broker.tree.children(node)]
        return self._handles.add(DirectoryHandle(tuple(entries)))

    @replies(METADATA_WITHIN_S)
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes; what vanished since `opendir` is left out."""
        entries = self._handles.directory(fh).entries
        for position in range(start_id, len(entries)):
            name, node = entries[position]
            try:
                facts = self._broker.tree.facts(node)
            except KeyNotFound:
                continue
            attr = self._attributes(node, facts, self._inodes.number(node))
            if not pyfuse3.readdir_reply(token, os.fsencode(name), attr, position + 1):
                return
            if name not in (".", ".."):
                self._inodes.refer(node)

    @replies(METADATA_WITHIN_S)
    async def releasedir(self, fh: int) -> None:
        """The end of a directory handle."""
        self._handles.remove(fh)

    @replies(READ_WITHIN_S)
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """For reading, a snapshot; for writing, a version in the making."""
        await self._broker.fresh()
        node = self._inodes.node(inode)
        if flags & os.O_ACCMODE == os.O_RDONLY:
            self._demand(ctx, node, READ)
            snapshot = await self._broker.snapshot(node)
            handle = ReadHandle(node, inode, ctx.pid, snapshot, trio.current_time())
            return _file_info(self._handles.add(handle))
        if self._nudger is not None and self._nudger.is_own(ctx.pid):
            return _file_info(self._handles.add(NudgeHandle()))
        self._demand(ctx, node, WRITE)
        staged = await self._broker.stage(node, truncate=bool(flags & os.O_TRUNC))
        return _file_info(self._handles.add(WriteHandle(node, staged, self._facts(node))))

    @replies(METADATA_WITHIN_S)
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Only `current` of a key that has lost it can be made; everything else has its own way."""
        await self._broker.fresh()
        parent = self._inodes.node(parent_inode)
        self._demand(ctx, parent, WRITE)
        if parent.kind is not Kind.CLIENT or parent.ref is None or _text(name) != CURRENT:
            raise AccessDenied(f"{parent}/{_text(name)} cannot be made: write to current, or to rotate")
        node = key_node(parent.ref, CURRENT, Half.SECRET)
        if flags & os.O_EXCL and self._is_there(node):
            raise KeyExists(f"{node} was made by someone else since the kernel looked")
        staged = await self._broker.stage(node, truncate=True)
        info = _file_info(self._handles.add(WriteHandle(node, staged, NEW_FILE)))
        return info, self._attributes(node, self._facts(node), self._inodes.refer(node))

    @replies(READ_WITHIN_S)
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Bytes of the handle's snapshot."""
        return bytes(self._handles.reading(fh)[off : off + size])

    @replies(METADATA_WITHIN_S)
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Bytes for the version in the making."""
        if self._handles.is_nudge(fh):
            return len(buf)
        return self._handles.writing(fh).staged.write(off, buf)

    @replies(WRITE_WITHIN_S)
    async def flush(self, fh: int) -> None:
        """The answer to close(2): here a rotation is committed (rule R5)."""
        if self._broker.tree.is_read_only(ROOT):
            raise FUSEError(errno.ENOSYS)  # the kernel asks no more, and close(2) costs no round trip
        await self._commit(fh)

    @replies(WRITE_WITHIN_S)
    async def fsync(self, fh: int, datasync: bool) -> None:
        """As `flush`: what is acknowledged here is in the store."""
        await self._commit(fh)

    @replies(METADATA_WITHIN_S)
    async def release(self, fh: int) -> None:
        """The end of a handle. Nobody hears of an error here, so nothing is committed here."""
        self._handles.remove(fh)

    @replies(METADATA_WITHIN_S)
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """`user.keyfs.state`: whether what is served is fresh. Nothing else; ACLs are not supported."""
        if name == STATE_XATTR:
            self._broker.freshness.look()
            return self._broker.freshness.state.encode()
        raise FUSEError(pyfuse3.ENOATTR if name.startswith(b"user.") else errno.ENOTSUP)

    @replies(METADATA_WITHIN_S)
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """The one that `getxattr` knows."""
        return (STATE_XATTR,)

    @replies(METADATA_WITHIN_S)
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Enough for container engines, which refuse a volume without an answer."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_blocks = data.f_bfree = data.f_bavail = 0
        data.f_files = self._broker.key_count()
        data.f_ffree = data.f_favail = 0
        data.f_namemax = NAME_MAX
        return data

    async def _commit(self, fh: int) -> None:
        if self._handles.is_writing(fh):
            handle = self._handles.writing(fh)
            await self._broker.commit(handle.node, handle.staged)

    def _facts(self, node: Node) -> Facts:
        try:
            return self._broker.tree.facts(node)
        except KeyNotFound:
            facts = self._handles.being_written(node.path)
            if facts is None:
                raise
            return facts

    def _is_there(self, node: Node) -> bool:
        try:
            self._broker.tree.facts(node)
        except KeyNotFound:
            return False
        return True

    def _attributes(self, node: Node, facts: Facts, inode: int) -> pyfuse3.EntryAttributes:
        return entry_attributes(node, facts, inode, self._owner)

    def _demand(self, ctx: pyfuse3.RequestContext, node: Node, want: int) -> None:
        """Refuse, and say so in the log, what the bits do not grant."""
        if may(_caller(ctx), self._owner, self._facts(node).mode, want):
            return
        what = {READ: "read", WRITE: "write", SEARCH: "search"}[want]
        event(_log, logging.WARNING, "access.denied", path=str(node), want=what, uid=ctx.uid, pid=ctx.pid)
        raise FUSEError(errno.EACCES)


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, lambda: _groups(ctx.pid))


def _groups(pid: int) -> Collection[int]:
    """A process's supplementary groups; none when it cannot be looked at.

    It ended while its request was under way, or lives in a pid namespace that is not ours.
    """
    try:
        # Not pyfuse3.get_sup_groups: it fails for a process whose name is not UTF-8.
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return ()
    return {int(group) for line in _GROUPS.findall(status) for group in line.split()}


def _text(name: bytes) -> str:
    if len(name) > NAME_MAX:
        raise FUSEError(errno.ENAMETOOLONG)
    return os.fsdecode(name)


def _file_info(fh: int) -> pyfuse3.FileInfo:
    """Direct I/O: every read comes here, and no plaintext stays in the page cache."""
    return pyfuse3.FileInfo(fh=fh, direct_io=True, keep_cache=False)


def _refuse_change(
    attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, facts: Facts, owner: Ownership
) -> None:
    changes = (
        (fields.update_mode and stat.S_IMODE(attr.st_mode) != facts.mode)
        or (fields.update_uid and attr.st_uid != owner.uid)
        or (fields.update_gid and attr.st_gid != owner.gid)
    )
    if changes:
        raise OperationRefused("owner and mode of a key are set by policy, not by chmod or chown")
