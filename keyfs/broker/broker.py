"""`KeyBroker`: the use cases for tasks. Freshness and snapshots; what writers do is in `changes`.

Invariants (re-read them before adding an `await`):
1. Whoever answers a reader has called `fresh` first, so that no answer is older than a change that was
   complete before the request.
2. A snapshot's bytes and facts come from one version and never change.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import trio

from keyfs.broker.changes import Changes, Tools
from keyfs.broker.fetcher import Fetcher
from keyfs.broker.freshness import UNHEARD
from keyfs.broker.news import APART_S, News, Tell
from keyfs.broker.reader import Opened
from keyfs.broker.snapshot import Snapshot, Standing
from keyfs.broker.upkeep import Upkeep
from keyfs.broker.viewing import shown
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.core.tree import ROOT, ROTATE_TEXT, Facts, Kind, Node
from keyfs.core.views import View
from keyfs.errors import KeyDestroyed, KeyExpired, KeyfsError, KeyNotFound, KeyRevoked, UnsealFailed
from keyfs.layout.base import KeyVersion, Part, Slot
from keyfs.store.watching import Watch

AWAY_PAUSE_S: Final = 1.0
# Less than any request has: a store that hangs must not keep what is known from being served.
FRESH_WITHIN_S: Final = 1.5
ANSWERED_S: Final = 0.002  # until a writer has heard of it
WRITER_WITHIN_S: Final = 0.01
FOLLOW_WITHIN_S: Final = 60.0  # nobody waits for this one; a large store takes a while to list
_log = logging.getLogger(__name__)


class KeyBroker:
    """Serves one tree to tasks.

    Args:
        tools: what the mount is made of.
    """

    def __init__(self, tools: Tools) -> None:
        self._keys = tools.keys
        self.tree = tools.tree
        self.freshness = tools.freshness
        self._offload = tools.offload
        self._fetcher = Fetcher(tools.keys.store, tools.keys.reader, tools.offload)
        self._news = News(tools.tree.views)
        self._foreseen: KeyRef | None = None  # the key that is likely to be opened next
        self._looks: set[object] = set()
        self._late_look: object = None
        self.changes = Changes(tools, self._news, self.read, self._knock)
        self.upkeep = Upkeep(tools, self._news, self.changes)
        self.tasks: list[Callable[[], Awaitable[None]]] = []  # what else goes on while changes are followed

    def on_change(self, tell: Tell) -> None:
        """Have *tell* called with the key files of which a watcher does not know that they changed."""
        self._news.tell = tell

    def has_news(self) -> bool:
        """Whether `fresh` would have to wait. If not, it is done."""
        if self._keys.waits_for_changes and self._keys.has_changes():
            return True
        self.freshness.look()
        return False

    async def fresh(self) -> None:
        """Take in what others changed before this call, where the medium lets us know; else look who is away.

        When the medium cannot be looked at, or not in time, what is known stays; reads of it answer for
        themselves. While a look hangs that was late, nobody waits for another one.
        """
        if self.has_news():
            await self._take_in(FRESH_WITHIN_S)

    async def follow(self, watch: Watch) -> None:
        """Take in changes as they come, and tell whoever watches files; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._news.run)
            nursery.start_soon(self._fetcher.run)
            for task in self.tasks:
                nursery.start_soon(task)
            if not self.tree.is_read_only(ROOT):
                nursery.start_soon(self.upkeep.destroy_when_due, self.fresh)
            while True:
                if self._keys.is_suspect:
                    await trio.sleep(AWAY_PAUSE_S)
                else:
                    await trio.lowlevel.wait_readable(watch.fileno())
                await self._let_writer_end()
                if not self._keys.waits_for_changes:
                    await self._take_in(FOLLOW_WITHIN_S)
                    continue
                if self._keys.has_changes():
                    await self._take_in(FOLLOW_WITHIN_S)
                await trio.sleep(APART_S)  # who asks meanwhile looks himself; no writer is disturbed

    async def _let_writer_end(self) -> None:
        """What a writer of ours does is in the index when it ends: who looks before that is in its way."""
        if not self._keys.is_being_written:
            return
        await self._offload.drain(WRITER_WITHIN_S)
        if not self._keys.waits_for_changes:
            await trio.sleep(ANSWERED_S)

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

    def on_stale(self, stale: Callable[[Collection[Node]], None]) -> None:
        """Have *stale* called with every node that changes, whoever changed it."""
        self._news.stale = stale

    def on_version(self, hear: Callable[[KeyRef], None]) -> None:
        """Have *hear* called with every key that has changed, whoever changed it."""
        self._news.hear = hear

    async def snapshot(self, node: Node) -> Snapshot:
        """What an open for reading shows until it is closed.

        Raises:
            KeyNotFound, UnsealFailed, MaterialCorrupt, InsecurePermissions, StoreUnavailable, AccessDenied.
            KeyExpired, KeyRevoked, KeyDestroyed: the version's state lets nobody read it.
        """
        if node.ref is not None and node.kind is not Kind.ROTATE:
            return self._key_snapshot(node, *await self.read(node.ref, node.version, node.half))
        here = self.snapshot_here(node)
        assert here is not None  # noqa: S101 - nobody has to be asked for anything but a key
        return here

    def snapshot_here(self, node: Node) -> Snapshot | None:
        """As `snapshot`, if nobody has to be asked for it; else None.

        Raises:
            as `snapshot`.
        """
        if node.kind is Kind.ROTATE:
            return Snapshot(Secret(ROTATE_TEXT), self.tree.facts(node))
        if node.kind is Kind.CONTROL:
            return self._control_snapshot(node)
        if node.ref is None:
            raise KeyNotFound(f"{node} is no file")
        self.freshness.demand_readable()
        version = self._keys.ring(node.ref).version(node.version)
        version.part(node.half)  # first: what is gone is not there, whatever state it was in
        if node.view is not View.FP:  # it is needed most of all where the key may not be used
            self._keys.states.demand(node.ref, node.version)
        here = self._read_here(node.ref, version, node.half, is_near=True)
        return None if here is None else self._key_snapshot(node, *here)

    def foresee(self, node: Node) -> None:
        """Somebody has looked this up: who looks up a client mostly opens its `current` next."""
        if node.kind is Kind.CLIENT and self._fetcher.has_channel:
            self._foreseen = node.ref

    def between_requests(self) -> None:
        """What can wait until the caller has its answer. Never blocks, and raises nothing."""
        self._fetcher.take_near()
        ref, self._foreseen = self._foreseen, None
        if ref is None:
            return
        try:
            part = self._keys.ring(ref).version(CURRENT).part(Half.SECRET)
        except KeyfsError:
            return  # gone meanwhile: who opens it is told
        self._fetcher.foresee(part)

    def standing(self, node: Node, snapshot: Snapshot) -> Standing | None:
        """What can be opened again while `stands` says so, without a seal; None if that is not possible."""
        if node.ref is None or snapshot.stat is None or not self._keys.opens_here:
            return None
        generation = self._keys.index.generation  # first: what changes from here on is seen by `stands`
        version = self._still_shown(node, snapshot)
        if version is None:
            return None
        content = self._keys.reader.late(node.ref, version)
        return None if content is None else Standing(snapshot._replace(content=content), generation)

    def stands(self, node: Node, standing: Standing) -> bool:
        """Whether the node still shows that snapshot, and may."""
        generation = self._keys.index.generation
        if standing.generation != generation:
            if self._still_shown(node, standing.snapshot) is None:
                return False
            standing.generation = generation
        return self.freshness.is_fresh

    def key_count(self) -> int:
        """How many keys there are, versions not counted."""
        return len(self._keys.index)

    async def drain(self, within_s: float) -> bool:
        """Wait for writes that are under way; False if that took too long."""
        return await self._offload.drain(within_s)

    def _still_shown(self, node: Node, snapshot: Snapshot) -> KeyVersion | None:
        """The version in a snapshot, if the node still shows it and its state lets it be read; else None."""
        assert node.ref is not None  # noqa: S101 - only files of keys are opened again
        try:
            self._keys.states.demand(node.ref, node.version)
            version = self._keys.ring(node.ref).version(node.version)
        except (KeyNotFound, KeyExpired, KeyRevoked, KeyDestroyed):
            return None
        is_same = version.secret is not None and version.secret.stat == snapshot.stat
        return version if is_same else None

    def _look(self, look: object) -> Collection[Slot]:
        """In a thread: take in what changed, and let others know that this look is under way."""
        self._looks.add(look)
        try:
            return self._keys.refresh()
        finally:
            self._looks.discard(look)

    async def read(self, ref: KeyRef, version_id: str, half: Half) -> tuple[Opened, KeyVersion]:
        """Opened here once its bytes are in memory, where no KMS is asked; cold ones are fetched together.

        Raises:
            KeyfsError: as `KeyStore.read`; StoreUnavailable, too, when what is in memory is too old.
        """
        self.freshness.demand_readable()
        version = self._keys.ring(ref).version(version_id)
        if not self._keys.reader.is_warm(version, half):
            await self._fetcher.warm(*_needed(version, half))
        here = self._read_here(ref, self._keys.ring(ref).version(version_id), half)
        if here is not None:
            return here
        return await self._offload.read(self._keys.read, ref, version_id, half)

    async def _knock(self, ref: KeyRef) -> bool:
        """Whether the store has answered just now. False: nobody has asked it.

        Raises:
            StoreUnavailable: it does not answer.
        """
        try:
            part = self._keys.ring(ref).version(CURRENT).part(Half.SECRET)
        except KeyNotFound:
            return False
        return await self._fetcher.knock(part)

    def _read_here(
        self, ref: KeyRef, version: KeyVersion, half: Half, *, is_near: bool = False
    ) -> tuple[Opened, KeyVersion] | None:
        """What is in memory, or *is_near* with a store that answers at once, and opens without asking a KMS.

        None where a thread has to do it.
        """
        if not self._keys.opens_here:
            return None
        try:
            opened = self._keys.reader.open_warm(ref, version, half)
            if opened is None and is_near:
                self._fetcher.warm_near(*_needed(version, half))
                opened = self._keys.reader.open_warm(ref, version, half)
        except UnsealFailed:  # it may have been sealed anew: the thread fetches it again
            return None
        return None if opened is None else (opened, version)

    def _key_snapshot(self, node: Node, opened: Opened, version: KeyVersion) -> Snapshot:
        facts = self.tree.key_facts(node, version)
        content = shown(node, opened.material)
        if facts.size == len(content):
            is_secret = node.kind is Kind.KEY and node.half is Half.SECRET
            return Snapshot(content, facts, True, opened.stat if is_secret else None)
        # Where the blob does not tell, only the key itself says how long it is.
        return Snapshot(content, facts._replace(size=len(content)))

    def _control_snapshot(self, node: Node) -> Snapshot:
        content = self.tree.control(node)
        facts = self.tree.facts(node)
        return Snapshot(Secret(content), Facts(facts.mode, len(content), facts.mtime_ns))


def _needed(version: KeyVersion, half: Half) -> tuple[Part, ...]:
    """What has to be fetched for one half: the private one proves the public one."""
    part, secret = version.part(half), version.secret
    return (part,) if secret is None or secret is part else (secret, part)
