"""The facts about a blob, packed into a few bytes: a listing has millions of them.

A driver packs what it found without making a `BlobStat` of it. Equal facts are packed to equal bytes.
"""

import json
import struct
from hashlib import sha256
from typing import Final

from keyfs.store.base import BlobStat, Listing, Page, Pages

DIGEST_SIZE: Final = 16
"""Bytes of an identity that is a hash; in a `BlobStat` it has twice as many digits."""

_TIMED: Final = 1  # flags: the medium told a time
_HEX: Final = 2  # the identity is so many bytes in hexadecimal digits
_ODD: Final = 4  # something does not fit into a head: the rest is JSON
# Flags, mode, size and, where there is one, the time. The identity is the rest.
_HEAD: Final = struct.Struct("<BHI")
_TIMED_HEAD: Final = struct.Struct("<BHIq")
# The whole of what most blobs have.
_DIGEST: Final = struct.Struct(f"{_HEAD.format}{DIGEST_SIZE}s")
_TIMED_DIGEST: Final = struct.Struct(f"{_TIMED_HEAD.format}{DIGEST_SIZE}s")


def pack(stat: BlobStat) -> bytes:
    """Facts of any kind."""
    size, mtime_ns, mode, identity = stat.size, stat.mtime_ns, stat.mode, stat.identity
    if stat.note:
        return bytes((_ODD,)) + json.dumps((size, mtime_ns, mode, identity, stat.note)).encode()
    known, flags = _packed_identity(identity)
    try:
        if mtime_ns is None:
            return _HEAD.pack(flags, mode, size) + known
        return _TIMED_HEAD.pack(flags | _TIMED, mode, size, mtime_ns) + known
    except struct.error:
        return bytes((_ODD,)) + json.dumps((size, mtime_ns, mode, identity)).encode()


def pack_digest(size: int, mtime_ns: int | None, mode: int, digest: bytes) -> bytes:
    """As `pack` with an identity of hexadecimal digits: those of the beginning of *digest*."""
    try:
        if mtime_ns is None:
            return _DIGEST.pack(_HEX, mode, size, digest)
        return _TIMED_DIGEST.pack(_HEX | _TIMED, mode, size, mtime_ns, digest)
    except struct.error:
        return pack(BlobStat(size, mtime_ns, mode, digest[:DIGEST_SIZE].hex()))


def unpack(facts: bytes) -> BlobStat:
    """What was packed."""
    flags = facts[0]
    if flags == _ODD:
        return BlobStat(*json.loads(facts[1:]))
    if flags & _TIMED:
        _, mode, size, mtime_ns = _TIMED_HEAD.unpack_from(facts)
        known = facts[_TIMED_HEAD.size :]
    else:
        _, mode, size = _HEAD.unpack_from(facts)
        mtime_ns, known = None, facts[_HEAD.size :]
    identity = known.hex() if flags & _HEX else known.decode("utf-8", "surrogatepass")
    return BlobStat(size, mtime_ns, mode, identity)


def size_and_time(packed: bytes, place: int) -> tuple[int, int | None] | None:
    """Size and time of the blob whose facts stand at this place; None where only `unpack` tells them."""
    flags = packed[place]
    if flags & _TIMED:
        _, _, size, mtime_ns = _TIMED_HEAD.unpack_from(packed, place)
        return size, mtime_ns
    return None if flags == _ODD else (_HEAD.unpack_from(packed, place)[2], None)


def identity_of_bytes(data: bytes) -> str:
    """The identity of a blob on a medium where that follows from its bytes alone."""
    return sha256(data).hexdigest()[: 2 * DIGEST_SIZE]


def whole(pages: Pages) -> Listing:
    """What *pages* come to, with all their errors."""
    listing = Listing({}, {})
    for page in pages:
        listing.blobs.update((name, unpack(facts)) for name, facts in page.blobs.items())
        listing.strays.update(page.strays)
    return listing


def page_of(listing: Listing) -> Page:
    """A listing as a page."""
    return Page({name: pack(stat) for name, stat in listing.blobs.items()}, dict(listing.strays))


def _packed_identity(identity: str) -> tuple[bytes, int]:
    """The identity as bytes, and the flag that says how."""
    try:
        known = bytes.fromhex(identity)
    except ValueError:
        return identity.encode("utf-8", "surrogatepass"), 0
    if known.hex() == identity:
        return known, _HEX
    return identity.encode(), 0  # blanks, or capital letters
