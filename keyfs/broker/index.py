"""The names of a key store in memory, as key rings. Kept true by whoever calls `apply`.

Readers take no lock. What makes that safe: the blobs of a ring are one immutable row that is only replaced
whole, and a cached ring is used only together with the very row it was built from.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from keyfs.broker.packing import Blobs, Packing
from keyfs.broker.ring_cache import RingCache
from keyfs.core.names import KeyRef
from keyfs.core.purposes import Purpose
from keyfs.errors import KeyNotFound
from keyfs.layout.base import KeyRing, Layout, Reading, Slot
from keyfs.store.base import BlobStat, Page

Prove = Callable[[str, tuple[Slot, ...]], Slot | None]
Clients = Sequence[str | None]


class _Section:
    """The rows of one purpose by client, and its clients in order for as long as none comes or goes."""

    def __init__(self) -> None:
        self.rows: dict[str | None, bytes] = {}
        self._moves = 0  # how often a client came or went
        self._ordered: tuple[int, Clients] = (-1, ())

    def set(self, client: str | None, row: bytes | None) -> None:
        before = len(self.rows)
        if row is None:
            self.rows.pop(client, None)
        else:
            self.rows[client] = row
        if len(self.rows) != before:
            self._moves += 1  # last: who ordered them before it does so again

    def clients(self) -> Clients:
        moves = self._moves  # first: if one comes or goes from here on, this order is not used again
        ordered = self._ordered
        if ordered[0] != moves:
            clients = list(self.rows)
            ordered = self._ordered = (moves, tuple(sorted(filter(None, clients)) or clients))
        return ordered[1]


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
        self._sections: dict[Purpose, _Section] = {}
        self._rings = RingCache()
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
            before = self._row(candidate.ref)
            blobs = self._packing.blobs(candidate.ref, before)
            old = blobs.pop(candidate, None)
            if candidate == slot and stat is not None:
                blobs[candidate] = (name, stat)
            if blobs.get(candidate) != old:
                after = self._packing.row(blobs)
                self._set(candidate.ref, after)
                changed |= self._changed(candidate.ref, before, after)
        self._mark(name, self._layout.stray_reason(name) if stat is not None and slot is None else "")
        return changed

    def replace(
        self, ref: KeyRef, found: dict[str, BlobStat], *, ring_name: str = "", reason: str = ""
    ) -> set[Slot]:
        """Take *found* as all blobs there are of one ring; returns the places in it that this changed.

        Args:
            ref: the key.
            found: with their facts.
            ring_name: of the blob that they all lie in, if they do.
            reason: why that blob is a stray; empty if it is none.
        """
        blobs: Blobs = {}
        for name, stat in found.items():
            slot = self._slot(name, self._layout.slots(name))
            if slot is not None and slot.ref == ref:
                blobs[slot] = (name, stat)
        before, after = self._row(ref), self._packing.row(blobs)
        if before or after:
            self._set(ref, after)
        self._mark(ring_name, reason)
        return self._changed(ref, before, after)

    def ring(self, ref: KeyRef) -> KeyRing:
        """The ring of one key.

        Raises:
            KeyNotFound: the store has none.
        """
        section = self._sections.get(ref.purpose)
        row = None if section is None else section.rows.get(ref.client)
        if row is None:
            raise KeyNotFound(f"no key {ref}")
        ring = self._rings.get(ref, row)
        if ring is None:
            ring = self._layout.ring(ref, self._packing.blobs(ref, row))
            self._rings.put(ref, row, ring)
        return ring

    def blobs(self, ref: KeyRef) -> dict[str, BlobStat]:
        """What is known of one ring's blobs, by name."""
        return dict(self._packing.blobs(ref, self._row(ref)).values())

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

    def _read(self, pages: Iterable[Page]) -> tuple[dict[Purpose, _Section], dict[str, str]]:
        """What *pages* hold: rows, and strays."""
        sections: dict[Purpose, _Section] = {}
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
                    section = sections[reading[0]] = _Section()
                entry = pack(reading, name, facts)
                row = section.rows.setdefault(reading[1], entry)
                if row is not entry and row != entry:  # a listing may name a blob twice
                    section.rows[reading[1]] = row + entry
        return sections, strays

    def _proved(self, name: str) -> Reading | None:
        """What an ambiguous name is read as."""
        slot = self._slot(name, self._layout.slots(name))
        return None if slot is None else (slot.ref.purpose, slot.ref.client, slot.half, slot.stamp)

    def _take(self, sections: dict[Purpose, _Section], strays: dict[str, str]) -> None:
        self._sections, self.strays = sections, strays
        self.generation += 1

    def _slot(self, name: str, slots: tuple[Slot, ...]) -> Slot | None:
        if not slots:
            return None
        return self._prove(name, slots) if self._layout.needs_proof(slots) else slots[0]

    def _changed(self, ref: KeyRef, before: bytes, after: bytes) -> set[Slot]:
        """The places, as people know them, that are not as they were."""
        old, new = (self._layout.shown(self._packing.blobs(ref, row)) for row in (before, after))
        return {slot for slot in {*old, *new} if old.get(slot) != new.get(slot)}

    def _row(self, ref: KeyRef) -> bytes:
        section = self._sections.get(ref.purpose)
        return b"" if section is None else section.rows.get(ref.client, b"")

    def _set(self, ref: KeyRef, row: bytes) -> None:
        self._sections.setdefault(ref.purpose, _Section()).set(ref.client, row or None)
        if not row:
            self._rings.drop(ref)
        self.generation += 1

    def _mark(self, name: str, reason: str) -> None:
        """Why *name* is a stray from now on, if it is; readers may go through the others just now."""
        if reason:
            self.strays = self.strays | {name: reason}
        elif name in self.strays:
            self.strays = {stray: why for stray, why in self.strays.items() if stray != name}


def _rows(sections: dict[Purpose, _Section], purpose: Purpose) -> dict[str | None, bytes]:
    section = sections.get(purpose)
    return {} if section is None else section.rows


def _refs(purpose: Purpose, clients: Clients) -> Iterator[KeyRef]:
    return (KeyRef(purpose, client) for client in clients)
