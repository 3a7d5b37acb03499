"""Names and attributes: lookup, stat, chmod and its like, extended attributes, statfs."""

import errno
import stat
from collections.abc import Sequence
from contextlib import suppress

import pyfuse3
import trio
from pyfuse3 import FUSEError

from keyfs.core.policy import READ, SEARCH, WRITE, Ownership
from keyfs.core.scratch import Scratch
from keyfs.core.tree import Facts, Kind, Node
from keyfs.errors import AccessDenied, KeyNotFound, OperationRefused
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import READ_WITHIN_S, replies, swallows
from keyfs.fs.scene import NAME_MAX, process_of, text_of
from keyfs.fs.xattrs import ATTRIBUTES, OURS


class AttributeHandlers(Refusals):
    """What the kernel asks about a node."""

    @replies(None, looks=True)
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A name in a directory. Everybody may search: see `DirectoryHandlers`."""
        scene = self._scene
        parent, label = scene.inodes.node(parent_inode), text_of(name)
        scratch = scene.scratch(parent, label, ctx.uid)
        if scratch is not None:
            return scene.attributes(scratch.node, scene.facts(scratch.node), scene.inodes.refer(scratch.node))
        node, facts = scene.broker.tree.look_up(parent, label)
        if scene.is_hidden(node, ctx.pid):
            raise KeyNotFound(f"{node} was removed by this process")
        scene.broker.foresee(node)
        return scene.attributes(node, facts, scene.inodes.refer(node))

    @swallows
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """References the kernel gives back."""
        for inode in self._scene.inodes.forget(inode_list):
            self._scene.kernel.forgotten(inode)

    @replies(None, looks=True)
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """What `stat` shows; to a process that has the file open, what it has open."""
        node = self._scene.inodes.node(inode)
        seen = self._scene.handles.seen_by(inode, ctx.pid, trio.current_time())
        if seen is not None and seen != self._scene.facts(node):
            return self._scene.passing_attributes(node, seen, inode)
        return self._scene.attributes(node, seen or self._scene.facts(node), inode)

    @replies(None, looks=True)
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Truncate, touch, chmod, chown: none of them makes a version (rule R8)."""
        node = self._scene.inodes.node(inode)
        if node.kind is Kind.SCRATCH:
            if fields.update_size and fh is not None and self._scene.handles.is_writing(fh):
                # It was renamed onto a key after it was opened.
                self._scene.handles.writing(fh).staged.truncate(attr.st_size)
            self._set_scratch(self._scene.scratches.of(node), attr, fields, ctx.uid)
            return self._scene.attributes(node, self._scene.facts(node), inode)
        facts = self._scene.facts(node)
        is_owner = ctx.uid in (0, self._scene.owner_of(facts).uid)
        if not fields.update_size and not is_owner and not self._scene.grants(ctx, facts, WRITE):
            raise OperationRefused(f"{node} is another user's: mode, owner and times are not yours to set")
        # `install` and `mv` set the mode of what they have just written, and fail if they may not.
        if not self._is_writer(node, ctx.pid):
            _refuse_change(attr, fields, facts, self._scene.owner_of(facts))
        if fields.update_size:
            self._scene.demand(ctx, node, WRITE)
            if fh is not None and self._scene.handles.is_writing(fh):
                self._scene.handles.writing(fh).staged.truncate(attr.st_size)
                # The kernel appends where it believes the end to be.
                facts = facts._replace(size=attr.st_size)
        return self._scene.passing_attributes(node, facts, inode)

    @replies(None, looks=True)
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        """Permission, by the rules of `keyfs.core.policy`."""
        node = self._scene.inodes.node(inode)
        return self._scene.grants(ctx, self._scene.facts(node), mode & (READ | WRITE | SEARCH))

    @replies(READ_WITHIN_S)
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """What `xattrs` knows of a node. All else is refused from memory: `ls -l` asks for each file."""
        attribute = ATTRIBUTES.get(name)
        if attribute is None:
            raise FUSEError(pyfuse3.ENOATTR if name.startswith(b"user.") else errno.ENOTSUP)
        await self._scene.broker.fresh()
        node = self._scene.inodes.node(inode)
        if attribute.is_there(self._scene.broker, node):
            with suppress(KeyNotFound):  # gone meanwhile, or only its bytes tell that there is none
                return (await attribute.value(self._scene.broker, node)).encode()
        raise FUSEError(pyfuse3.ENOATTR)

    @replies(None, looks=True)
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        """The names of what `getxattr` knows of this node."""
        node = self._scene.inodes.node(inode)
        return [name for name, it in ATTRIBUTES.items() if it.is_there(self._scene.broker, node)]

    @replies(None)
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """ENOTSUP: `cp -p` and `install` accept that. What keyfs says of a key nobody else says."""
        raise FUSEError(errno.EPERM if name.startswith(OURS) else errno.ENOTSUP)

    @replies(None)
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """There is nothing to remove."""
        raise FUSEError(errno.EPERM if name.startswith(OURS) else pyfuse3.ENOATTR)

    @replies(None)
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Enough for container engines, which refuse a volume without an answer."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_blocks = data.f_bfree = data.f_bavail = 0
        data.f_files = self._scene.broker.key_count()
        data.f_ffree = data.f_favail = 0
        data.f_namemax = NAME_MAX
        return data

    def _is_writer(self, node: Node, pid: int) -> bool:
        """Whether a process writes this file now, or has written it a moment ago."""
        scene = self._scene
        return scene.handles.is_written_by(node.path, pid) or scene.writers.has(
            node.path, lambda: process_of(pid), trio.current_time()
        )

    def _set_scratch(
        self, scratch: Scratch, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, uid: int
    ) -> None:
        """Its owner stays, whatever chown says: only its maker ever sees it."""
        if uid not in (scratch.uid, 0):
            raise AccessDenied(f"{scratch.ref}/{scratch.name} is a scratch file of another user")
        if fields.update_size:
            scratch.truncate(attr.st_size)
        if fields.update_mode:
            scratch.mode = stat.S_IMODE(attr.st_mode)
        if fields.update_mtime:
            scratch.mtime_ns = attr.st_mtime_ns


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
