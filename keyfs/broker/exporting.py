"""`keyfs export`: every version of every key out of a key store, opened, as a backup in memory."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.states import anchored, said_of, state_of
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion
from keyfs.core.names import Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.core.stamps import LAST_NS, format_stamp, is_stamp, parse_stamp
from keyfs.core.state_records import Record
from keyfs.core.states import KeyState
from keyfs.errors import (
    InsecurePermissions,
    KeyfsError,
    KeyNotFound,
    MaterialCorrupt,
    RingInvalid,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.layout.v1_bundles import stamp_of_public
from keyfs.layout.v2 import STATES

ROUNDS: Final = 10  # a key store that is rotated faster than it is read is no reason to go on for ever
_OF_ONE_HALF: Final = (InsecurePermissions, MaterialCorrupt, RingInvalid, UnsealFailed)
_NUMBERS: Final = {state: number for number, state in STATES.items()}  # Acra's, of states
_TOLD_NS: Final = 1 << 63  # a time beyond is none

Progress = Callable[[int, int], None]
Failures = dict[str, KeyfsError]


@dataclass(slots=True)
class Gathered:
    """What was read. *failed* is what does not open, by path: the rest of such a key is in the backup."""

    keys: dict[KeyRef, BundledKey] = field(default_factory=dict)
    failed: dict[KeyRef, Failures] = field(default_factory=dict)

    def take(self, ref: KeyRef, key: BundledKey | None, failed: Failures) -> None:
        """What was read of one key, in place of what was read of it before."""
        self.failed.pop(ref, None)
        self.keys.pop(ref, None)
        if key is not None:
            self.keys[ref] = key
        if failed:
            self.failed[ref] = failed

    def failures(self) -> Failures:
        """All of them, by path."""
        return {path: error for found in self.failed.values() for path, error in sorted(found.items())}


def gather(
    keys: KeyStore,
    refs: Collection[KeyRef] | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Gathered:
    """Open every half of every version; what changes meanwhile is read again.

    Args:
        keys: loaded, with its master key.
        refs: of these keys only; of all when None.
        progress: told the number of keys done and of all keys.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, AccessDenied, StoreUnavailable: it stopped here.
    """
    gathered = Gathered()
    left = known_refs(keys) if refs is None else set(refs)
    for _ in range(ROUNDS):
        for done, ref in enumerate(sorted(left, key=str), 1):
            gathered.take(ref, *read_key(keys, ref))
            progress(done, len(left))
        changed = {slot.ref for slot in keys.reload()}
        left = changed if refs is None else changed.intersection(refs)
        if not left:
            break
    return gathered


def as_bundle(keys: KeyStore, gathered: Gathered) -> Bundle:
    """What was read, as a backup that was made now."""
    found = sorted(gathered.keys.values(), key=lambda key: str(key.ref))
    return Bundle(keys.layout.name, keys.store.now_ns(), tuple(found))


def known_refs(keys: KeyStore) -> set[KeyRef]:
    """Every key of which there is anything: a ring that does not verify, or that all of it was destroyed."""
    broken = (keys.layout.ring_named(name) for name in keys.index.strays)
    return {*keys.index.refs(), *filter(None, broken), *keys.states.refs()}


def read_key(keys: KeyStore, ref: KeyRef) -> tuple[BundledKey | None, Failures]:
    """All versions of a key that open, and why others do not, by path; None for a key that is not there.

    Raises:
        As `gather`.
    """
    failed: Failures = {}
    told = keys.states.told(ref)
    try:
        ring = keys.ring(ref)
        parts = [part for version in ring.versions for part in (version.secret, version.public) if part]
        keys.reader.prefetch(parts)
        said = said_of(ring, told)
        versions = [
            _version(keys, ring, version, (said.get(version.id), failed)) for version in ring.versions
        ]
    except RingInvalid as exc:
        return None, {str(ref): exc}
    except KeyNotFound:
        ring, versions = KeyRing(ref, ()), []
    kept = [version for version in versions if version.secret or version.public or version.is_destroyed]
    found = (*_destroyed(ring, told), *kept)
    return (BundledKey(ref, found) if found else None), failed


def _destroyed(ring: KeyRing, told: Iterable[Record]) -> Iterator[BundledVersion]:
    """What is left of destroyed versions beside the key store, where the ring says nothing of them."""
    names: set[str] = set()
    for record in told:
        if record.state is not KeyState.DESTROYED or anchored(ring, record.anchor):
            continue
        # What was current when it was destroyed has no stamp: it retired at that moment.
        stamp = record.anchor.stamp or format_stamp(min(max(record.at_ns, 0), LAST_NS))
        if stamp not in names:
            names.add(stamp)
            retired_ns = parse_stamp(stamp) if is_stamp(stamp) else None
            yield BundledVersion(
                *(stamp, None, False, None, retired_ns, None, None),
                state=_NUMBERS[KeyState.DESTROYED],
                why=record.why,
                said_ns=_told(record.at_ns),
            )


def _version(
    keys: KeyStore, ring: KeyRing, version: KeyVersion, facts: tuple[Record | None, Failures]
) -> BundledVersion:
    record, failed = facts
    halves: dict[Half, Secret | None] = {}
    for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
        try:
            halves[half] = None if part is None else keys.reader.open(ring.ref, version, half).material
        except _OF_ONE_HALF as exc:
            halves[half] = None
            failed[f"{ring.ref}/{version.id}"] = exc
    state = state_of(version, record, is_current=version == ring.current)
    return BundledVersion(
        version.id,
        stamp_of_public(version),
        version is ring.current,
        _told(version.created_ns),
        _told(version.retired_ns),
        halves[Half.SECRET],
        halves[Half.PUBLIC],
        version.number,
        _NUMBERS.get(state.state) if state.is_told else None,
        _told(version.until_ns),
        "" if record is None else record.why,
        None if record is None else _told(record.at_ns),
        _told(state.destroy_at_ns),
        record is not None and record.is_forced,
    )


def _told(time_ns: int | None) -> int | None:
    return time_ns if time_ns is not None and -_TOLD_NS <= time_ns < _TOLD_NS else None
