"""`Changes`: what writers do to a key store, for tasks. Each change is one call in one thread.

Invariants (re-read them before adding an `await`):
1. A staged write is committed by one call in one thread; its handle is told afterwards what it made.
2. How a change ended is noted by the thread that made it: who waited for it may have left.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.material import demand_generator, new_staged_write
from keyfs.broker.news import News
from keyfs.broker.outcomes import Outcomes
from keyfs.broker.reader import Opened
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.tree import Tree
from keyfs.broker.writer import RingWriter, Written
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import ROTATE_TEXT, Kind, Node
from keyfs.errors import (
    ClientNotEmpty,
    InvalidMaterial,
    KeyExists,
    KeyfsError,
    KeyNotFound,
    OperationRefused,
    RotationConflict,
)
from keyfs.layout.base import KeyVersion
from keyfs.logs import event
from keyfs.offload import Arguments, Offload, Result

ROTATE_LIMIT: Final = 1 << 20  # bytes written to `rotate`; they mean nothing
WRITE, GENERATE, DESTROY = "write", "generate", "destroy"
Read = Callable[[KeyRef, str, Half], Awaitable[tuple[Opened, KeyVersion]]]
Knock = Callable[[KeyRef], Awaitable[bool]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a mount works with."""

    keys: KeyStore
    writer: RingWriter  # for the same key store
    tree: Tree  # a view of it
    offload: Offload  # the way to threads
    freshness: Freshness  # how long what is in memory may be served while the store is away
    outcomes: Outcomes  # where it is noted how changes ended
    may_destroy: bool = False  # whether `rm` of a retired version destroys it


class Changes:
    """Changes one key store.

    Args:
        tools: of the mount.
        news: hears of every change.
        read: how a version is read.
        knock: whether the store has answered just now, about a key; it may know a quicker way to ask than
            from a thread.
    """

    def __init__(self, tools: Tools, news: News, read: Read, knock: Knock) -> None:
        self._keys = tools.keys
        self._writer = tools.writer
        self.states = StateWriter(tools.keys)
        self._clients = tools.tree.new_clients
        self._offload = tools.offload
        self._freshness = tools.freshness
        self.outcomes = tools.outcomes
        self._news = news
        self._read = read
        self._knock = knock
        self._may_destroy = tools.may_destroy
        self._committing = trio.Lock()  # two closes of one handle at once are one after the other

    async def stage(self, node: Node, *, truncate: bool) -> StagedWrite:
        """A handle's write in the making, from the current value or from nothing.

        Raises:
            OperationRefused: nothing can be written to this file, or generated for it.
            ClientIdTooLong: the medium cannot hold the key's next version.
            StoreUnavailable: the store does not answer; many programs ignore the errors that come later.
            KeyNotFound, UnsealFailed, KeyRevoked, …: as `KeyBroker.snapshot`, when the write starts from the
                current value.
        """
        with self.outcomes.refusals(node.ref, WRITE):
            await self._demand_writable(node.ref)
            if node.kind is Kind.ROTATE and node.ref is not None:
                demand_generator(node.ref.purpose)
                return StagedWrite(limit=ROTATE_LIMIT)
            is_current = node.kind is Kind.KEY and node.version == CURRENT and node.half is Half.SECRET
            if node.ref is None or not is_current:
                raise OperationRefused(f"{node} cannot be written: write to current, or to rotate")
            staged = new_staged_write(node.ref.purpose)
            if not truncate:
                self._keys.states.demand(node.ref, CURRENT)
                opened, _ = await self._read(node.ref, CURRENT, Half.SECRET)
                staged.buffer[:] = opened.material.view()
                staged.base = opened.stat.identity
                opened.material.wipe()
            return staged

    def write(self, node: Node, staged: StagedWrite, offset: int, data: bytes) -> int:
        """Take bytes for the version in the making; returns how many.

        Raises:
            InvalidMaterial: as `StagedWrite.write`.
            RotationConflict: someone rotated since the handle read what it edits.
        """
        with self.outcomes.refusals(node.ref, WRITE):
            if staged.base and node.ref is not None and self.current_identity(node.ref) != staged.base:
                raise RotationConflict(f"{node.ref} was rotated by someone else since it was opened")
            return staged.write(offset, data)

    async def commit(self, node: Node, staged: StagedWrite) -> None:
        """Make what *staged* holds the next version, if it holds anything new.

        Raises:
            InvalidMaterial: not a key; current is unchanged.
            RotationConflict: someone rotated since the handle read what it edits.
            StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, OperationRefused.
        """
        async with self._committing:
            data = staged.take()
            if data is None or node.ref is None:
                return
            if node.kind is Kind.ROTATE:
                # `cp -r` and `rsync` bring the file's own text: a copy, and no wish to rotate.
                if data != ROTATE_TEXT:
                    await self._rotate(node.ref, staged)
            else:
                await self._commit_material(node.ref, data, staged)

    def renamed_onto(self, node: Node) -> None:
        """A commit was made by renaming another file onto *node*: no watcher of that file heard of it."""
        if node.ref is not None:
            self._news.rotated(node.ref)

    async def destroy(self, ref: KeyRef, version_id: str) -> None:
        """Destroy a retired version, if that is allowed here.

        Raises:
            OperationRefused: it is not.
            KeyNotFound, StoreBusy, ReadOnly, AccessDenied: as `RingWriter.destroy`.
        """
        with self.outcomes.refusals(ref, DESTROY):
            if not self._may_destroy:
                raise OperationRefused(
                    f"rm destroys no key here: run keyfs destroy {ref}/{version_id}, "
                    f"or mount with --allow-destroy"
                )
            await self._demand_writable(ref)
        try:
            await self._in_turn(self._destroy, ref, version_id)
        finally:
            self._news.gone(ref, version_id)

    async def make_client(self, ref: KeyRef) -> None:
        """Make a client without a key.

        Raises:
            KeyExists: there is one, with or without a key.
            OperationRefused, ClientIdTooLong: keys of this purpose cannot be made, or not of that name.
            StoreUnavailable, StoreFull, ReadOnly, AccessDenied, StoreBusy: it cannot be remembered.
        """
        if ref in self._clients or self._keys.index.has(ref):
            raise KeyExists(f"{ref} exists")
        await self._demand_writable(ref)
        await self._offload.write(self._clients.add, ref)

    async def remove_client(self, ref: KeyRef) -> None:
        """Remove a client that has no key.

        Raises:
            ClientNotEmpty: it has one.
            KeyNotFound: there is no such client.
            StoreUnavailable, StoreFull, ReadOnly, AccessDenied, StoreBusy: that cannot be remembered.
        """
        if self._keys.index.has(ref):
            raise ClientNotEmpty(f"{ref} has a key: run keyfs destroy for its versions")
        if ref not in self._clients:
            raise KeyNotFound(f"there is no client {ref}")
        await self._offload.write(self._clients.discard, ref)

    async def _demand_writable(self, ref: KeyRef | None) -> None:
        self._freshness.demand_writable()
        # It may be away, and nobody has noticed yet.
        if not self._keys.waits_for_changes and (ref is None or not await self._knock(ref)):
            await self._offload.read(self._keys.store.now_ns)
        if ref is not None:
            self._keys.layout.check_writable(ref, self._keys.store.name_limit)

    def current_identity(self, ref: KeyRef) -> str:
        """What tells the current version from the next; empty when there is none."""
        try:
            return self._keys.ring(ref).version(CURRENT).part(Half.SECRET).stat.identity
        except KeyNotFound:
            return ""

    async def _in_turn(self, write: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
        """As `Offload.write`; what others changed meanwhile is told, too."""
        try:
            return await self._offload.write(write, *args)
        finally:
            self._news.changed(self._keys.untold())

    async def _rotate(self, ref: KeyRef, staged: StagedWrite) -> None:
        if staged.committed:  # a shell group flushes once for each of its commands
            return
        try:
            await self._in_turn(self._rotate_once, ref, staged)
        finally:
            self._news.rotated(ref)

    def _rotate_once(self, ref: KeyRef, staged: StagedWrite) -> None:
        """In the writers' thread: also a caller who has left by the end has rotated, and does not again."""
        if staged.committed:
            return
        if staged.begun_on is not None and self.current_identity(ref) != staged.begun_on:
            staged.committed = CURRENT  # by the process that began it, or by others: there is a next version
            return
        with self.outcomes.refusals(ref, GENERATE):
            is_first = self._has_no_version(ref)
            made = self._writer.generate(ref) if is_first else self._writer.rotate(ref)
        staged.committed = made.id
        self._done(ref, GENERATE)

    def _has_no_version(self, ref: KeyRef) -> bool:
        """Whether this is a client that was made for the key, or the key's ring is empty."""
        if not self._keys.index.has(ref):
            return ref in self._clients
        return not self._keys.ring(ref).versions

    async def _commit_material(self, ref: KeyRef, data: bytes, staged: StagedWrite) -> None:
        try:
            made = await self._in_turn(self._import, ref, data, staged)
        except InvalidMaterial as exc:
            event(_log, logging.INFO, "import.refused", key=str(ref), reason=str(exc))
            raise
        finally:
            self._news.written(ref)
        if made.is_new:
            staged.mark_committed(data, made.identity)
        else:
            staged.mark_unchanged(data)

    def _import(self, ref: KeyRef, data: bytes, staged: StagedWrite) -> Written:
        with self.outcomes.refusals(ref, WRITE):
            made = self._writer.import_material(
                ref,
                data,
                expected=staged.base or None,
                amend=staged.committed or None,
                begun_on=staged.begun_on,
            )
        if made.is_new:
            self._done(ref, WRITE)
        return made

    def _destroy(self, ref: KeyRef, version_id: str) -> None:
        with self.outcomes.refusals(ref, DESTROY):
            self.states.destroy(ref, version_id)
        self.outcomes.done(ref, DESTROY)

    def _done(self, ref: KeyRef, action: str) -> None:
        self.outcomes.done(ref, action)
        with suppress(KeyfsError):  # the key is there; that it once was not matters no more
            self._clients.discard(ref)
