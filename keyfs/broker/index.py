"""The names of a key store in memory, as key rings. Kept true by whoever calls `apply`.

Readers take no lock. What makes that safe: the blobs of a ring are one immutable row that is only replaced
whole, and a cached ring is used only together with the very row it was built from.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from keyfs.broker.packing import Blobs, Changes, Packing
from keyfs.broker.ring_cache import RowCache, weight_of_ring
from keyfs.broker.section import Clients, Section
from keyfs.core.names import KeyRef
from keyfs.core.purposes import Purpose
from keyfs.errors import KeyNotFound, RingInvalid
from keyfs.layout.base import KeyRing, Layout, Lone, Reading, Slot
from keyfs.store.base import BlobStat, Page

Prove = Callable[[str, tuple[Slot, ...]], Slot | None]
# Of rings that changed lately, as they were unpacked: about 4 MiB in both generations together.
UNPACKED_KEPT: Final = 1 << 12


class Index:
    """Rings by key, built from blobs when asked for; strays by name, with the reason.

    Args:
        layout: says what a name means.
        prove: picks the slot of an ambiguous name by opening the blob; None when nothing opens it.
    """

    def __init__(self, layout: Layout, prove: Prove) -> None:
        self._layout = layout
        self._prove = prove
        self._packing = Packing()
        self._sections: dict[Purpose, Section] = {}
        self._rings = RowCache(weight_of_ring)
        self._unpacked: RowCache[Blobs] = RowCache(len, UNPACKED_KEPT)  # never changed, only replaced
        self.strays: dict[str, str] = {}
        self.generation = 0  # grows with every change

    def load(self, pages: Iterable[Page]) -> None:
        """Forget everything and take what *pages* hold together. If they cannot be read, nothing changes."""
        self._take(*self._read(pages))

    def reload(self, pages: Iterable[Page]) -> set[Slot]:
        """As `load`; returns the places in rings that are not as they were."""
        before = self._sections
        after, strays = self._read(pages)
        changed: set[Slot] = set()
        for purpose in {*before, *after}:
            old, new = (_rows(sections, purpose) for sections in (before, after))
            for client in [client for client in old if client not in new]:
                changed |= self._changed(KeyRef(purpose, client), old[client], b"")
            for client, row in new.items():
                known = old.get(client, b"")
                if known == row:
                    new[client] = known  # rings that were built from it stay good
                else:
                    changed |= self._changed(KeyRef(purpose, client), known, row)
        self._take(after, strays)
        return changed

    def apply(self, name: str, stat: BlobStat | None) -> set[Slot]:
        """Take one blob's present facts, or its absence; returns the places in rings that this changed."""
        changed: set[Slot] = set()
        slots = self._layout.slots(name)
        slot = None if stat is None else self._slot(name, slots)
        for candidate in slots:
            blob = (name, stat) if candidate == slot and stat is not None else None
            changed |= self._change(candidate.ref, {candidate: blob})
        self._mark(name, self._layout.stray_reason(name) if stat is not None and slot is None else "")
        return changed

    def update(self, ref: KeyRef, found: Mapping[str, BlobStat | None]) -> None:
        """Take the present facts of some blobs of one ring, or their absence, all at once."""
        changes: dict[Slot, tuple[str, BlobStat] | None] = {}
        for name, stat in found.items():
            slots = self._layout.slots(name)
            slot = None if stat is None else self._slot(name, slots)
            for candidate in slots:
                if candidate.ref == ref:
                    is_there = candidate == slot and stat is not None
                    changes[candidate] = (name, stat) if is_there and stat is not None else None
        self._change(ref, changes)

    def take_ring(self, ref: KeyRef, name: str, listed: Callable[[str], dict[str, BlobStat]]) -> set[Slot]:
        """Take all that a blob of this name holds now: one ring. If that is not valid it is a stray."""
        found, reason = {}, ""
        try:
            found = listed(name)
        except RingInvalid as exc:
            reason = str(exc).removeprefix(f"{name}: ")
        changed = self.replace(ref, found)
        self._mark(name, reason)
        return changed

    def replace(self, ref: KeyRef, found: dict[str, BlobStat]) -> set[Slot]:
        """Take *found* as all blobs there are of one ring; returns the places in it that this changed."""
        for name in self._layout.places(ref).directories if self.strays else ():
            if self._layout.ring_named(name) is not None:
                self._mark(name, "")
        blobs: Blobs = {}
        for name, stat in found.items():
            slot = self._slot(name, self._layout.slots(name))
            if slot is not None and slot.ref == ref:
                blobs[slot] = (name, stat)
        return self._change(ref, {**dict.fromkeys(self._blobs(ref, self._row(ref))), **blobs})

    def ring(self, ref: KeyRef) -> KeyRing:
        """The ring of one key.

        Raises:
            KeyNotFound: the store has none.
            RingInvalid: it has one, in a blob that does not verify.
        """
        section = self._sections.get(ref.purpose)
        row = None if section is None else section.rows.get(ref.client)
        if row is None:
            self._demand_valid(ref)
            raise KeyNotFound(f"no key {ref}")
        ring = self._rings.get(ref, row)
        if ring is None:
            ring = self._built(ref, row)
            self._rings.put(ref, row, ring)
        return ring

    def lone(self, ref: KeyRef) -> Lone | None:
        """What the ring of one key comes to, where its row tells without the ring being built; else None."""
        section = self._sections.get(ref.purpose)
        row = None if section is None else section.rows.get(ref.client)
        found = None if row is None else self._packing.lone(row)
        if found is None:
            return None
        half, blob_size, created_ns = found
        size = self._layout.size_of_one(ref, half, blob_size)
        return None if size is None else (half, size, created_ns)

    def blobs(self, ref: KeyRef) -> dict[str, BlobStat]:
        """What is known of one ring's blobs, by name."""
        return dict(self._blobs(ref, self._row(ref)).values())

    def refs(self, purpose: Purpose | None = None) -> Iterator[KeyRef]:
        """The keys there are: of one purpose, in the order of `clients`; or of all, in no order."""
        if purpose is not None:
            return (KeyRef(purpose, client) for client in self.clients(purpose))
        sections = list(self._sections.items())
        return chain.from_iterable(_refs(purpose, list(section.rows)) for purpose, section in sections)

    def clients(self, purpose: Purpose) -> Clients:
        """The clients that have a key of this purpose, sorted; None for the one key that has no client.

        As long as none comes or goes, the answer is the very same object.
        """
        section = self._sections.get(purpose)
        return () if section is None else section.clients()

    def has(self, ref: KeyRef) -> bool:
        """Whether there is anything of this key."""
        section = self._sections.get(ref.purpose)
        return section is not None and ref.client in section.rows

    def __len__(self) -> int:
        return sum(len(section.rows) for section in list(self._sections.values()))

    def _read(self, pages: Iterable[Page]) -> tuple[dict[Purpose, Section], dict[str, str]]:
        """What *pages* hold: rows, and strays."""
        sections: dict[Purpose, Section] = {}
        strays: dict[str, str] = {}
        read, pack = self._layout.reading, self._packing.entry
        for page in pages:
            strays.update(page.strays)
            for name, facts in page.blobs.items():
                reading = read(name) or self._proved(name)
                if reading is None:
                    strays[name] = self._layout.stray_reason(name)
                    continue
                section = sections.get(reading[0])
                if section is None:
                    section = sections[reading[0]] = Section()
                entry = pack(reading, name, facts)
                row = section.rows.setdefault(reading[1], entry)
                if row is not entry and row != entry:  # a listing may name a blob twice
                    section.rows[reading[1]] = row + entry
        return sections, strays

    def _proved(self, name: str) -> Reading | None:
        """What an ambiguous name is read as."""
        slot = self._slot(name, self._layout.slots(name))
        return None if slot is None else (slot.ref.purpose, slot.ref.client, slot.half, slot.stamp)

    def _take(self, sections: dict[Purpose, Section], strays: dict[str, str]) -> None:
        self._sections, self.strays = sections, strays
        self.generation += 1

    def _slot(self, name: str, slots: tuple[Slot, ...]) -> Slot | None:
        if not slots:
            return None
        return self._prove(name, slots) if self._layout.needs_proof(slots) else slots[0]

    def _change(self, ref: KeyRef, wanted: Changes) -> set[Slot]:
        """Let the blobs of one ring be as *wanted* says, where it says; returns the places that changed.

        What it costs must not grow with the history of a key that is rotated: a ring is seldom built anew.
        """
        before = self._row(ref)
        known = self._blobs(ref, before)
        changes = {slot: blob for slot, blob in wanted.items() if known.get(slot) != blob}
        if not changes:
            return set()
        blobs: Blobs = {**known, **{slot: blob for slot, blob in changes.items() if blob is not None}}
        for slot in [slot for slot, blob in changes.items() if blob is None]:
            blobs.pop(slot, None)
        after = self._packing.row_after(before, changes, blobs)
        if blobs:
            self._unpacked.put(ref, after, blobs)
            ring = self._rings.get(ref, before)
            next_ring = None if ring is None else self._layout.ring_after(ring, blobs, changes)
            if next_ring is not None:
                self._rings.put(ref, after, next_ring)
        self._set(ref, after)
        return self._moved(known, blobs, changes)

    def _moved(self, before: Blobs, after: Blobs, changes: Changes) -> set[Slot]:
        """The places, as people know them, that are not as they were."""
        old, new = self._layout.shown(before), self._layout.shown(after)
        if old is before and new is after:
            return set(changes)
        return {slot for slot in {*old, *new} if old.get(slot) != new.get(slot)}

    def _changed(self, ref: KeyRef, before: bytes, after: bytes) -> set[Slot]:
        """As `_moved`, of a ring that may have changed in any way."""
        old, new = (self._packing.blobs(ref, row) for row in (before, after))
        return self._moved(old, new, {s: new.get(s) for s in {*old, *new} if old.get(s) != new.get(s)})

    def _built(self, ref: KeyRef, row: bytes) -> KeyRing:
        sole = self._packing.sole(ref, row)
        ring = None if sole is None else self._layout.ring_of_one(ref, *sole)
        return self._layout.ring(ref, self._packing.blobs(ref, row)) if ring is None else ring

    def _blobs(self, ref: KeyRef, row: bytes) -> Blobs:
        """The blobs in a row; not to be changed."""
        blobs = self._unpacked.get(ref, row) if row else {}
        if blobs is None:
            blobs = self._packing.blobs(ref, row)
            self._unpacked.put(ref, row, blobs)
        return blobs

    def _row(self, ref: KeyRef) -> bytes:
        section = self._sections.get(ref.purpose)
        return b"" if section is None else section.rows.get(ref.client, b"")

    def _set(self, ref: KeyRef, row: bytes) -> None:
        self._sections.setdefault(ref.purpose, Section()).set(ref.client, row or None)
        if not row:
            self._rings.drop(ref)
            self._unpacked.drop(ref)
        self.generation += 1

    def _demand_valid(self, ref: KeyRef) -> None:
        for name in self._layout.places(ref).directories if self.strays else ():
            if name in self.strays and self._layout.ring_named(name) == ref:
                raise RingInvalid(f"{name}: {self.strays[name]}")

    def _mark(self, name: str, reason: str) -> None:
        """Why *name* is a stray from now on, if it is; readers may go through the others just now."""
        if reason:
            self.strays = self.strays | {name: reason}
        elif name in self.strays:
            self.strays = {stray: why for stray, why in self.strays.items() if stray != name}


def _rows(sections: dict[Purpose, Section], purpose: Purpose) -> dict[str | None, bytes]:
    section = sections.get(purpose)
    return {} if section is None else section.rows


def _refs(purpose: Purpose, clients: Clients) -> Iterator[KeyRef]:
    return (KeyRef(purpose, client) for client in clients)
