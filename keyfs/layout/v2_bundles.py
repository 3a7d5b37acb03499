"""Acra's v2 bundles: key rings with opened keys, to a backup and back. Numbers, dates and states stay.

What is left of a destroyed version, its number and dates, is in none of Acra's bundles.
"""

from collections.abc import Iterable
from typing import Final

from keyfs.core.bundles import Bundle, BundledKey, BundledVersion
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.rings import (
    LIFETIME_S,
    NO_CURRENT,
    PAIR_FORMAT,
    PRE_ACTIVE,
    SYMMETRIC_FORMAT,
    KeyData,
    Ring,
    RingKey,
)
from keyfs.core.secret import Secret
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import MaterialCorrupt
from keyfs.layout.restoring import numbered
from keyfs.layout.v2_names import MODERN, key_at, path_of

LAYOUT: Final = "v2"
_UNKNOWN: Final = "its path is not that of a key's ring"


def from_rings(rings: Iterable[Ring], made_ns: int | None = None) -> Bundle:
    """The backup in Acra's rings.

    Raises:
        MaterialCorrupt: two rings have one path.
    """
    keys: dict[KeyRef, BundledKey] = {}
    left_out: dict[str, str] = {}
    for ring in rings:
        path = ring.purpose.decode("utf-8", "replace")
        found = key_at(path)
        if found is None:
            left_out[path] = _UNKNOWN
            continue
        ref = KeyRef(*found)
        if ref in keys:
            raise MaterialCorrupt(f"the bundle has two key rings for {ref}")
        keys[ref] = BundledKey(ref, _versions(ring))
        left_out |= {f"{path}#{key.seqnum}": "its number is taken, or is none" for key in ring.hidden()}
    held = [key for key in keys.values() if key.versions]
    return Bundle(LAYOUT, made_ns, tuple(sorted(held, key=lambda key: str(key.ref))), left_out)


def to_rings(bundle: Bundle) -> tuple[list[Ring], dict[str, str]]:
    """The rings that Acra can import, and what cannot be in them, with the reason."""
    left_out = {str(key.ref): "Acra knows no such keys in v2" for key in bundle.keys if _is_strange(key.ref)}
    return [_ring(key) for key in bundle.keys if key.held() and not _is_strange(key.ref)], left_out


def _is_strange(ref: KeyRef) -> bool:
    return ref.purpose not in MODERN


def _versions(ring: Ring) -> tuple[BundledVersion, ...]:
    keys = sorted(ring.shown().values(), key=lambda key: (key.seqnum == ring.current, key.seqnum))
    return tuple(_version(ring, key) for key in keys if key.secret is not None or key.public is not None)


def _version(ring: Ring, key: RingKey) -> BundledVersion:
    is_current = key.seqnum == ring.current
    later = [other for other in ring.keys if key.seqnum < other.seqnum <= ring.current]
    return BundledVersion(
        CURRENT if is_current else str(key.seqnum),
        None,
        is_current,
        key.since_ns,
        min(later, key=lambda other: other.seqnum).since_ns if later else None,
        None if key.secret is None else Secret(key.secret),
        None if key.public is None else Secret(key.public),
        str(key.seqnum),
        key.state,
        key.until_ns,
    )


def _ring(key: BundledKey) -> Ring:
    numbers = [(version, number) for version, number in numbered(key) if not version.is_destroyed]
    made = [_ring_key(version, number, is_pair=key.ref.purpose.is_pair) for version, number in numbers]
    current = next((number for version, number in numbers if version.is_current), NO_CURRENT)
    return Ring(path_of(key.ref).encode(), tuple(sorted(made, key=lambda made: made.seqnum)), current)


def _ring_key(version: BundledVersion, number: int, *, is_pair: bool) -> RingKey:
    since_ns = version.created_ns or 0
    until_ns = version.until_ns if version.until_ns is not None else since_ns + LIFETIME_S * NANOSECONDS
    secret = None if version.secret is None else version.secret.reveal()
    public = None if version.public is None else version.public.reveal()
    data = KeyData(PAIR_FORMAT, public, secret) if is_pair else KeyData(SYMMETRIC_FORMAT, symmetric=secret)
    return RingKey(number, version.state or PRE_ACTIVE, since_ns, until_ns, (data,))
