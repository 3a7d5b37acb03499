"""What the index keeps of a ring: the places and facts of its blobs, packed into one `bytes`, its *row*.

A million dicts, slots and stats take a gigabyte; a million rows take less than their keys' names do.

A row is a log of entries, one for each blob. Where two speak of one slot, the later one counts. An entry
tells a name by its *form*: what stands before and after the client, and whether a stamp ends it. There are
few forms, whatever the layout, so they have numbers.
"""

import json
import struct
from typing import Final, NamedTuple

from keyfs.core.names import Half, KeyRef
from keyfs.layout.base import Slot
from keyfs.store.base import BlobStat

Blobs = dict[Slot, tuple[str, BlobStat]]

_TIMED: Final = 1  # flags: the medium told a time
_HEX: Final = 2  # the identity is that many bytes in hexadecimal digits
_ODD: Final = 4  # something does not fit into a head: the rest is JSON
# Flags, number of the form, mode, size, lengths of stamp and identity; and the time, where there is one.
_UNTIMED_HEAD: Final = struct.Struct("<BHHIBB")
_TIMED_HEAD: Final = struct.Struct("<BHHIBBq")
_ODD_HEAD: Final = struct.Struct("<BI")


class _Form(NamedTuple):
    before: str
    after: str
    has_client: bool  # between the two
    has_stamp: bool  # at the end
    is_public: bool


class Packing:
    """Packs blobs and unpacks them. What one instance packed, only the same one can unpack.

    Unpacking is safe at any time; only one thread at a time may pack.
    """

    def __init__(self) -> None:
        self._forms: list[_Form] = []
        self._numbers: dict[_Form, int] = {}

    def entry(self, slot: Slot, name: str, stat: BlobStat) -> bytes:
        """One blob, as a row that has only this entry; rows can be put one behind the other."""
        stamp, identity = slot.stamp or "", stat.identity
        number = self._number(slot, name, stamp)
        try:
            known = bytes.fromhex(identity)
            flags = _HEX
        except ValueError:
            known, flags = identity.encode("utf-8", "surrogatepass"), 0
        if flags and known.hex() != identity:  # blanks, or capital letters
            known, flags = identity.encode(), 0
        tail = stamp.encode() + known
        lengths = len(tail) - len(known), len(known)
        try:
            if stat.mtime_ns is None:
                return _UNTIMED_HEAD.pack(flags, number, stat.mode, stat.size, *lengths) + tail
            return (
                _TIMED_HEAD.pack(flags | _TIMED, number, stat.mode, stat.size, *lengths, stat.mtime_ns) + tail
            )
        except struct.error:
            facts = (number, slot.stamp, stat.size, stat.mtime_ns, stat.mode, identity)
            text = json.dumps(facts).encode()
            return _ODD_HEAD.pack(_ODD, len(text)) + text

    def row(self, blobs: Blobs) -> bytes:
        """All these blobs."""
        return b"".join(self.entry(slot, name, stat) for slot, (name, stat) in blobs.items())

    def blobs(self, ref: KeyRef, row: bytes) -> Blobs:
        """The blobs that were packed into the row of this key."""
        found: Blobs = {}
        position = 0
        while position < len(row):
            number, stamp, stat, position = _unpacked(row, position)
            form = self._forms[number]
            slot = Slot(ref, Half.PUBLIC if form.is_public else Half.SECRET, stamp)
            client = (ref.client or "") if form.has_client else ""
            ending = (stamp or "") if form.has_stamp else ""
            found[slot] = (f"{form.before}{client}{form.after}{ending}", stat)
        return found

    def _number(self, slot: Slot, name: str, stamp: str) -> int:
        has_stamp = bool(stamp) and name.endswith(stamp)
        stem = name[: -len(stamp)] if has_stamp else name
        client = slot.ref.client
        before, found, after = stem.partition(client) if client else (stem, "", "")
        form = _Form(before, after, bool(found), has_stamp, slot.half is Half.PUBLIC)
        number = self._numbers.get(form)
        if number is None:
            number = len(self._forms)
            self._forms.append(form)  # first: who reads the number finds the form
            self._numbers[form] = number
        return number


def _unpacked(row: bytes, position: int) -> tuple[int, str | None, BlobStat, int]:
    """Number of the form, stamp and facts of the entry that begins here, and where the next one begins."""
    flags = row[position]
    if flags == _ODD:
        _, length = _ODD_HEAD.unpack_from(row, position)
        begin = position + _ODD_HEAD.size
        number, stamp, size, mtime_ns, mode, identity = json.loads(row[begin : begin + length])
        return number, stamp, BlobStat(size, mtime_ns, mode, identity), begin + length
    mtime_ns = None
    if flags & _TIMED:
        _, number, mode, size, stamped, known, mtime_ns = _TIMED_HEAD.unpack_from(row, position)
        begin = position + _TIMED_HEAD.size
    else:
        _, number, mode, size, stamped, known = _UNTIMED_HEAD.unpack_from(row, position)
        begin = position + _UNTIMED_HEAD.size
    middle, end = begin + stamped, begin + stamped + known
    data = row[middle:end]
    identity = data.hex() if flags & _HEX else data.decode("utf-8", "surrogatepass")
    return number, row[begin:middle].decode() or None, BlobStat(size, mtime_ns, mode, identity), end
