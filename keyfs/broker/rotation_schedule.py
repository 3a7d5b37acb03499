"""`RotationSchedule`: a mount that rotates what is due, and archives what is over its limit.

Invariants (re-read them before adding an `await`):
1. Several hosts may do this for one store. A lease beside the store lets one of them work at a time; and each
   rotation names the version that it retires, so that none is made twice even if two believe they hold it.
2. Nothing that goes wrong here ends the mount, nor the schedule: it is told to the log, and tried again.
3. Times are those of the store's clock, which all hosts share; pauses are trio's.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import trio

from keyfs.broker.agenda import Agenda, View, note, over_limit_versions, rotate_if_due, still_unknown
from keyfs.broker.archive import archive
from keyfs.broker.keystore import KeyStore
from keyfs.broker.upkeep import Upkeep
from keyfs.broker.writer import RingWriter
from keyfs.core.lease import Lease, claim, decode, encode, holder, needs_renewal, released
from keyfs.core.names import KeyRef
from keyfs.core.rotation import RotationPolicy
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import KeyfsError, OperationRefused
from keyfs.layout.base import KeyVersion
from keyfs.logs import event
from keyfs.offload import Offload

LEASE: Final = "rotation-lease"
SEEN: Final = "rotation-seen"
LOOK_EVERY_S: Final = 3600.0  # what comes from elsewhere may be due earlier than anything here
RETRY_S: Final = 60.0
REFUSED_RETRY_S: Final = 86_400.0  # it will be refused again, unless somebody changes the store
PAUSE_MIN_S: Final = 0.5
RINGS_AT_ONCE: Final = 1000  # a million keys are looked at in parts, so that readers get their turn
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """Who we are among those that mount a store, and what we work with."""

    host: str  # the same after a restart: when we begin depends on it
    owner: str  # of leases; nobody else's
    keys: KeyStore
    writer: RingWriter
    clock: Callable[[], int]  # the store's, in nanoseconds; called in threads


class RotationSchedule:
    """See this module's first lines.

    Args:
        worker: who does it, and on what.
        policy: what is to be done.
        upkeep: makes them, and tells who has to know.
        offload: the way to threads.
    """

    def __init__(self, worker: Worker, policy: RotationPolicy, upkeep: Upkeep, offload: Offload) -> None:
        self._policy = policy
        self._worker = worker
        self._upkeep = upkeep
        self._offload = offload
        self._lease: Lease | None = None
        self._not_before_ns: dict[KeyRef, int] = {}
        self._not_archived_before_ns: dict[KeyRef, int] = {}
        self._begun = trio.Event()
        self._woken = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    def begin(self) -> None:
        """From now on rotate: a mount that cannot be used changes nothing. Called in a task."""
        self._begun.set()

    def renew(self, policy: RotationPolicy) -> None:
        """From now on do what *policy* says. Called in any thread."""
        self._policy = policy
        if self._token is not None:
            self._token.run_sync_soon(self._wake)

    async def run(self) -> None:
        """Once begun, wake when something is due, and do it; for ever."""
        self._token = trio.lowlevel.current_trio_token()
        await self._begun.wait()
        while True:
            try:
                pause_s = await self._turn()
            except KeyfsError as exc:
                event(_log, logging.WARNING, "rotation.postponed", reason=str(exc))
                pause_s = RETRY_S
            except Exception as exc:  # noqa: BLE001 - invariant 2; a bug here must not end the mount
                event(_log, logging.ERROR, "rotation.bug", exc_info=exc)
                pause_s = LOOK_EVERY_S
            with trio.move_on_after(max(pause_s, PAUSE_MIN_S)):
                await self._woken.wait()
            self._woken = trio.Event()

    async def _turn(self) -> float:
        """Do what is to be done now; returns for how long there is nothing more to do, in seconds.

        Raises:
            KeyfsError: the store is away, or nothing can be kept beside it.
        """
        policy = self._policy
        if policy.is_idle:
            return LOOK_EVERY_S
        view = await self._view()
        agenda = await self._look(policy, view)
        if agenda.is_empty:
            return self._pause_s(agenda, policy, view.now_ns)
        if not await self._offload.write(self._claim):
            return await self._offload.read(self._until_free_s)
        try:
            await self._work(agenda, policy, view)
        finally:
            with trio.CancelScope(shield=True):  # else others would wait for its end
                await self._offload.write(self._release)
        return PAUSE_MIN_S  # what is due by now

    async def _view(self) -> View:
        now_ns = await self._offload.read(self._worker.clock)
        seen_ns = await self._offload.read(self._seen)
        self._not_before_ns = _still(self._not_before_ns, now_ns)
        self._not_archived_before_ns = _still(self._not_archived_before_ns, now_ns)
        not_before = (self._not_before_ns, self._not_archived_before_ns)
        return View(self._worker.host, now_ns, seen_ns, *not_before)

    async def _look(self, policy: RotationPolicy, view: View) -> Agenda:
        """Everything that is to be done, and when there is more."""
        agenda, rings = Agenda(), self._worker.keys.rings()
        left = True

        def part() -> bool:
            some = list(islice(rings, RINGS_AT_ONCE))
            note(agenda, some, policy, view)
            return bool(some)

        while left:
            left = await self._offload.read(part)
        return agenda

    def _pause_s(self, agenda: Agenda, policy: RotationPolicy, now_ns: int) -> float:
        """Until the next one is due; but a key that is made meanwhile may be due after the shortest time."""
        shortest = [rule.every_ns for rule in policy.rules if rule.every_ns is not None]
        ends = [now_ns + ns for ns in shortest]
        if agenda.next_ns is not None:
            ends.append(agenda.next_ns)
        wait_s = (min(ends) - now_ns) / NANOSECONDS if ends else LOOK_EVERY_S
        return min(wait_s, LOOK_EVERY_S)

    async def _work(self, agenda: Agenda, policy: RotationPolicy, view: View) -> None:
        if agenda.unseen:
            await self._offload.write(self._note_seen, agenda.unseen, view.now_ns)
        for ref in agenda.due:
            every_ns = policy.rule(ref.purpose.name).every_ns
            if every_ns is None or not await self._keep_lease():
                return
            await self._rotate(ref, every_ns, view)
        # After the rotations: what has just retired may be one too many.
        for ref in (*agenda.over, *agenda.due):
            if policy.rule(ref.purpose.name).keep is None or ref in self._not_archived_before_ns:
                continue
            if not await self._keep_lease():
                return
            await self._archive(ref, policy)

    async def _rotate(self, ref: KeyRef, every_ns: int, view: View) -> None:
        worker = self._worker
        rotate = partial(rotate_if_due, worker.keys, worker.writer, ref, every_ns, view)
        try:
            is_done = await self._upkeep.rotate(ref, rotate)
        except KeyfsError as exc:
            self._not_before_ns[ref] = view.now_ns + int(RETRY_S * NANOSECONDS)
            event(_log, logging.WARNING, "rotation.failed", key=str(ref), reason=str(exc))
            return
        if is_done:
            event(_log, logging.INFO, "rotation.scheduled", key=str(ref), every_s=every_ns // NANOSECONDS)

    async def _archive(self, ref: KeyRef, policy: RotationPolicy) -> None:
        keys, clock = self._worker.keys, self._worker.clock

        def work() -> tuple[KeyVersion, ...]:
            now_ns = clock()
            return archive(keys, ref, lambda ring: over_limit_versions(ring, policy, now_ns))

        try:
            await self._upkeep.archive(ref, work)
        except KeyfsError as exc:
            now_ns = await self._offload.read(clock)
            retry_s = REFUSED_RETRY_S if isinstance(exc, OperationRefused) else RETRY_S
            self._not_archived_before_ns[ref] = now_ns + int(retry_s * NANOSECONDS)
            event(_log, logging.WARNING, "archive.failed", key=str(ref), reason=str(exc))

    def _wake(self) -> None:
        self._woken.set()

    # --- the lease, in threads ---

    async def _keep_lease(self) -> bool:
        """Whether we still have it; claimed again when it comes to its end."""
        now_ns = await self._offload.read(self._worker.clock)
        if self._lease is not None and not needs_renewal(self._lease, now_ns):
            return True
        return await self._offload.write(self._claim)

    def _claim(self) -> bool:
        store = self._worker.keys.store
        with store.lock():
            found = decode(store.read_beside(LEASE))
            self._lease = claim(found, self._worker.owner, self._worker.clock())
            if self._lease is not None:
                store.write_beside(LEASE, encode(self._lease))
        if self._lease is None and found is not None:
            event(_log, logging.DEBUG, "rotation.left_to", owner=found.owner)
        return self._lease is not None

    def _release(self) -> None:
        """Let others have it. If that fails it ends by itself."""
        store, lease, self._lease = self._worker.keys.store, self._lease, None
        if lease is None:
            return
        try:
            with store.lock():
                if decode(store.read_beside(LEASE)) == lease:
                    store.write_beside(LEASE, encode(released(lease)))
        except KeyfsError as exc:
            event(_log, logging.DEBUG, "rotation.lease_left", reason=str(exc))

    def _until_free_s(self) -> float:
        now_ns = self._worker.clock()
        held = holder(decode(self._worker.keys.store.read_beside(LEASE)), now_ns)
        return 0.0 if held is None else (held.until_ns - now_ns) / NANOSECONDS

    # --- keys of unknown age, in threads ---

    def _seen(self) -> dict[str, int]:
        """When keys were first seen of which the store does not tell since when they are current."""
        data = self._worker.keys.store.read_beside(SEEN)
        try:
            found = json.loads(data or b"{}")
        except (ValueError, RecursionError):
            return {}
        is_sound = isinstance(found, dict) and all(type(ns) is int for ns in found.values())
        return found if is_sound else {}

    def _note_seen(self, refs: list[KeyRef], now_ns: int) -> None:
        keys = self._worker.keys
        seen_ns = still_unknown(keys, self._seen()) | {str(ref): now_ns for ref in refs}
        keys.store.write_beside(SEEN, json.dumps(seen_ns).encode("ascii") + b"\n")


def _still(not_before_ns: dict[KeyRef, int], now_ns: int) -> dict[KeyRef, int]:
    return {ref: ns for ref, ns in not_before_ns.items() if ns > now_ns}
