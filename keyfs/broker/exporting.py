"""`keyfs export`: every version of every key out of a key store, opened, as a backup in memory."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion
from keyfs.core.names import Half, KeyRef
from keyfs.core.secret import Secret
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
    left = set(keys.index.refs()) if refs is None else set(refs)
    for _ in range(ROUNDS):
        for done, ref in enumerate(sorted(left, key=str), 1):
            _gather_key(keys, ref, gathered)
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


def _gather_key(keys: KeyStore, ref: KeyRef, gathered: Gathered) -> None:
    """Nothing of a key that went, or changes: see the next round."""
    gathered.failed.pop(ref, None)
    gathered.keys.pop(ref, None)
    failed: Failures = {}
    try:
        ring = keys.ring(ref)
        parts = [part for version in ring.versions for part in (version.secret, version.public) if part]
        keys.reader.prefetch(parts)
        versions = [_version(keys, ring, version, failed) for version in ring.versions]
    except KeyNotFound:
        return
    kept = tuple(version for version in versions if version.secret or version.public)
    if kept:
        gathered.keys[ref] = BundledKey(ref, kept)
    if failed:
        gathered.failed[ref] = failed


def _version(keys: KeyStore, ring: KeyRing, version: KeyVersion, failed: Failures) -> BundledVersion:
    halves: dict[Half, Secret | None] = {}
    for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
        try:
            halves[half] = None if part is None else keys.reader.open(ring.ref, version, half).material
        except _OF_ONE_HALF as exc:
            halves[half] = None
            failed[f"{ring.ref}/{version.id}"] = exc
    return BundledVersion(
        version.id,
        stamp_of_public(version),
        version is ring.current,
        _told(version.created_ns),
        _told(version.retired_ns),
        halves[Half.SECRET],
        halves[Half.PUBLIC],
        version.number,
        None if version.state is None else _NUMBERS[version.state],
        _told(version.until_ns),
    )


def _told(time_ns: int | None) -> int | None:
    return time_ns if time_ns is not None and -_TOLD_NS <= time_ns < _TOLD_NS else None
