"""What the index keeps of a ring: the places and facts of its blobs, packed into one `bytes`, its *row*.

A million dicts, slots and stats take a gigabyte; a million rows take less than their keys' names do.

A row is a log of entries, one for each blob. Where two speak of one slot, the later one counts. An entry
tells a name by its *form*: what stands before and after the client, and whether a stamp ends it. There are
few forms, whatever the layout, so they have numbers.
"""

import struct
from collections.abc import Mapping
from typing import Final

from keyfs.core.names import Half, KeyRef
from keyfs.layout.base import Reading, Slot
from keyfs.store.base import BlobStat
from keyfs.store.facts import pack, size_and_time, unpack

Blobs = dict[Slot, tuple[str, BlobStat]]
Changes = Mapping[Slot, tuple[str, BlobStat] | None]  # None for what is not there any more

# What stands before the client, whether that follows, what stands after it, whether the stamp follows; and
# whether it is public.
_Form = tuple[str, bool, str, bool, bool]
# Number of the form, lengths of the stamp and of the facts, which follow.
_HEAD: Final = struct.Struct("<IBI")
_SPARSE: Final = 3  # how many times as long as it need be a row may become


class Packing:
    """Packs blobs and unpacks them. What one instance packed, only the same one can unpack.

    Unpacking is safe at any time; only one thread at a time may pack.
    """

    def __init__(self) -> None:
        self._forms: list[_Form] = []
        self._numbers: dict[_Form, int] = {}

    def entry(self, reading: Reading, name: str, facts: bytes) -> bytes:
        """One blob, as a row that has only this entry; rows can be put one behind the other."""
        _, client, half, stamp = reading
        has_stamp, stem = False, name
        if stamp is not None and name.endswith(stamp):
            has_stamp, stem = True, name[: -len(stamp)]
        before, found, after = stem.partition(client) if client else (stem, "", "")
        form = (before, found != "", after, has_stamp, half is Half.PUBLIC)
        number = self._numbers.get(form)
        if number is None:
            number = self._new_number(form)
        if stamp is None:
            return _HEAD.pack(number, 0, len(facts)) + facts
        label = stamp.encode()
        return _HEAD.pack(number, len(label), len(facts)) + label + facts

    def row(self, blobs: Blobs) -> bytes:
        """All these blobs."""
        return b"".join(
            self.entry((slot.ref.purpose, slot.ref.client, slot.half, slot.stamp), name, pack(stat))
            for slot, (name, stat) in blobs.items()
        )

    def row_after(self, row: bytes, changes: Changes, blobs: Blobs) -> bytes:
        """The row of *blobs*, which are those of *row* after *changes*.

        What is new is put behind the rest, which costs the same whatever there is, until too much of the row
        counts no more.
        """
        added = {slot: blob for slot, blob in changes.items() if blob is not None}
        tail = self.row(added)
        is_sparse = (len(row) + len(tail)) * len(added) > _SPARSE * len(tail) * len(blobs)
        return self.row(blobs) if is_sparse or len(added) < len(changes) else row + tail

    def sole(self, ref: KeyRef, row: bytes) -> tuple[Half, str, BlobStat] | None:
        """The only blob in the row of this key, if it is in a slot without a stamp: as most are."""
        number, labelled, told = _HEAD.unpack_from(row)
        if labelled or _HEAD.size + told != len(row):
            return None
        half, name = _named(self._forms[number], ref, "")
        return half, name, unpack(row[_HEAD.size :])

    def lone(self, row: bytes) -> tuple[Half, int, int | None] | None:
        """Half, size and time of what `sole` tells, at a fraction of the cost; None also for odd facts."""
        number, labelled, told = _HEAD.unpack_from(row)
        if labelled or _HEAD.size + told != len(row):
            return None
        found = size_and_time(row, _HEAD.size)
        return None if found is None else (_half(self._forms[number]), *found)

    def blobs(self, ref: KeyRef, row: bytes) -> Blobs:
        """The blobs that were packed into the row of this key."""
        found: Blobs = {}
        end = 0
        while end < len(row):
            number, labelled, told = _HEAD.unpack_from(row, end)
            begin = end + _HEAD.size
            middle, end = begin + labelled, begin + labelled + told
            label = row[begin:middle].decode()
            half, name = _named(self._forms[number], ref, label)
            found[Slot(ref, half, label or None)] = (name, unpack(row[middle:end]))
        return found

    def _new_number(self, form: _Form) -> int:
        self._forms.append(form)  # first: who reads the number finds the form
        self._numbers[form] = len(self._forms) - 1
        return self._numbers[form]


def _named(form: _Form, ref: KeyRef, stamp: str) -> tuple[Half, str]:
    """Which half a blob of this form is, and its name."""
    before, has_client, after, has_stamp, _ = form
    client = (ref.client or "") if has_client else ""
    return _half(form), f"{before}{client}{after}{stamp if has_stamp else ''}"


def _half(form: _Form) -> Half:
    return Half.PUBLIC if form[-1] else Half.SECRET
