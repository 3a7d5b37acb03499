"""Acra's layout for the key store, and another one for its annex, as one."""

from collections.abc import Callable, Mapping

from keyfs.core.label import Label
from keyfs.core.names import Half, KeyRef
from keyfs.layout.base import KeyRing, Layout, NewHalves, Part, Reading, RingPlaces, Slot
from keyfs.store.base import ANNEX, BlobStat, Replacement


class JoinedLayout:
    """Each question goes to the layout that the name, or the key, belongs to."""

    def __init__(self, main: Layout, annex: Layout) -> None:
        self._main = main
        self._annex = annex
        self.name = main.name
        self.purposes = (*main.purposes, *annex.purposes)

    def reading(self, name: str) -> Reading | None:
        """See `Layout.reading`."""
        return self._named(name).reading(name)

    def slots(self, name: str) -> tuple[Slot, ...]:
        """See `Layout.slots`."""
        return self._named(name).slots(name)

    def needs_proof(self, slots: tuple[Slot, ...]) -> bool:
        """See `Layout.needs_proof`."""
        return bool(slots) and self._of(slots[0].ref).needs_proof(slots)

    def ring_named(self, name: str) -> KeyRef | None:
        """See `Layout.ring_named`."""
        return self._named(name).ring_named(name)

    def stray_reason(self, name: str) -> str:
        """See `Layout.stray_reason`."""
        return self._named(name).stray_reason(name)

    def places(self, ref: KeyRef) -> RingPlaces:
        """See `Layout.places`."""
        return self._of(ref).places(ref)

    def ring(self, ref: KeyRef, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> KeyRing:
        """See `Layout.ring`."""
        return self._of(ref).ring(ref, blobs)

    def ring_of_one(self, ref: KeyRef, half: Half, name: str, stat: BlobStat) -> KeyRing | None:
        """See `Layout.ring_of_one`."""
        return self._of(ref).ring_of_one(ref, half, name, stat)

    def size_of_one(self, ref: KeyRef, half: Half, blob_size: int) -> int | None:
        """See `Layout.size_of_one`."""
        return self._of(ref).size_of_one(ref, half, blob_size)

    def ring_after(
        self,
        ring: KeyRing,
        blobs: Mapping[Slot, tuple[str, BlobStat]],
        changes: Mapping[Slot, tuple[str, BlobStat] | None],
    ) -> KeyRing | None:
        """See `Layout.ring_after`."""
        return self._of(ring.ref).ring_after(ring, blobs, changes)

    def shown(self, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> Mapping[Slot, tuple[str, BlobStat]]:
        """See `Layout.shown`."""
        first = next(iter(blobs), None)
        return blobs if first is None else self._of(first.ref).shown(blobs)

    def label(self, ref: KeyRef, name: str) -> Label:
        """See `Layout.label`."""
        return self._of(ref).label(ref, name)

    def check_writable(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_writable`."""
        self._of(ref).check_writable(ref, name_limit)

    def check_fits(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_fits`."""
        self._of(ref).check_fits(ref, name_limit)

    def check_readable(self, ref: KeyRef, part: Part) -> None:
        """See `Layout.check_readable`."""
        self._of(ref).check_readable(ref, part)

    def why_kept(self, ring: KeyRing, version_id: str) -> str:
        """See `Layout.why_kept`."""
        return self._of(ring.ref).why_kept(ring, version_id)

    def next_name(self, ring: KeyRing, clock: Callable[[], int], *, is_amended: bool) -> str:
        """See `Layout.next_name`."""
        return self._of(ring.ref).next_name(ring, clock, is_amended=is_amended)

    def plan(self, ring: KeyRing, new: NewHalves, now_ns: int) -> tuple[Replacement, ...]:
        """See `Layout.plan`."""
        return self._of(ring.ref).plan(ring, new, now_ns)

    def _named(self, name: str) -> Layout:
        return self._annex if name.startswith(ANNEX) else self._main

    def _of(self, ref: KeyRef) -> Layout:
        return self._main if ref.purpose.own is None else self._annex
