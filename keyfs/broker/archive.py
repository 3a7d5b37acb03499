"""The archive beside a key store: what a retention rule takes out of the store goes there first. Blocking.

Invariants:
1. A version is removed from the store only after it is durable in the archive.
2. What is current is never archived, nor anything that the reader or Acra needs to read what is left.
3. Nothing leaves the archive but by `purge`, and by `restore` once it is durable in the store.
"""

import logging
from collections.abc import Callable, Collection

from keyfs.broker.keystore import KeyStore
from keyfs.core.archived import NAME, Archived, ArchivedBlob, as_lines, decode, encode
from keyfs.core.names import KeyRef, parse_version_path
from keyfs.core.rings import whole_name
from keyfs.errors import KeyExists, KeyNotFound
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.logs import event
from keyfs.store.base import Replacement

_log = logging.getLogger(__name__)
Choose = Callable[[KeyRing], Collection[KeyVersion]]


def archived(keys: KeyStore) -> dict[str, Archived]:
    """What is in the archive, by `PURPOSE/CLIENT/VERSION`, in the order in which it came.

    Raises:
        MaterialCorrupt: the archive is damaged.
        StoreUnavailable, AccessDenied: it cannot be read.
    """
    return decode(keys.store.read_beside(NAME))


def archive(keys: KeyStore, ref: KeyRef, choose: Choose) -> tuple[KeyVersion, ...]:
    """Take retired versions of a key out of the store, into the archive.

    Args:
        keys: the key store.
        ref: the key.
        choose: which ones, told the ring as it is with the writers' lock held.

    Returns:
        Those that were.

    Raises:
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MaterialCorrupt: what is not archived
            is still in the store.
    """
    with keys.store.lock(), keys.being_written(ref):  # of all: there is one archive
        ring = keys.relist(ref)
        chosen = () if ring is None else _chosen(ring, choose(ring))
        if ring is None or not chosen:
            return ()
        there = archived(keys)
        now_ns = keys.store.now_ns()
        new = [_taken(keys, ref, version, now_ns) for version in chosen]
        missing = [one for one in new if not _is_there(one, there)]
        if missing:
            keys.store.append_beside(NAME, b"\n".join(map(encode, missing)))
        # The public half first: alone, it would look like a version of its own.
        names = [blob.name for one in new for blob in reversed(one.blobs)]
        keys.store.delete(names)
        keys.relist(ref, names)
    for version in chosen:
        event(_log, logging.INFO, "version.archived", key=str(ref), version=version.id)
    return chosen


def restore(keys: KeyStore, label: str) -> None:
    """Put a version from the archive back into the history of its key.

    Args:
        keys: the key store.
        label: `PURPOSE/CLIENT/VERSION`.

    Raises:
        KeyNotFound: it is not in the archive.
        KeyExists: the store has it, or something else under its name.
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MaterialCorrupt.
    """
    ref, _ = parse_version_path(label, keys.layout.purposes)
    with keys.store.lock(), keys.being_written(ref):  # of all: there is one archive
        found = archived(keys)
        one = _demanded(found, label)
        if keys.store.stat_many(blob.name for blob in one.blobs):
            raise KeyExists(f"{label} is in the key store: nothing was changed")
        now_ns = keys.store.now_ns()
        keys.store.supersede(
            Replacement(
                blob.name, blob.data, blob.mode, now_ns if blob.mtime_ns is None else blob.mtime_ns, None
            )
            for blob in one.blobs
        )
        keys.relist(ref, [blob.name for blob in one.blobs])
        left = as_lines(kept for kept in found.values() if kept.label != label)
        keys.store.write_beside(NAME, left, is_locked=True)
    event(_log, logging.INFO, "version.restored", path=label)


def purge(keys: KeyStore, labels: Collection[str]) -> None:
    """Remove versions from the archive, for good.

    Raises:
        KeyNotFound: one is not there; nothing was removed.
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MaterialCorrupt.
    """
    with keys.store.lock():
        found = archived(keys)
        for label in labels:
            _demanded(found, label)
        left = as_lines(one for one in found.values() if one.label not in labels)
        keys.store.write_beside(NAME, left, is_locked=True)
    for label in labels:
        event(_log, logging.INFO, "archive.purged", path=label)


def _demanded(found: dict[str, Archived], label: str) -> Archived:
    if label not in found:
        raise KeyNotFound(f"{label} is not in the archive: see keyfs archive list")
    return found[label]


def _chosen(ring: KeyRing, chosen: Collection[KeyVersion]) -> tuple[KeyVersion, ...]:
    """Those chosen that are retired, whatever was chosen."""
    return tuple(version for version in ring.retired if version in chosen)


def _taken(keys: KeyStore, ref: KeyRef, version: KeyVersion, now_ns: int) -> Archived:
    """The version as it lies in the store.

    Raises:
        KeyfsError: as `Store.get`.
    """
    blobs = []
    for name in _names(version):
        blob = keys.store.get(name)
        blobs.append(ArchivedBlob(name, blob.data, blob.stat.mode, blob.stat.mtime_ns))
    return Archived(str(ref), version.id, now_ns, tuple(blobs))


def _names(version: KeyVersion) -> tuple[str, ...]:
    """Of its blobs; a version in a key ring is one, whole."""
    parts = [part.name for part in (version.secret, version.public) if part is not None]
    return tuple(dict.fromkeys(map(whole_name, parts)))


def _is_there(one: Archived, there: dict[str, Archived]) -> bool:
    """Whether the archive has it already: somebody died before it was removed from the store.

    Raises:
        KeyExists: it has other bytes under that label; they are not touched, nor is the store.
    """
    earlier = there.get(one.label)
    if earlier is None:
        return False
    if [(blob.name, blob.data) for blob in earlier.blobs] != [(blob.name, blob.data) for blob in one.blobs]:
        raise KeyExists(f"the archive has another {one.label}: restore or purge that one first")
    return True
