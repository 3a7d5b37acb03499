"""Names that come and go: what `mv`, `rm`, `mkdir` and editors do to directories (rules R6, R7, R9).

No name of a key ever goes: `current`, removed or renamed away, is only hidden for some seconds from the
process that did it, so that it can make the name again; and that is a write like any other.
"""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pyfuse3
import trio
from pyfuse3 import RENAME_NOREPLACE, FUSEError

from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.policy import READ, WRITE
from keyfs.core.purposes import Purpose
from keyfs.core.scratch import Scratch
from keyfs.core.secret import Secret
from keyfs.core.tree import Kind, Node, is_key_label, key_node
from keyfs.errors import (
    AccessDenied,
    ClientNotEmpty,
    InvalidMaterial,
    InvalidName,
    KeyExists,
    OperationRefused,
)
from keyfs.fs.handles import WriteHandle, file_info
from keyfs.fs.refusals import Refusals
from keyfs.fs.replies import METADATA_WITHIN_S, WRITE_WITHIN_S, replies
from keyfs.fs.scene import process_of, text_of
from keyfs.logs import event

_log = logging.getLogger(__name__)


class NameHandlers(Refusals):
    """What the kernel asks of a directory's entries."""

    @replies(METADATA_WITHIN_S)
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """`current`, where its process removed it or there is none; any other name is a scratch file."""
        await self._scene.broker.fresh()
        ref = self._beside(parent_inode, ctx)
        label = text_of(name)
        if label != CURRENT:
            return self._create_scratch(ref, label, mode & ~ctx.umask, ctx)
        node = key_node(ref, CURRENT, Half.SECRET)
        process = process_of(ctx.pid)
        if flags & os.O_EXCL and self._is_there(ref, label, ctx):
            raise KeyExists(f"{node} was made by someone else since the kernel looked")
        staged = await self._scene.broker.changes.stage(node, truncate=True)
        self._scene.removed.clear(node.path, process)
        self._scene.writers.set(node.path, process, trio.current_time())
        facts = self._scene.broker.tree.new_file_facts(ref)
        inode = self._scene.inodes.number(node)
        await self._scene.kernel.pages.begin_writing(inode)
        info = file_info(self._scene.handles.add(WriteHandle(node, staged, facts, ctx.pid, inode=inode)))
        self._scene.inodes.refer(node)
        return info, self._scene.attributes(node, self._scene.facts(node), inode)

    @replies(WRITE_WITHIN_S)
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """A scratch file goes; `current` only seems to; a retired version is destroyed if that is allowed."""
        await self._scene.broker.fresh()
        parent, label = self._scene.inodes.node(parent_inode), text_of(name)
        scratch = self._scene.scratch(parent, label, ctx.uid)
        if scratch is not None:
            self._scene.scratches.remove(scratch)
            return
        node = self._scene.broker.tree.child(parent, label)
        self._scene.demand(ctx, parent, WRITE)
        if node.kind is not Kind.KEY or node.ref is None or node.half is not Half.SECRET:
            raise OperationRefused(f"{node} cannot be removed")
        if node.version == CURRENT:
            self._hide(node, ctx)
        else:
            await self._scene.broker.changes.destroy(node.ref, node.version)
            await self._scene.kernel.settled()

    @replies(WRITE_WITHIN_S)
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Within one client: onto `current` is a write, from it a copy, else a scratch file is renamed."""
        await self._scene.broker.fresh()
        if flags & ~RENAME_NOREPLACE:  # neither two names at once, nor a whiteout where one was
            raise FUSEError(errno.EINVAL)
        old, new = text_of(name_old), text_of(name_new)
        source = self._named(parent_inode_old, old, ctx)
        if parent_inode_old != parent_inode_new:
            raise FUSEError(errno.EXDEV)  # tools copy then, and each half of that is what it says
        ref = self._beside(parent_inode_new, ctx)
        if flags & RENAME_NOREPLACE and self._is_there(ref, new, ctx):
            raise KeyExists(f"{ref}/{new} is there already")
        if isinstance(source, Node) and not self._scene.kernel.bare(source.path):
            # The kernel moves the name, and as long as it keeps it, it would take the new one for the key.
            # Now it asks anew, and keeps neither name for some seconds.
            raise FUSEError(errno.ESTALE)
        if new == CURRENT:
            await self._become_current(source, key_node(ref, CURRENT, Half.SECRET), ctx)
            await self._scene.kernel.settled()
        elif isinstance(source, Scratch):
            _refuse_key_label(ref, new)
            self._scene.scratches.rename(source, new)
        else:
            await self._copy_away(source, ref, new, ctx)

    @replies(WRITE_WITHIN_S)
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A client without a key."""
        await self._scene.broker.fresh()
        parent = self._scene.inodes.node(parent_inode)
        if parent.kind is not Kind.PURPOSE or parent.purpose is None or parent.purpose.is_global:
            raise OperationRefused(
                f"{parent}/ has no room for clients: make one in the directory of a purpose"
            )
        self._scene.demand(ctx, parent, WRITE)
        ref = _new_client(parent.purpose, text_of(name))
        await self._scene.broker.changes.make_client(ref)
        node = self._scene.broker.tree.child(parent, text_of(name))
        return self._scene.attributes(node, self._scene.facts(node), self._scene.inodes.refer(node))

    @replies(WRITE_WITHIN_S)
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Only a client without a key."""
        await self._scene.broker.fresh()
        parent = self._scene.inodes.node(parent_inode)
        node = self._scene.broker.tree.child(parent, text_of(name))
        if node.kind is not Kind.CLIENT or node.ref is None or node.ref.client is None:
            raise OperationRefused(f"{node}/ is part of every key store")
        self._scene.demand(ctx, parent, WRITE)
        if any(self._scene.scratches.beside(node.ref, ctx.uid)):
            raise ClientNotEmpty(f"there are scratch files in {node}/")
        await self._scene.broker.changes.remove_client(node.ref)

    def _beside(self, parent_inode: int, ctx: pyfuse3.RequestContext) -> KeyRef:
        """The key in whose directory the caller may make names.

        Raises:
            AccessDenied: it is no key's directory.
            FUSEError: EACCES, not the caller.
        """
        parent = self._scene.inodes.node(parent_inode)
        self._scene.demand(ctx, parent, WRITE)
        if parent.kind is not Kind.CLIENT or parent.ref is None:
            raise AccessDenied(f"no file can be made in {parent}/: keys are in purpose/client/")
        return parent.ref

    def _create_scratch(
        self, ref: KeyRef, label: str, mode: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        _refuse_key_label(ref, label)
        scratch = self._scene.scratches.find(ref, label, ctx.uid)
        if scratch is None:
            scratch = self._scene.new_scratch(ref, label, mode, ctx)
        info = file_info(self._scene.open_scratch(scratch))
        facts = self._scene.facts(scratch.node)
        return info, self._scene.attributes(scratch.node, facts, self._scene.inodes.refer(scratch.node))

    def _named(self, parent_inode: int, label: str, ctx: pyfuse3.RequestContext) -> Scratch | Node:
        """What is renamed: a scratch file of the caller's, or the private half of a version.

        Raises:
            KeyNotFound: there is nothing of that name.
            OperationRefused: it is something else.
        """
        parent = self._scene.inodes.node(parent_inode)
        scratch = self._scene.scratch(parent, label, ctx.uid)
        if scratch is not None:
            return scratch
        node = self._scene.broker.tree.child(parent, label)
        if node.kind is not Kind.KEY or node.half is not Half.SECRET:
            raise OperationRefused(f"{node} keeps its name")
        self._scene.demand(ctx, node, READ)
        return node

    def _is_there(self, ref: KeyRef, label: str, ctx: pyfuse3.RequestContext) -> bool:
        """Whether the caller sees a file of that name beside the key."""
        if label == CURRENT:
            node = key_node(ref, CURRENT, Half.SECRET)
            return self._scene.is_there(node) and not self._scene.is_hidden(node, ctx.pid)
        return is_key_label(label) or self._scene.scratches.find(ref, label, ctx.uid) is not None

    async def _become_current(self, source: Scratch | Node, node: Node, ctx: pyfuse3.RequestContext) -> None:
        """The bytes of *source* are the next version: one write, as far as anybody can see."""
        if source == node:
            return
        changes = self._scene.broker.changes
        staged = await changes.stage(node, truncate=True)
        process = process_of(ctx.pid)
        self._scene.writers.set(node.path, process, trio.current_time())
        scratch = source if isinstance(source, Scratch) else None
        if scratch is None or scratch.buffer:
            with await self._bytes_of(source) as material, _as_refusals():
                changes.write(node, staged, 0, material.reveal())
                await changes.commit(node, staged)
        if scratch is None:
            staged.wipe()
        else:
            # Who still has it open goes on writing to what it has become.
            facts = self._scene.broker.tree.new_file_facts(scratch.ref)
            handle = WriteHandle(node, staged, facts, ctx.pid, scratch)
            self._scene.handles.redirect(scratch, handle)
            self._scene.scratches.remove(scratch)
        self._scene.removed.clear(node.path, process)
        changes.renamed_onto(node)

    async def _bytes_of(self, source: Scratch | Node) -> Secret:
        if isinstance(source, Scratch):
            return Secret(source.buffer)
        return (await self._scene.broker.snapshot(source)).content

    async def _copy_away(self, source: Node, ref: KeyRef, label: str, ctx: pyfuse3.RequestContext) -> None:
        """The caller gets a scratch copy of `current`, and may make the name again; the key stays."""
        if source.version != CURRENT:
            raise OperationRefused(
                f"{source} keeps its name: rename it to {CURRENT} to make it current again"
            )
        _refuse_key_label(ref, label)
        with await self._bytes_of(source) as material:
            scratch = self._scene.new_scratch(ref, label, self._scene.facts(source).mode, ctx)
            scratch.write(0, material.reveal())
        self._hide(source, ctx)

    def _hide(self, node: Node, ctx: pyfuse3.RequestContext) -> None:
        """From this process, for a while. Not from one that has no number here: many would share the mark."""
        self._scene.kernel.bare(node.path)
        if ctx.pid:
            self._scene.removed.set(node.path, process_of(ctx.pid), trio.current_time())
        event(_log, logging.INFO, "name.kept", path=str(node), uid=ctx.uid, pid=ctx.pid)


@contextmanager
def _as_refusals() -> Iterator[None]:
    """What is no key is answered EPERM: EINVAL, for `mv`, is a directory that is moved into itself."""
    try:
        yield
    except InvalidMaterial as exc:
        raise OperationRefused(str(exc)) from exc


def _new_client(purpose: Purpose, name: str) -> KeyRef:
    """The key of a client to be made.

    Raises:
        AccessDenied: no client can have that name.
    """
    try:
        return parse_key_ref(f"{purpose.name}/{name}", [purpose])
    except InvalidName as exc:
        raise AccessDenied(str(exc)) from exc


def _refuse_key_label(ref: KeyRef, label: str) -> None:
    """Scratch files do not look like keys.

    Raises:
        AccessDenied: this name does.
    """
    if is_key_label(label):
        raise AccessDenied(f"{ref}/{label} cannot be made: write to {CURRENT}, or to rotate")
