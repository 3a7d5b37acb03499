"""`KeyStates`: the state of every version, in memory. What changes it is in `keyfs.broker.state_changes`.

Layout v1 has no states, so what somebody said is kept beside the store. Losing that loses no key: then each
version has the state that follows from its place, and all can be read. A format that has states says them in
`KeyVersion.state`, and is written by a `StatesInFormat`; only planned destructions are kept beside it then.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, Protocol

from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.purposes import Purpose
from keyfs.core.state_records import Anchor, Record, records_of
from keyfs.core.states import KeyState, VersionState, default_state, demand_use, use_of
from keyfs.errors import AccessDenied, InvalidName, KeyNotFound, MaterialCorrupt, RingInvalid
from keyfs.layout.base import KeyRing, KeyVersion, Slot
from keyfs.logs import event
from keyfs.store.base import STATES_BESIDE, Store

RingOf = Callable[[KeyRef], KeyRing]
_NONE: Final[Mapping[str, tuple[Record, ...]]] = {}
_log = logging.getLogger(__name__)


class StatesInFormat(Protocol):
    """Writes states where the format of the key store has some."""

    def write(self, ref: KeyRef, version_id: str, state: KeyState, why: str) -> None:
        """Let this version have that state; the move is allowed. The store's lock is held.

        Raises:
            StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable.
        """


class KeyStates:
    """Knows states. Readers take no lock: the records are one mapping that is only replaced whole.

    Args:
        store: beside which they are kept.
        purposes: that there are; records of others are kept, and mean nothing here.
        ring_of: the ring of a key as it is now; raises KeyNotFound.
        in_format: writes them where the format has states; None in layout v1.
    """

    def __init__(
        self,
        store: Store,
        purposes: Collection[Purpose],
        ring_of: RingOf,
        in_format: StatesInFormat | None = None,
    ) -> None:
        self._store = store
        self._purposes = purposes
        self._ring_of = ring_of
        self.in_format = in_format
        self._records = _NONE  # by key

    def look(self) -> tuple[Record, ...] | None:
        """What is kept, for `take`. None for what cannot be understood: that is said in the log.

        Raises:
            StoreUnavailable: the medium does not answer.
        """
        try:
            return self.fetch()
        except (AccessDenied, MaterialCorrupt) as exc:
            event(_log, logging.WARNING, "states.unreadable", reason=str(exc))
            return None

    def take(self, records: Collection[Record] | None) -> tuple[bool, set[Slot]]:
        """Have *records* count from now on; None for those that do.

        Returns:
            Whether anything is new, and the places in rings whose state is not what it was.
        """
        if records is None:
            return False, set()
        before, after = self._records, _by_key(records)
        self._records = after
        return before != after, self._changed(before, after)

    def fetch(self) -> tuple[Record, ...]:
        """What is kept.

        Raises:
            MaterialCorrupt: it is damaged, or of a later format.
            StoreUnavailable, AccessDenied: as `Store.read_beside`.
        """
        text = self._store.read_beside(STATES_BESIDE)
        if text is None:
            return ()
        try:
            return records_of(text)
        except MaterialCorrupt as exc:
            raise MaterialCorrupt(
                f"{STATES_BESIDE} beside {self._store.describe()} is {exc}: restore it, or move it away"
            ) from exc

    def told(self, ref: KeyRef) -> tuple[Record, ...]:
        """What was said of a key's versions, those that are gone included; from memory."""
        return self._records.get(str(ref), ())

    def of(self, ring: KeyRing, version: KeyVersion) -> VersionState:
        """The state of a version of that ring."""
        records = self._records.get(str(ring.ref), ()) if self._records else ()
        told = said_of(ring, records).get(version.id) if records else None
        return state_of(version, told, is_current=version == ring.current)

    def planned(self, records: Collection[Record] | None = None) -> Iterator[tuple[KeyRef, Record]]:
        """What is to be destroyed one day, of keys that are known here: by *records*, else as in memory."""
        by_key = self._records if records is None else _by_key(records)
        for ref, said in self._known(by_key):
            yield from ((ref, record) for record in said if record.destroy_at_ns is not None)

    def demand(self, ref: KeyRef, version_id: str) -> None:
        """Nothing, if the state of a version lets it be read; or if there is none, which reading it tells.

        Raises:
            KeyExpired, KeyRevoked, KeyDestroyed: it does not.
        """
        if not self._records and self.in_format is None:  # as in most stores; each open comes here
            return
        try:
            ring = self._ring_of(ref)
            version = ring.version(version_id)
        except KeyNotFound:
            grave = tombstone(self._records.get(str(ref), ()), ref, version_id)
            if grave is None:
                return
            found = grave.shown(is_current=False)
        else:
            found = self.of(ring, version)
        demand_use(f"{ref}/{version_id}", found, use_of(is_current=version_id == CURRENT))

    def _changed(
        self, before: Mapping[str, tuple[Record, ...]], after: Mapping[str, tuple[Record, ...]]
    ) -> set[Slot]:
        keys = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        changed: set[Slot] = set()
        for ref, _ in self._known(dict.fromkeys(keys, ())):
            try:
                ring = self._ring_of(ref)
            except (KeyNotFound, RingInvalid):
                continue
            old, new = (said_of(ring, records.get(str(ref), ())) for records in (before, after))
            for version in ring.versions:
                states = [_state(ring, version, said) for said in (old, new)]
                if states[0] is not states[1]:
                    changed |= _slots(ref, version)
        return changed

    def _known(
        self, records: Mapping[str, tuple[Record, ...]]
    ) -> Iterator[tuple[KeyRef, tuple[Record, ...]]]:
        for key, said in records.items():
            try:
                yield parse_key_ref(key, self._purposes), said
            except InvalidName:
                continue


def anchor_of(version: KeyVersion) -> Anchor:
    """What a record of this version is tied to."""
    if version.number or version.id != CURRENT:
        return Anchor(version.number or version.id)
    part = version.secret or version.public
    return Anchor(None, "" if part is None else part.stat.identity, version.created_ns)


def state_of(version: KeyVersion, told: Record | None, *, is_current: bool) -> VersionState:
    """The state of a version of which that was *told*."""
    if told is not None and version.state is None:
        return told.shown(is_current=is_current)
    planned = None if told is None else told.destroy_at_ns
    state = version.state or default_state(is_current=is_current)
    return VersionState(state, version.state is not None, destroy_at_ns=planned)


def said_of(ring: KeyRing, records: Iterable[Record]) -> dict[str, Record]:
    """Which of the records of a key are of versions that are there, by the ids that these have now."""
    found: dict[str, Record] = {}
    for record in records:
        found.update((version.id, record) for version in anchored(ring, record.anchor))
    return found


def tombstone(records: Iterable[Record], ref: KeyRef, version_id: str) -> Record | None:
    """The record of a version that was destroyed."""
    for record in records:
        if (
            record.key == str(ref)
            and record.anchor.stamp == version_id
            and record.state is KeyState.DESTROYED
        ):
            return record
    return None


def anchored(ring: KeyRing, anchor: Anchor) -> list[KeyVersion]:
    """The versions that an anchor means: one; more where the same bytes were made current again; or none."""
    if anchor.stamp is not None:
        return [version for version in ring.versions if anchor.stamp in (version.id, version.number)]
    same = [version for version in ring.versions if _has(version, anchor.identity)]
    if same or anchor.created_ns is None:
        return same
    return [version for version in ring.versions if version.created_ns == anchor.created_ns]


def _by_key(records: Iterable[Record]) -> Mapping[str, tuple[Record, ...]]:
    by_key: dict[str, tuple[Record, ...]] = {}
    for record in records:
        by_key[record.key] = (*by_key.get(record.key, ()), record)
    return by_key or _NONE


def _has(version: KeyVersion, identity: str) -> bool:
    part = version.secret or version.public
    return part is not None and part.stat.identity == identity


def _state(ring: KeyRing, version: KeyVersion, said: Mapping[str, Record]) -> KeyState:
    return state_of(version, said.get(version.id), is_current=version == ring.current).state


def _slots(ref: KeyRef, version: KeyVersion) -> set[Slot]:
    """Where people see the halves of a version."""
    return {
        Slot(ref, half, None if version.id == CURRENT else version.id)
        for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public))
        if part is not None
    }
