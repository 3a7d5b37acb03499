"""`KeyBroker`: the use cases for tasks. Freshness, snapshots, commits; blocking work goes to threads.

Invariants (re-read them before adding an `await`):
1. Whoever answers a reader has called `fresh` first, so that no answer is older than a change that was
   complete before the request.
2. A snapshot's bytes and facts come from one version and never change.
3. A staged write is committed by one call in one thread; its handle is told afterwards what it made.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import trio

from keyfs.broker.fetcher import Fetcher
from keyfs.broker.freshness import UNHEARD, Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.material import expected_prefix, size_limit
from keyfs.broker.news import News, Tell
from keyfs.broker.reader import Opened
from keyfs.broker.tree import Tree
from keyfs.broker.writer import RingWriter, Written
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import ROTATE_TEXT, Facts, Kind, Node
from keyfs.errors import InvalidMaterial, KeyfsError, KeyNotFound, OperationRefused, UnsealFailed
from keyfs.layout.base import KeyVersion, Slot
from keyfs.logs import event
from keyfs.offload import Offload
from keyfs.store.base import Watch

AWAY_PAUSE_S: Final = 1.0
# Less than any request has: a store that hangs must not keep what is known from being served.
FRESH_WITHIN_S: Final = 1.5
FOLLOW_WITHIN_S: Final = 60.0  # nobody waits for this one; a large store takes a while to list
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The bytes of one open, and the facts about exactly those bytes."""

    content: Secret
    facts: Facts


class KeyBroker:
    """Serves one tree to tasks.

    Args:
        keys: being watched.
        writer: for the same key store.
        tree: a view of it.
        offload: the way to threads.
        freshness: how long what is in memory may be served while the store is away.
    """

    def __init__(
        self,
        keys: KeyStore,
        writer: RingWriter,
        tree: Tree,
        offload: Offload,
        freshness: Freshness | None = None,
    ) -> None:
        self._keys = keys
        self._writer = writer
        self.tree = tree
        self._offload = offload
        self.freshness = freshness or Freshness(keys)
        self._fetcher = Fetcher(keys.reader, offload)
        self._news = News()
        self._looks: set[object] = set()
        self._late_look: object = None
        self._committing = trio.Lock()  # two closes of one handle at once are one after the other

    def on_change(self, tell: Tell) -> None:
        """Have *tell* called with the key files of which a watcher does not know that they changed."""
        self._news.tell = tell

    async def fresh(self) -> None:
        """Take in what others changed before this call, where the medium lets us know; else look who is away.

        When the medium cannot be looked at, or not in time, what is known stays; reads of it answer for
        themselves. While a look hangs that was late, nobody waits for another one.
        """
        if self._keys.waits_for_changes and self._keys.has_changes():
            await self._take_in(FRESH_WITHIN_S)
        else:
            self.freshness.look()

    async def follow(self, watch: Watch) -> None:
        """Take in changes as they come, and tell whoever watches files; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._news.run)
            while True:
                if self._keys.is_suspect:
                    await trio.sleep(AWAY_PAUSE_S)
                else:
                    await trio.lowlevel.wait_readable(watch.fileno())
                await self._take_in(FOLLOW_WITHIN_S)

    async def _take_in(self, within_s: float) -> None:
        """Take in what arrived, unless an earlier look was late and still hangs."""
        reason = UNHEARD
        if self._late_look not in self._looks:
            look = object()
            try:
                with trio.fail_after(within_s):
                    self._news.changed(await self._offload.read(self._look, look))
            except trio.TooSlowError:
                self._late_look = look
                self._keys.is_suspect = True
                reason = f"it does not answer within {within_s} s"
            except KeyfsError as exc:
                reason = str(exc)  # the key store is suspect now, and looked at again
        self.freshness.look(reason)

    async def snapshot(self, node: Node) -> Snapshot:
        """What an open for reading shows until it is closed.

        Raises:
            KeyNotFound, UnsealFailed, MaterialCorrupt, InsecurePermissions, StoreUnavailable, AccessDenied.
        """
        if node.kind is Kind.ROTATE:
            return Snapshot(Secret(ROTATE_TEXT), self.tree.facts(node))
        if node.kind is Kind.CONTROL:
            return self._control_snapshot(node)
        if node.ref is None:
            raise KeyNotFound(f"{node} is no file")
        opened, version = await self._read(node.ref, node.version, node.half)
        facts = self.tree.key_facts(node, version)
        # Where the blob does not tell, only the key itself says how long it is.
        return Snapshot(opened.material, replace(facts, size=len(opened.material)))

    async def stage(self, node: Node, *, truncate: bool) -> StagedWrite:
        """A handle's write in the making, from the current value or from nothing.

        Raises:
            OperationRefused: nothing can be written to this file.
            StoreUnavailable: the store does not answer; many programs ignore the errors that come later.
            KeyNotFound, UnsealFailed, …: as `snapshot`, when the write starts from the current value.
        """
        self.freshness.demand_writable()
        if not self._keys.waits_for_changes:  # it may be away, and nobody has noticed yet
            await self._offload.read(self._keys.store.now_ns)
        if node.kind is Kind.ROTATE:
            return StagedWrite(limit=1 << 20)
        if node.ref is None or node.version != CURRENT or node.half is not Half.SECRET:
            raise OperationRefused(f"{node} cannot be written: write to current, or to rotate")
        staged = StagedWrite(size_limit(node.ref.purpose), expected_prefix(node.ref.purpose))
        if not truncate:
            opened, _ = await self._read(node.ref, CURRENT, Half.SECRET)
            staged.buffer[:] = opened.material.view()
            staged.base = opened.stat.identity
            opened.material.wipe()
        return staged

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
                await self._rotate(node.ref, staged)
            else:
                await self._commit_material(node.ref, data, staged)

    def key_count(self) -> int:
        """How many keys there are, versions not counted."""
        return len(self._keys.index)

    async def drain(self, within_s: float) -> bool:
        """Wait for writes that are under way; False if that took too long."""
        return await self._offload.drain(within_s)

    async def _rotate(self, ref: KeyRef, staged: StagedWrite) -> None:
        if staged.committed:  # a shell group flushes once for each of its commands
            return
        try:
            await self._offload.write(self._rotate_once, ref, staged)
        finally:
            self._news.rotated(ref)

    def _rotate_once(self, ref: KeyRef, staged: StagedWrite) -> None:
        """In the writers' thread: also a caller who has left by the end has rotated, and does not again."""
        if not staged.committed:  # a shell group flushes once for each of its commands
            staged.committed = self._writer.rotate(ref).id

    def _look(self, look: object) -> Collection[Slot]:
        """In a thread: take in what changed, and let others know that this look is under way."""
        self._looks.add(look)
        try:
            return self._keys.refresh()
        finally:
            self._looks.discard(look)

    async def _commit_material(self, ref: KeyRef, data: bytes, staged: StagedWrite) -> None:
        try:
            made = await self._offload.write(self._import, ref, data, staged.base, staged.committed)
        except InvalidMaterial as exc:
            event(_log, logging.INFO, "import.refused", key=str(ref), reason=str(exc))
            raise
        finally:
            self._news.written(ref)
        if made.is_new:
            staged.mark_committed(data, made.identity)
        else:
            staged.mark_unchanged(data)

    def _import(self, ref: KeyRef, data: bytes, base: str, committed: str) -> Written:
        return self._writer.import_material(ref, data, expected=base or None, amend=committed or None)

    async def _read(self, ref: KeyRef, version_id: str, half: Half) -> tuple[Opened, KeyVersion]:
        """Opened here once its bytes are in memory, where no KMS is asked; cold ones are fetched together."""
        self.freshness.demand_readable()
        version = self._keys.ring(ref).version(version_id)
        if not self._keys.reader.is_warm(version, half):
            await self._fetcher.warm(
                *(part for part in (version.secret, version.part(half)) if part is not None)
            )
        here = self._read_here(ref, version_id, half)
        if here is not None:
            return here
        return await self._offload.read(self._keys.read, ref, version_id, half)

    def _read_here(self, ref: KeyRef, version_id: str, half: Half) -> tuple[Opened, KeyVersion] | None:
        """What is in memory, and opens without asking a KMS; None where a thread has to do it."""
        version = self._keys.ring(ref).version(version_id)
        if self._keys.opens_here and self._keys.reader.is_warm(version, half):
            with suppress(UnsealFailed):  # it may have been sealed anew: the thread fetches it again
                return self._keys.reader.open(ref, version, half), version
        return None

    def _control_snapshot(self, node: Node) -> Snapshot:
        content = self.tree.control(node)
        facts = self.tree.facts(node)
        return Snapshot(Secret(content), Facts(facts.mode, len(content), facts.mtime_ns))
