"""Where the versions of a backup go in a key store: the names of their blobs, and the times of them.

A version that comes from a key store of the same layout gets its own name again.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from keyfs.core.bundles import BundledKey, BundledVersion
from keyfs.core.names import Half, KeyRef
from keyfs.core.rings import (
    DESTROYED,
    KEEP_CURRENT,
    LIFETIME_S,
    NO_CURRENT,
    PRE_ACTIVE,
    SEQNUM_LIMIT,
    Contents,
    Entry,
    as_note,
    half_name,
)
from keyfs.core.secret import Secret
from keyfs.core.stamps import FOLLOWED_NS, NANOSECONDS, format_stamp, is_stamp, parse_stamp
from keyfs.errors import LayoutUnsupported, MaterialCorrupt, OperationRefused
from keyfs.layout.base import KeyRing, KeyVersion, Layout
from keyfs.layout.own import MODE as OWN_MODE
from keyfs.layout.v1 import PRIVATE_MODE, PUBLIC_MODE, PUBLIC_STAMP_DELAY_NS
from keyfs.layout.v1_names import history_directory, public_name, secret_name
from keyfs.layout.v2 import STATES
from keyfs.layout.v2_names import ring_name_of
from keyfs.store.base import ANNEX, Replacement

LAYOUT: Final = "v1"
WITH_RINGS: Final = "v2"


@dataclass(frozen=True, slots=True)
class Restored:
    """One half of one version: what it will be called, and what it is."""

    version: BundledVersion
    half: Half
    material: Secret
    name: str
    mode: int
    time_ns: int  # when it became current; 0 where nobody knows


def restored(layout: Layout, key: BundledKey) -> list[Restored]:
    """Every half of every version, oldest first, the current one last; the secret half before the public one.

    Raises:
        MaterialCorrupt: a version has no place there: its id is none, or it is there twice.
        OperationRefused: the layout has no such keys.
        LayoutUnsupported: nothing can be restored into this layout.
    """
    if key.ref.purpose not in layout.purposes and key.ref.purpose.own is None:
        raise OperationRefused(f"{key.ref}: there are no keys of this kind in layout {layout.name}")
    place = _own_names if key.ref.purpose.own is not None else _PLACES.get(layout.name)
    if place is None:
        raise LayoutUnsupported(f"a backup cannot be restored into a key store of layout {layout.name} yet")
    found = [item for names in place(key) for item in names]
    if len({item.name for item in found}) != len(found):
        raise MaterialCorrupt(f"{key.ref}: two versions of the backup would have one name")
    for item in found:
        slots = layout.slots(item.name)
        if not any((slot.ref, slot.half) == (key.ref, item.half) for slot in slots):
            raise MaterialCorrupt(f"{key.ref}: there is no version {item.version.id} in layout {layout.name}")
    return found


def is_switched(layout: Layout, ref: KeyRef) -> bool:
    """Whether what is current has a name of its own, which the next version takes; else the newest is it."""
    return layout.name == LAYOUT and ref.purpose.own is None


def has_rings(layout: Layout, ref: KeyRef) -> bool:
    """Whether all versions of a key lie in one blob, which says more of them."""
    return layout.name == WITH_RINGS and ref.purpose.own is None


def numbered(key: BundledKey) -> list[tuple[BundledVersion, int]]:
    """The versions with their numbers in layout v2: those that they had, or 1, 2, … in their order.

    One that was destroyed, and never had a number, gets none: Acra reads no list with such a one in it.

    Raises:
        MaterialCorrupt: one is no number.
    """
    versions = [version for version in key.versions if version.number or not version.is_destroyed]
    if not all(version.number for version in versions):
        return list(zip(versions, range(1, len(versions) + 1), strict=True))
    texts = [version.number for version in versions]
    if not all(text.isascii() and text.isdecimal() and 0 < int(text) <= SEQNUM_LIMIT for text in texts):
        raise MaterialCorrupt(f"{key.ref}: a version has no number that layout v2 knows")
    return [(version, int(text)) for version, text in zip(versions, texts, strict=True)]


def graves(layout: Layout, key: BundledKey) -> list[tuple[BundledVersion, str]]:
    """What was destroyed, and by which id that will be known.

    Raises:
        MaterialCorrupt: as `restored`.
    """
    destroyed = [version for version in key.versions if version.is_destroyed]
    if not destroyed or key.ref.purpose.own is not None:
        return [(version, version.id) for version in destroyed]
    if layout.name == WITH_RINGS:
        return [(version, version.number or version.id) for version in destroyed]
    stamped = [(version, stamps) for version, stamps, _ in _v1_stamped(key) if version.is_destroyed]
    return [(version, stamps[Half.SECRET]) for version, stamps in stamped]


def ring_note(
    key: BundledKey, ring: KeyRing, written: Collection[str], held: Mapping[str, KeyVersion]
) -> Replacement | None:
    """What a key ring of layout v2 is to say beside its material; None for nothing new.

    That is what is current, states and dates, and what is left of versions that were destroyed. What is said
    there already stays.

    Args:
        key: of the backup.
        ring: as it is there.
        written: the versions of the backup that are written together with this.
        held: which of those there the others are, by id in the backup.
    """
    there = {version.number for version in ring.versions}
    entries = []
    current = NO_CURRENT if ring.current is None else KEEP_CURRENT
    for version, number, since_ns in _v2_timed(key):
        same = held.get(version.id)
        if version.is_current and (version.id in written or ring.current is None):
            current = number if same is None else int(same.number)
        if version.id in written or (version.is_destroyed and str(number) not in there):
            entries.append(_entry(version, number, since_ns))
        elif same is not None and same.state is None and _state(version) != PRE_ACTIVE:
            dates = same.created_ns or 0, same.until_ns or 0
            entries.append(Entry(int(same.number), _state(version), *dates))
    if not entries and current in (KEEP_CURRENT, NO_CURRENT):
        return None
    note = as_note(Contents(current, tuple(entries)))
    return Replacement(ring_name_of(key.ref), b"", PRIVATE_MODE, 0, None, note)


def _entry(version: BundledVersion, number: int, since_ns: int) -> Entry:
    until_ns = version.until_ns
    if until_ns is None:
        until_ns = since_ns // NANOSECONDS * NANOSECONDS + LIFETIME_S * NANOSECONDS
    return Entry(number, _state(version), since_ns, until_ns)


def _state(version: BundledVersion) -> int:
    """The state to write. One that came back after it was destroyed is readable: Acra must not stop at it."""
    is_said = version.state in STATES and (version.state != DESTROYED or version.is_destroyed)
    return version.state if is_said and version.state is not None else PRE_ACTIVE


def v1_names(key: BundledKey) -> list[Restored]:
    """As `restored`, for any key of Acra's in layout v1."""
    return [item for names in _v1_names(key) for item in names]


def _v1_names(key: BundledKey) -> Iterator[list[Restored]]:
    for version, stamps, created_ns in _v1_stamped(key):
        items = []
        for half, material in version.halves():
            name, mode = _v1_place(key.ref, half)
            if not version.is_current:
                name = f"{history_directory(name)}/{stamps[half]}"
            items.append(Restored(version, half, material, name, mode, created_ns or 0))
        yield items


def _v1_stamped(key: BundledKey) -> Iterator[tuple[BundledVersion, dict[Half, str], int | None]]:
    """Each version with its stamps, which the current one has not, and when it became current."""
    last_ns: int | None = None
    for version in key.versions:
        stamps = _stamps(key.ref, version, last_ns)
        yield version, stamps, version.created_ns if version.created_ns is not None else last_ns
        if stamps and not (version.is_destroyed and is_stamp(version.id)):
            last_ns = parse_stamp(stamps[Half.SECRET])


def _v1_place(ref: KeyRef, half: Half) -> tuple[str, int]:
    if half is Half.SECRET:
        return secret_name(ref), PRIVATE_MODE
    return public_name(ref), PUBLIC_MODE


def _stamps(ref: KeyRef, version: BundledVersion, last_ns: int | None) -> dict[Half, str]:
    """Those of a retired version: its own, or, out of a layout without stamps, made from its times."""
    if version.is_current and not version.is_destroyed:
        return {}
    if is_stamp(version.id):
        public = version.public_id or version.id
        return {Half.SECRET: version.id, Half.PUBLIC: public}
    # One that never was current retired when it came; one that was destroyed while it was, then.
    times = (version.retired_ns, version.said_ns if version.is_destroyed else None, version.created_ns)
    retired_ns = next((time_ns for time_ns in times if time_ns is not None), None)
    if retired_ns is None or not 0 <= retired_ns < FOLLOWED_NS:
        raise MaterialCorrupt(f"{ref}: nobody knows when version {version.id} retired")
    if last_ns is not None:
        retired_ns = max(retired_ns, last_ns + 1)
    public = format_stamp(retired_ns + PUBLIC_STAMP_DELAY_NS)
    return {Half.SECRET: format_stamp(retired_ns), Half.PUBLIC: public}


def _own_names(key: BundledKey) -> Iterator[list[Restored]]:
    """Each by the moment at which it became current."""
    for version in key.versions:
        created_ns = version.created_ns
        if version.is_destroyed:
            continue
        if created_ns is None or version.secret is None or not 0 <= created_ns < FOLLOWED_NS:
            raise MaterialCorrupt(f"{key.ref}: nobody knows when version {version.id} became current")
        name = f"{ANNEX}{key.ref}/{format_stamp(created_ns)}"
        yield [Restored(version, Half.SECRET, version.secret, name, OWN_MODE, created_ns)]


def _v2_names(key: BundledKey) -> Iterator[list[Restored]]:
    """Each under its number. What is current, `ring_note` says."""
    for version, number, created_ns in _v2_timed(key):
        yield [
            Restored(
                version,
                half,
                material,
                half_name(ring_name_of(key.ref), number, is_public=half is Half.PUBLIC),
                PUBLIC_MODE if half is Half.PUBLIC else PRIVATE_MODE,
                created_ns,
            )
            for half, material in version.halves()
        ]


def _v2_timed(key: BundledKey) -> Iterator[tuple[BundledVersion, int, int]]:
    """Each version with its number, and when it became current; 0 where nobody knows."""
    last_ns = 0
    for version, number in numbered(key):
        created_ns = version.created_ns if version.created_ns is not None else last_ns
        yield version, number, created_ns
        last_ns = version.retired_ns or created_ns


_PLACES: Final[dict[str, Callable[[BundledKey], Iterator[list[Restored]]]]] = {
    LAYOUT: _v1_names,
    WITH_RINGS: _v2_names,
}
