"""Where the versions of a backup go in a key store: the names of their blobs, and the times of them.

A version that comes from a key store of the same layout gets its own name again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from keyfs.core.bundles import BundledKey, BundledVersion
from keyfs.core.names import Half, KeyRef
from keyfs.core.rings import SEQNUM_LIMIT, half_name
from keyfs.core.secret import Secret
from keyfs.core.stamps import FOLLOWED_NS, format_stamp, is_stamp, parse_stamp
from keyfs.errors import LayoutUnsupported, MaterialCorrupt, OperationRefused
from keyfs.layout.base import Layout
from keyfs.layout.own import MODE as OWN_MODE
from keyfs.layout.v1 import PRIVATE_MODE, PUBLIC_MODE, PUBLIC_STAMP_DELAY_NS
from keyfs.layout.v1_names import history_directory, public_name, secret_name
from keyfs.layout.v2_names import ring_name_of
from keyfs.store.base import ANNEX

LAYOUT: Final = "v1"


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


def numbered(key: BundledKey) -> list[tuple[BundledVersion, int]]:
    """The versions with their numbers in layout v2: those that they had, or 1, 2, … in their order.

    Raises:
        MaterialCorrupt: one is no number.
    """
    if not all(version.number for version in key.versions):
        return list(zip(key.versions, range(1, len(key.versions) + 1), strict=True))
    texts = [version.number for version in key.versions]
    if not all(text.isascii() and text.isdecimal() and 0 < int(text) <= SEQNUM_LIMIT for text in texts):
        raise MaterialCorrupt(f"{key.ref}: a version has no number that layout v2 knows")
    return [(version, int(text)) for version, text in zip(key.versions, texts, strict=True)]


def v1_names(key: BundledKey) -> list[Restored]:
    """As `restored`, for any key of Acra's in layout v1."""
    return [item for names in _v1_names(key) for item in names]


def _v1_names(key: BundledKey) -> Iterator[list[Restored]]:
    last_ns: int | None = None
    for version in key.versions:
        stamps = _stamps(key.ref, version, last_ns)
        created = version.created_ns if version.created_ns is not None else last_ns
        items = []
        for half, material in version.halves():
            name, mode = _v1_place(key.ref, half)
            if not version.is_current:
                name = f"{history_directory(name)}/{stamps[half]}"
            items.append(Restored(version, half, material, name, mode, created or 0))
        yield items
        last_ns = parse_stamp(stamps[Half.SECRET]) if stamps else last_ns


def _v1_place(ref: KeyRef, half: Half) -> tuple[str, int]:
    if half is Half.SECRET:
        return secret_name(ref), PRIVATE_MODE
    return public_name(ref), PUBLIC_MODE


def _stamps(ref: KeyRef, version: BundledVersion, last_ns: int | None) -> dict[Half, str]:
    """Those of a retired version: its own, or, out of a layout without stamps, made from its times."""
    if version.is_current:
        return {}
    if is_stamp(version.id):
        public = version.public_id or version.id
        return {Half.SECRET: version.id, Half.PUBLIC: public}
    # One that never was current, in a layout where that can be, retired when it came.
    retired_ns = version.retired_ns if version.retired_ns is not None else version.created_ns
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
        if created_ns is None or version.secret is None or not 0 <= created_ns < FOLLOWED_NS:
            raise MaterialCorrupt(f"{key.ref}: nobody knows when version {version.id} became current")
        name = f"{ANNEX}{key.ref}/{format_stamp(created_ns)}"
        yield [Restored(version, Half.SECRET, version.secret, name, OWN_MODE, created_ns)]


def _v2_names(key: BundledKey) -> Iterator[list[Restored]]:
    """Each under its number. The newest one becomes current: one that never was cannot be restored so."""
    numbers = numbered(key)
    current = next((number for version, number in numbers if version.is_current), None)
    if current is not None and current != max(number for _, number in numbers):
        raise MaterialCorrupt(
            f"{key.ref}: there is a version that came after the current one and never was it"
        )
    last_ns = 0
    for version, number in numbers:
        created = version.created_ns if version.created_ns is not None else last_ns
        last_ns = version.retired_ns or created
        yield [
            Restored(
                version,
                half,
                material,
                half_name(ring_name_of(key.ref), number, is_public=half is Half.PUBLIC),
                PUBLIC_MODE if half is Half.PUBLIC else PRIVATE_MODE,
                created,
            )
            for half, material in version.halves()
        ]


_PLACES: Final[dict[str, Callable[[BundledKey], Iterator[list[Restored]]]]] = {
    LAYOUT: _v1_names,
    "v2": _v2_names,
}
