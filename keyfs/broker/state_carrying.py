"""States and planned destructions that come with a backup: to the versions of a key store that has them now.

What a key ring of layout v2 says itself is written with its versions (`keyfs.layout.restoring.ring_note`);
here is what is kept beside a key store. What was said there already counts more.
"""

from collections.abc import Collection, Iterator

from keyfs.broker.bundle_check import fingerprint_of
from keyfs.broker.import_plan import Present
from keyfs.broker.keystore import KeyStore
from keyfs.broker.states import anchor_of, anchored
from keyfs.core.bundles import BundledKey, BundledVersion
from keyfs.core.rings import DESTROYED
from keyfs.core.state_records import Anchor, Record, as_text
from keyfs.core.states import KeyState
from keyfs.layout.base import KeyRing
from keyfs.layout.restoring import graves, has_rings
from keyfs.layout.v2 import STATES
from keyfs.store.base import STATES_BESIDE


def carry(keys: KeyStore, key: BundledKey) -> int:
    """Say of the versions of a key that are here what a backup says of them; returns of how many.

    Raises:
        UnsealFailed, MaterialCorrupt, InsecurePermissions, RotationConflict: as `Present`.
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable.
    """
    in_rings = has_rings(keys.layout, key.ref)
    told = [version for version in key.versions if _is_kept_beside(version, in_rings=in_rings)]
    if not told:  # as in most backups; then not even a lock is needed
        return 0
    with keys.store.lock():
        ring = keys.relist(key.ref) or KeyRing(key.ref, ())
        kept = keys.states.fetch()
        known = [record for record in kept if record.key == str(key.ref)]
        records = [*_of_destroyed(keys, key, told, ring), *_of_others(keys, key, told, ring)]
        new = [record for record in records if not _is_known(record, known, ring)]
        if not new:
            return 0
        keys.store.write_beside(STATES_BESIDE, as_text([*kept, *new]))
    if not keys.is_watched:
        keys.reload_states()
    return len(new)


def _is_kept_beside(version: BundledVersion, *, in_rings: bool) -> bool:
    """Whether there is more to say of it than a key ring says."""
    if version.is_destroyed:
        return not (in_rings and version.number and version.said_ns is None)
    if in_rings and version.state != DESTROYED:
        return bool(version.why) or version.destroy_at_ns is not None
    return version.state in STATES or version.destroy_at_ns is not None


def _of_destroyed(
    keys: KeyStore, key: BundledKey, told: Collection[BundledVersion], ring: KeyRing
) -> Iterator[Record]:
    there = {name for v in ring.versions if v.secret or v.public for name in (v.id, v.number)}
    for version, name in graves(keys.layout, key):
        if version in told and name not in there:
            at_ns = version.said_ns if version.said_ns is not None else keys.store.now_ns()
            yield Record(str(key.ref), Anchor(name), KeyState.DESTROYED, version.why, at_ns)


def _of_others(
    keys: KeyStore, key: BundledKey, told: Collection[BundledVersion], ring: KeyRing
) -> Iterator[Record]:
    now_ns = keys.store.now_ns()
    present = Present(keys, key.ref, ring)
    for version in told:
        state = None if version.state is None else STATES.get(version.state)
        # Of what is overdue nobody would have time to think better.
        is_planned = version.destroy_at_ns is not None and version.destroy_at_ns > now_ns
        here = None if version.is_destroyed else present.find(fingerprint_of(key.ref, version))
        if here is not None and (state is not None or is_planned):
            yield Record(
                str(key.ref),
                anchor_of(here),
                state,
                version.why,
                version.said_ns if version.said_ns is not None else now_ns,
                version.destroy_at_ns if is_planned else None,
                is_planned and version.is_forced,
            )


def _is_known(record: Record, known: Collection[Record], ring: KeyRing) -> bool:
    """Whether something was said of this version."""
    same = {version.id for version in anchored(ring, record.anchor)}
    return any(
        other.anchor == record.anchor or same.intersection(v.id for v in anchored(ring, other.anchor))
        for other in known
    )
