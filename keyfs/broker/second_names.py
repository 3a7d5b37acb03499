"""Half-done rotations in a key store that was copied: hard links have become files with the same bytes."""

from keyfs.broker.keystore import KeyStore
from keyfs.errors import KeyNotFound
from keyfs.layout.base import KeyRing, Part


def second_names(keys: KeyStore, ring: KeyRing) -> tuple[str, ...]:
    """What of the newest retired version holds, byte for byte, what is current: nothing was switched yet.

    The public half comes first: alone, it would look like a version of its own to whoever dies in between.
    Older versions are no left-overs: someone may have made one current again by copying its bytes.

    Raises:
        StoreUnavailable, AccessDenied: the medium does not let us look.
    """
    current = ring.current
    if current is None or len(ring.versions) == 1:
        return ()
    newest = ring.versions[-2]
    if not _is_copy(keys, newest.secret, current.secret):
        return ()
    copies = (newest.public if _is_copy(keys, newest.public, current.public) else None, newest.secret)
    return tuple(part.name for part in copies if part is not None)


def _is_copy(keys: KeyStore, retired: Part | None, current: Part | None) -> bool:
    if retired is None or current is None or retired.stat.size != current.stat.size:
        return False
    try:
        return keys.reader.fetch(retired).data == keys.reader.fetch(current).data
    except KeyNotFound:
        return False  # destroyed, or rotated, since it was listed
