"""The names of a key store in memory, as key rings. Kept true by whoever calls `apply`.

Readers take no lock. What makes that safe: the blobs of a ring are one dict that is never changed, only
replaced whole, and a cached ring is used only together with the very dict it was built from.
"""

from collections.abc import Callable, Iterator

from keyfs.core.names import KeyRef
from keyfs.core.purposes import Purpose
from keyfs.errors import KeyNotFound
from keyfs.layout.base import KeyRing, Layout, Slot
from keyfs.store.base import BlobStat, Listing

Prove = Callable[[str, tuple[Slot, ...]], Slot | None]
Blobs = dict[Slot, tuple[str, BlobStat]]


class Index:
    """Rings by key, built from blobs when first asked for; strays by name, with the reason.

    Args:
        layout: says what a name means.
        prove: picks the slot of an ambiguous name by opening the blob; None when nothing opens it.
    """

    def __init__(self, layout: Layout, prove: Prove) -> None:
        self._layout = layout
        self._prove = prove
        self._blobs: dict[KeyRef, Blobs] = {}
        self._rings: dict[KeyRef, tuple[Blobs, KeyRing]] = {}
        self.strays: dict[str, str] = {}
        self.generation = 0  # grows with every change

    def load(self, listing: Listing) -> None:
        """Forget everything and take what *listing* holds."""
        fresh: dict[KeyRef, Blobs] = {}
        strays = dict(listing.strays)
        for name, stat in listing.blobs.items():
            slot = self._slot(name)
            if slot is None:
                strays[name] = self._layout.stray_reason(name)
            else:
                fresh.setdefault(slot.ref, {})[slot] = (name, stat)
        self._blobs, self._rings, self.strays = fresh, {}, strays
        self.generation += 1

    def reload(self, listing: Listing) -> set[Slot]:
        """As `load`; returns the places in rings that are not as they were."""
        before = self._blobs
        self.load(listing)
        rings = [(before.get(ref, {}), self._blobs.get(ref, {})) for ref in {*before, *self._blobs}]
        return {slot for old, new in rings if old != new for slot in self._changed(old, new)}

    def apply(self, name: str, stat: BlobStat | None) -> set[Slot]:
        """Take one blob's present facts, or its absence; returns the places in rings that this changed."""
        changed: set[Slot] = set()
        slot = None if stat is None else self._slot(name)
        for candidate in self._layout.slots(name):
            blobs = dict(self._blobs.get(candidate.ref, {}))
            blobs.pop(candidate, None)
            if candidate == slot and stat is not None:
                blobs[candidate] = (name, stat)
            before = self._blobs.get(candidate.ref, {})
            if blobs != before:
                self._set(candidate.ref, blobs)
                changed |= self._changed(before, blobs)
        strays = {stray: why for stray, why in self.strays.items() if stray != name}
        if stat is not None and slot is None:
            strays[name] = self._layout.stray_reason(name)
        self.strays = strays
        return changed

    def replace(self, ref: KeyRef, found: dict[str, BlobStat]) -> None:
        """Take *found* as all blobs there are of one ring."""
        blobs: Blobs = {}
        for name, stat in found.items():
            slot = self._slot(name)
            if slot is not None and slot.ref == ref:
                blobs[slot] = (name, stat)
        self._set(ref, blobs)

    def ring(self, ref: KeyRef) -> KeyRing:
        """The ring of one key.

        Raises:
            KeyNotFound: the store has none.
        """
        blobs = self._blobs.get(ref)
        if not blobs:
            raise KeyNotFound(f"no key {ref}")
        cached = self._rings.get(ref)
        if cached is not None and cached[0] is blobs:
            return cached[1]
        ring = self._layout.ring(ref, blobs)
        self._rings[ref] = (blobs, ring)
        return ring

    def blobs(self, ref: KeyRef) -> dict[str, BlobStat]:
        """What is known of one ring's blobs, by name."""
        return dict(self._blobs.get(ref, {}).values())

    def refs(self, purpose: Purpose | None = None) -> Iterator[KeyRef]:
        """The keys there are, of one purpose or of all, in no order."""
        for ref in list(self._blobs):
            if purpose is None or ref.purpose is purpose:
                yield ref

    def has(self, ref: KeyRef) -> bool:
        """Whether there is anything of this key."""
        return ref in self._blobs

    def __len__(self) -> int:
        return len(self._blobs)

    def _slot(self, name: str) -> Slot | None:
        slots = self._layout.slots(name)
        return self._prove(name, slots) if self._layout.needs_proof(slots) else next(iter(slots), None)

    def _changed(self, before: Blobs, after: Blobs) -> set[Slot]:
        """The places, as people know them, that are not as they were."""
        old, new = self._layout.shown(before), self._layout.shown(after)
        return {slot for slot in {*old, *new} if old.get(slot) != new.get(slot)}

    def _set(self, ref: KeyRef, blobs: Blobs) -> None:
        if blobs:
            self._blobs[ref] = blobs
        else:
            self._blobs.pop(ref, None)
            self._rings.pop(ref, None)
        self.generation += 1
