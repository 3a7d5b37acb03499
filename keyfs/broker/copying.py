"""`keyfs copy`: a whole key store to another place, history included, resumable, verified.

Blobs are copied as they are, still sealed. What is at the destination already, with the same bytes, is
left alone: a copy that was stopped goes on where it was. Different bytes are never overwritten, unless the
copy of them lies in the history that is copied: then the key was rotated at the source since the last copy.
What is wrong with one key keeps no other key from being copied.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.errors import (
    ClientIdTooLong,
    InsecurePermissions,
    KeyExists,
    KeyfsError,
    KeyNotFound,
    MaterialCorrupt,
    OperationRefused,
    StoreUnavailable,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing, KeyVersion, Part
from keyfs.store.base import Blob, Replacement

PUBLIC_MODE: Final = 0o644
PRIVATE_MODE: Final = 0o600
ROUNDS: Final = 10  # a source that is rotated faster than it is copied is no reason to go on for ever
_OF_ONE_KEY: Final = (ClientIdTooLong, InsecurePermissions, KeyExists, MaterialCorrupt, UnsealFailed)

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class CopyReport:
    """What a copy did."""

    copied: int = 0
    already_there: int = 0
    left_out: tuple[str, ...] = ()  # what is no key in the source
    failed: dict[KeyRef, KeyfsError] = field(default_factory=dict)  # of these keys nothing was written


@dataclass(frozen=True, slots=True)
class _Item:
    """One blob of a ring, read and proved to open."""

    version: KeyVersion
    half: Half
    part: Part
    blob: Blob


def copy(source: KeyStore, target: KeyStore, progress: Progress = lambda _done, _all: None) -> CopyReport:
    """Copy every blob of every key; retired versions first, so that no key is current before its history.

    What changes at the source meanwhile is copied in a further round.

    Args:
        source: loaded, with its master key: each blob is opened before it is copied.
        target: loaded, with its master key: each blob is read back and opened after it was written.
        progress: told the number of keys done and of all keys.

    Raises:
        OperationRefused: they are of different layouts.
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable: the copy stopped here.
    """
    demand_one_layout(source.layout.name, target.layout.name)
    report = CopyReport()
    refs = set(source.index.refs())
    for _ in range(ROUNDS):
        for done, ref in enumerate(sorted(refs, key=str), 1):
            _copy_ring(source, target, ref, report)
            progress(done, len(refs))
        refs = {slot.ref for slot in source.reload()}
        if not refs:
            break
    report.left_out = tuple(sorted(source.index.strays))
    return report


def demand_one_layout(source: str, target: str) -> None:
    """Nothing, if these are the same layout.

    Raises:
        OperationRefused: they are not.
    """
    if source != target:
        raise OperationRefused(
            f"a copy keeps the layout, and here layout {source} would become {target}: use keyfs migrate"
        )


def _copy_ring(source: KeyStore, target: KeyStore, ref: KeyRef, report: CopyReport) -> None:
    report.failed.pop(ref, None)
    try:
        target.layout.check_fits(ref, target.store.name_limit)
        items = _read(source, ref)
        written = _write_missing(target, ref, items)
        _verify(target, ref, items)
    except _OF_ONE_KEY as exc:
        report.failed[ref] = exc
    else:
        report.copied += written
        report.already_there += len(items) - written


def _parts(ring: KeyRing) -> Iterator[tuple[KeyVersion, Half, Part]]:
    for version in ring.versions:
        for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
            if part is not None:
                yield version, half, part


def _read(source: KeyStore, ref: KeyRef) -> list[_Item]:
    """Every blob of a ring, each proved to open; none of a ring that went, or changes: see the next round."""
    try:
        parts = list(_parts(source.ring(ref)))
        source.reader.prefetch([part for _, _, part in parts])
        for version, half, _ in parts:
            source.reader.open(ref, version, half).material.wipe()
        return [_Item(version, half, part, source.reader.fetch(part)) for version, half, part in parts]
    except KeyNotFound:
        return []


def _missing(target: KeyStore, ref: KeyRef, items: Collection[_Item]) -> list[_Item]:
    """What the destination lacks of a ring.

    Raises:
        KeyExists: it has other bytes under one of the names.
    """
    there = target.store.get_many([item.part.name for item in items])
    retired = {item.blob.data for item in items if item.version.retired_ns is not None}
    missing: list[_Item] = []
    for item in items:
        present = there[item.part.name]
        if isinstance(present, KeyNotFound):
            missing.append(item)
        elif isinstance(present, KeyfsError):
            raise present
        elif present.data == item.blob.data:
            continue
        elif item.version.retired_ns is None and present.data in retired:
            missing.append(item)
        else:
            raise KeyExists(f"{item.part.name} at the destination has other bytes: {ref} was not copied")
    _demand_not_newer(target, ref, items)
    return missing


def _demand_not_newer(target: KeyStore, ref: KeyRef, items: Collection[_Item]) -> None:
    """Nothing, if what is current at the source will be current at the destination.

    Raises:
        KeyExists: the destination has a version of its own that came later.
    """
    there = target.relist(ref)
    current = None if there is None else there.current
    ours = [item.version for item in items if item.version.id == CURRENT]
    if current is None or current.secret is None or not ours:
        return
    is_later = (current.created_ns or 0) > (ours[0].created_ns or 0)
    if is_later and current.secret.name not in {item.part.name for item in items}:
        raise KeyExists(f"{ref} at the destination was rotated there: it was not copied")


def _write_missing(target: KeyStore, ref: KeyRef, items: Collection[_Item]) -> int:
    """How many blobs the destination lacked; it has them now."""
    if not _missing(target, ref, items):
        return 0
    with target.lock(ref):
        missing = _missing(target, ref, items)  # again: others may have been faster
        for item in missing:
            mode = PUBLIC_MODE if item.half is Half.PUBLIC else PRIVATE_MODE
            # A time that nobody knows becomes the beginning of 1970, not the time of the copy.
            time_ns = item.version.created_ns or 0
            target.store.supersede([Replacement(item.part.name, item.blob.data, mode, time_ns, None)])
    return len(missing)


def _verify(target: KeyStore, ref: KeyRef, items: Collection[_Item]) -> None:
    """What is at the destination now is read back, is what was copied, and opens."""
    target.reader.prefetch([item.part for item in items])
    for item in items:
        try:
            blob = target.reader.fetch(item.part)
            target.reader.open(ref, item.version, item.half).material.wipe()
        except (KeyNotFound, UnsealFailed, MaterialCorrupt) as exc:
            raise StoreUnavailable(f"{item.part.name} does not read back as it was written") from exc
        if blob.data != item.blob.data:
            raise StoreUnavailable(f"{item.part.name} does not read back as it was written")
