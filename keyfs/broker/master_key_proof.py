"""Whether a master key is the one of a key store: proved before anything is done with it."""

from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.reader import BlobReader
from keyfs.core.names import Half
from keyfs.core.rings import WRONG_SIGNATURE
from keyfs.errors import (
    InvalidSettings,
    KeyfsError,
    KeyServiceUnavailable,
    MasterKeyUnavailable,
    MasterKeyWrong,
    MaterialCorrupt,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing

PROOF_TRIES: Final = 64  # blobs tried before a master key is called wrong; a guess


def verify_master_key(keys: KeyStore, reader: BlobReader | None = None) -> None:
    """Try the master key on current blobs until one opens.

    Args:
        keys: loaded.
        reader: has the master key that is tried; that of *keys* when None.

    Raises:
        MasterKeyWrong: there are blobs, and it opens none of those tried.
        MasterKeyUnavailable: a KMS has no key for any of those tried, or does not let us use them.
        KeyServiceUnavailable: a KMS does not answer.
        InvalidSettings: it turns out that there is no way to a KMS.
    """
    tried: dict[str, KeyfsError] = {}
    for ring in keys.rings():
        try:
            if _opens(reader or keys.reader, ring):
                return
        except (UnsealFailed, MasterKeyUnavailable) as exc:
            tried[str(ring.ref)] = exc
        if len(tried) >= PROOF_TRIES:
            break
    for refusal in tried.values():
        if isinstance(refusal, MasterKeyUnavailable):
            raise refusal
    if not tried:
        _demand_a_valid_ring(keys)
    else:
        raise MasterKeyWrong(
            f"the master key opens none of the {len(tried)} keys tried (first: {min(tried)}): "
            f"it is not the one this key store was sealed with"
        )


def _demand_a_valid_ring(keys: KeyStore) -> None:
    """Nothing, unless there are signed key rings and not one of them verifies.

    Raises:
        MasterKeyWrong: so it is.
    """
    strays = keys.index.strays.items()
    signed = [name for name, reason in strays if reason.startswith(WRONG_SIGNATURE)]
    invalid = [name for name in signed if keys.layout.ring_named(name) is not None]
    if invalid and not len(keys.index):
        raise MasterKeyWrong(
            f"none of the key rings here verifies, of {len(invalid)} (first: {min(invalid)}): the signature "
            f"key is not the one this key store was signed with"
        )


def _opens(reader: BlobReader, ring: KeyRing) -> bool:
    """Whether the current version opens; not where nothing can be told from it.

    Raises:
        UnsealFailed, MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings: it does not.
    """
    version = ring.current
    if version is None or version.secret is None or not version.secret.is_sealed:
        return False
    try:
        reader.open(ring.ref, version, Half.SECRET).material.wipe()
    except (UnsealFailed, MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings):
        raise
    except MaterialCorrupt:
        return True  # it opened; what is wrong with it, check tells
    except KeyfsError:
        return False
    return True
