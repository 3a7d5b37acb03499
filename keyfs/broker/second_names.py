"""Blobs that are in a key store twice, byte for byte: what rotations that stopped half-way leave behind.

Every seal is made with a new random number, so equal blobs are copies. In a key store that was copied, what
was a hard link is a file of its own. In a Redis Cluster the archive of a writer that died can come late,
when the next writer has archived the same version already.
"""

from itertools import pairwise

from keyfs.broker.keystore import KeyStore
from keyfs.errors import KeyNotFound
from keyfs.layout.base import KeyRing, KeyVersion, Part


def second_names(keys: KeyStore, ring: KeyRing) -> tuple[str, ...]:
    """What is there a second time: as the version after it, or as what is current.

    The public half comes first: alone, it would look like a version of its own to whoever dies in between.
    Copies with another version between them are no left-overs: someone may have made one current again.
    Of own purposes and in key rings nothing is archived: a copy opens under its first name only.

    Raises:
        StoreUnavailable, AccessDenied: the medium does not let us look.
    """
    if not keys.layout.places(ring.ref).names:
        return ()
    return tuple(dict.fromkeys(part.name for pair in pairwise(ring.versions) for part in _twice(keys, *pair)))


def _twice(keys: KeyStore, older: KeyVersion, newer: KeyVersion) -> list[Part]:
    """The halves of the one that can go, if they are one version."""
    if not _is_copy(keys, older.secret, newer.secret):
        return []
    gone, stays = older, newer
    if newer.retired_ns is not None and older.public is not None and newer.public is None:
        gone, stays = newer, older  # the whole one stays
    public = gone.public if _is_copy(keys, gone.public, stays.public) else None
    return [part for part in (public, gone.secret) if part is not None]


def _is_copy(keys: KeyStore, one: Part | None, other: Part | None) -> bool:
    if one is None or other is None or one.stat.size != other.stat.size:
        return False
    try:
        return keys.reader.fetch(one).data == keys.reader.fetch(other).data
    except KeyNotFound:
        return False  # destroyed, or rotated, since it was listed
