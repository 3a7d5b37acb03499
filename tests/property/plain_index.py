"""An index as a dict of dicts: too large for a million keys, and plain enough to be seen right."""

from keyfs.broker.index import Prove
from keyfs.core.names import KeyRef
from keyfs.errors import KeyNotFound
from keyfs.layout.base import KeyRing, Layout, Slot
from keyfs.store.base import BlobStat, Listing

Blobs = dict[Slot, tuple[str, BlobStat]]


class PlainIndex:
    """What `Index` has to say, too."""

    def __init__(self, layout: Layout, prove: Prove) -> None:
        self._layout = layout
        self._prove = prove
        self.all_blobs: dict[KeyRef, Blobs] = {}
        self.strays: dict[str, str] = {}

    def reload(self, listing: Listing) -> set[Slot]:
        before, self.all_blobs, self.strays = self.all_blobs, {}, dict(listing.strays)
        for name, stat in listing.blobs.items():
            slot = self._slot(name)
            if slot is None:
                self.strays[name] = self._layout.stray_reason(name)
            else:
                self.all_blobs.setdefault(slot.ref, {})[slot] = (name, stat)
        rings = [(before.get(ref, {}), self.all_blobs.get(ref, {})) for ref in {*before, *self.all_blobs}]
        return {slot for old, new in rings for slot in self._changed(old, new)}

    def apply(self, name: str, stat: BlobStat | None) -> set[Slot]:
        changed: set[Slot] = set()
        slot = None if stat is None else self._slot(name)
        for candidate in self._layout.slots(name):
            before = self.all_blobs.get(candidate.ref, {})
            blobs = {place: blob for place, blob in before.items() if place != candidate}
            if candidate == slot and stat is not None:
                blobs[candidate] = (name, stat)
            self._set(candidate.ref, blobs)
            changed |= self._changed(before, blobs)
        self.strays.pop(name, None)
        if stat is not None and slot is None:
            self.strays[name] = self._layout.stray_reason(name)
        return changed

    def replace(self, ref: KeyRef, found: dict[str, BlobStat]) -> None:
        named = [(self._slot(name), (name, stat)) for name, stat in found.items()]
        self._set(ref, {slot: blob for slot, blob in named if slot is not None and slot.ref == ref})

    def ring(self, ref: KeyRef) -> KeyRing:
        if ref not in self.all_blobs:
            raise KeyNotFound(str(ref))
        return self._layout.ring(ref, self.all_blobs[ref])

    def _slot(self, name: str) -> Slot | None:
        slots = self._layout.slots(name)
        return self._prove(name, slots) if self._layout.needs_proof(slots) else next(iter(slots), None)

    def _changed(self, before: Blobs, after: Blobs) -> set[Slot]:
        old, new = self._layout.shown(before), self._layout.shown(after)
        return {slot for slot in {*old, *new} if old.get(slot) != new.get(slot)}

    def _set(self, ref: KeyRef, blobs: Blobs) -> None:
        self.all_blobs[ref] = blobs
        if not blobs:
            del self.all_blobs[ref]
