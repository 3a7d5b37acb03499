"""Acra's v1 bundles: a list of file names and opened contents, to a backup and back.

Source: Acra key store v1, "export / import". The names are those of the key store, history included; nothing
tells when a version was made.
"""

from collections.abc import Iterable
from typing import Final

from keyfs.core import purposes as p
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion
from keyfs.core.gob import Record
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.core.stamps import is_stamp
from keyfs.errors import MaterialCorrupt
from keyfs.layout.base import KeyRing, KeyVersion, Part, Slot, one_slot
from keyfs.layout.restoring import LAYOUT, v1_names
from keyfs.layout.v1 import PRIVATE_MODE
from keyfs.layout.v1_names import modern_reading, stray_reason
from keyfs.layout.v1_ring import build_ring
from keyfs.store.base import BlobStat

_POISON: Final = "acra-keys import would seal it so that no Acra can open it"


def from_records(records: Iterable[Record]) -> Bundle:
    """The backup in Acra's list.

    Raises:
        MaterialCorrupt: a name is there twice.
    """
    contents: dict[str, bytes] = {}
    for name, content in records:
        if name in contents:
            raise MaterialCorrupt(f"the bundle has two contents for {name}")
        contents[name] = content
    blobs: dict[KeyRef, dict[Slot, tuple[str, BlobStat]]] = {}
    left_out: dict[str, str] = {}
    for name, content in contents.items():
        (slot,) = one_slot(modern_reading(name)) or (None,)
        if slot is None:
            left_out[name] = stray_reason(name, legacy=False)
            continue
        # The name as identity: equal contents are two versions all the same.
        stat = BlobStat(len(content), None, PRIVATE_MODE, name)
        blobs.setdefault(slot.ref, {})[slot] = (name, stat)
    keys = [_key(build_ring(ref, found), contents) for ref, found in blobs.items()]
    return Bundle(LAYOUT, None, tuple(sorted(keys, key=lambda key: str(key.ref))), left_out)


def to_records(bundle: Bundle) -> tuple[list[Record], dict[str, str]]:
    """The list that Acra can import, and what cannot be in it, with the reason."""
    records: list[Record] = []
    left_out: dict[str, str] = {}
    for key in bundle.keys:
        reason = _why_not(key.ref)
        if reason is not None:
            left_out[str(key.ref)] = reason
            continue
        for item in v1_names(key):
            if key.ref.purpose is p.POISON_RECORD and not item.version.is_current:
                left_out[f"{key.ref}/{item.version.id}"] = _POISON
            else:
                records.append((item.name, item.material.reveal()))
    return sorted(records), left_out


def stamp_of_public(version: KeyVersion) -> str | None:
    """The stamp of a retired public half, if it is not that of its version."""
    if version.public is None or version.retired_ns is None or version.secret is None:
        return None
    stamp = version.public.name.rpartition("/")[2]
    return stamp if stamp != version.id and is_stamp(stamp) else None


def _why_not(ref: KeyRef) -> str | None:
    if ref.purpose.own is not None:
        return "Acra knows no keys of own purposes"
    if ref.purpose.is_legacy:
        return "Acra no longer imports keys of this kind"
    return _POISON if ref.purpose is p.POISON_RECORD_SYM else None


def _key(ring: KeyRing, contents: dict[str, bytes]) -> BundledKey:
    def material(part: Part | None) -> Secret | None:
        return None if part is None else Secret(contents[part.name])

    return BundledKey(
        ring.ref,
        tuple(
            BundledVersion(
                version.id,
                stamp_of_public(version),
                version is ring.current,
                version.created_ns,
                version.retired_ns,
                material(version.secret),
                material(version.public),
            )
            for version in ring.versions
        ),
    )
