"""What a change of the newest versions does to a ring, without a look at all the others."""

from collections.abc import Iterator, Mapping
from typing import Final

from keyfs.core.names import CURRENT, Half
from keyfs.layout.base import KeyRing, KeyVersion, Slot
from keyfs.layout.v1_names import modern_reading
from keyfs.layout.v1_ring import build_ring
from keyfs.store.base import BlobStat

TAIL: Final = 3  # the newest versions, which are settled anew
Blobs = Mapping[Slot, tuple[str, BlobStat]]


def ring_after(
    ring: KeyRing, blobs: Blobs, changes: Mapping[Slot, tuple[str, BlobStat] | None]
) -> KeyRing | None:
    """The ring of *blobs*, which are those of *ring* after *changes*; None where all of it has to be built.

    The newest versions are built from their own blobs, together with an *anchor*, the one before them. If
    that comes out as it was, and everything that changed is newer, then what is older is as it was, too:
    halves are matched by rank where each has its other one, and copies of what is current are looked for
    from the newest on, as far as they go.
    """
    if len(ring.versions) <= TAIL or ring.ref.purpose.is_legacy:
        return None
    older, anchor, tail = ring.versions[: -TAIL - 1], ring.versions[-TAIL - 1], ring.versions[-TAIL:]
    loose = {*changes, *_orphan_slots(ring)}
    if not all(slot.stamp is None or _is_newer(slot, anchor) for slot in loose):
        return None
    slots = loose.union(*(_slots(ring, version) for version in (anchor, *tail)))
    built = build_ring(ring.ref, {slot: blobs[slot] for slot in slots if slot in blobs})
    if not built.versions or not _is_same(built.versions[0], anchor) or _is_copied(anchor, built.current):
        return None
    retired = (v for v in (*ring.versions, *built.versions) if v.id != CURRENT)
    if ring.ref.purpose.is_pair and not all(map(_is_whole, retired)):
        return None
    return KeyRing(ring.ref, (*older, anchor, *built.versions[1:]), built.orphans)


def _orphan_slots(ring: KeyRing) -> Iterator[Slot]:
    for reading in map(modern_reading, ring.orphans):
        if reading is not None:
            yield Slot(ring.ref, reading[2], reading[3])


def _slots(ring: KeyRing, version: KeyVersion) -> Iterator[Slot]:
    for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
        if part is not None:
            stamp = None if version.id == CURRENT else part.name.rpartition("/")[2]
            yield Slot(ring.ref, half, stamp)


def _is_newer(slot: Slot, anchor: KeyVersion) -> bool:
    part = anchor.secret if slot.half is Half.SECRET else anchor.public
    return part is not None and (slot.stamp or "") > part.name.rpartition("/")[2]


def _is_same(one: KeyVersion, other: KeyVersion) -> bool:
    """Apart from the time of its making, for which the version before it may be needed."""
    return (one.id, one.secret, one.public) == (other.id, other.secret, other.public)


def _is_copied(version: KeyVersion, current: KeyVersion | None) -> bool:
    """Whether one of its halves is the current one: then older ones may be, too."""
    if current is None:
        return True
    pairs = ((version.secret, current.secret), (version.public, current.public))
    return any(a is not None and b is not None and a.stat.identity == b.stat.identity for a, b in pairs)


def _is_whole(version: KeyVersion) -> bool:
    return version.secret is not None and version.public is not None
