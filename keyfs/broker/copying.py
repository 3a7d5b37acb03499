"""`keyfs copy`: a whole key store to another place, history included, resumable, verified.

Blobs are copied as they are, still sealed. What is at the destination already, with the same bytes, is
left alone: a copy that was stopped goes on where it was. Different bytes are never overwritten.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.core.names import Half
from keyfs.errors import KeyExists, KeyfsError, StoreUnavailable
from keyfs.layout.base import KeyRing, KeyVersion, Part
from keyfs.store.base import Blob, Replacement

PUBLIC_MODE: Final = 0o644
PRIVATE_MODE: Final = 0o600

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did."""

    copied: int
    already_there: int
    left_out: tuple[str, ...]  # what is no key in the source


def copy(source: KeyStore, target: KeyStore, progress: Progress = lambda _done, _all: None) -> CopyReport:
    """Copy every blob of every key; retired versions first, so that no key is current before its history.

    Args:
        source: loaded, with a sealer: each blob is opened before it is copied.
        target: loaded, with a sealer: each blob is read back and opened after it was written.
        progress: told the number of keys done and of all keys.

    Raises:
        KeyExists: the destination has other bytes under a name; nothing of that key was written.
        UnsealFailed, MaterialCorrupt: a blob of the source is no good; it was not copied.
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, ClientIdTooLong.
    """
    copied = already = 0
    rings = sorted(source.rings(), key=lambda ring: str(ring.ref))
    for done, ring in enumerate(rings, 1):
        missing, present = _compare(source, target, ring)
        already += present
        with target.store.lock():
            for version, half, part, blob in missing:
                _write(target, version, half, part, blob)
        target.relist(ring.ref, [part.name for _, _, part, _ in missing])
        _verify(source, target, ring)
        copied += len(missing)
        progress(done, len(rings))
    return CopyReport(copied, already, tuple(sorted(source.index.strays)))


def _parts(ring: KeyRing) -> Iterator[tuple[KeyVersion, Half, Part]]:
    for version in ring.versions:
        for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
            if part is not None:
                yield version, half, part


_Missing = list[tuple[KeyVersion, Half, Part, Blob]]


def _compare(source: KeyStore, target: KeyStore, ring: KeyRing) -> tuple[_Missing, int]:
    """What the destination lacks of a ring, and how many blobs it has already."""
    target.layout.check_fits(ring.ref, target.store.name_limit)
    parts = list(_parts(ring))
    there = target.store.get_many([part.name for _, _, part in parts])
    missing: _Missing = []
    for version, half, part in parts:
        blob = source.reader.fetch(part)
        source.reader.open(ring.ref, version, half).material.wipe()
        present = there[part.name]
        if isinstance(present, KeyfsError):
            missing.append((version, half, part, blob))
        elif present.data != blob.data:
            raise KeyExists(f"{part.name} at the destination has other bytes: {ring.ref} was not copied")
    return missing, len(parts) - len(missing)


def _write(target: KeyStore, version: KeyVersion, half: Half, part: Part, blob: Blob) -> None:
    mode = PUBLIC_MODE if half is Half.PUBLIC else PRIVATE_MODE
    mtime_ns = version.created_ns or target.store.now_ns()
    target.store.supersede([Replacement(part.name, blob.data, mode, mtime_ns, None)])


def _verify(source: KeyStore, target: KeyStore, ring: KeyRing) -> None:
    """Every version opens at the destination to what it is at the source."""
    copy_of = target.ring(ring.ref)
    for version, half, _ in _parts(ring):
        here = source.reader.open(ring.ref, version, half).material
        there = target.reader.open(ring.ref, copy_of.version(version.id), half).material
        if here != there:
            raise StoreUnavailable(f"{ring.ref}/{version.id} does not read back as it was written")
        here.wipe()
        there.wipe()
