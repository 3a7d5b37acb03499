"""Whether a master key is the one of the key store, before anything is sealed under it. Blocking."""

from contextlib import suppress

from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.core.names import Half, KeyRef
from keyfs.errors import KeyfsError, MasterKeyUnavailable


def demand_right_key(keys: KeyStore, ref: KeyRef | None = None) -> None:
    """Nothing, if the master key opens something: what is sealed under another one is lost for others.

    That of one key, where *ref* has a current version that opens: with a KMS that has a key for each client
    somebody may be allowed to use this one alone. Where it lets us use none, sealing will tell.

    Args:
        keys: loaded.
        ref: what is to be sealed; None for many keys.

    Raises:
        MasterKeyWrong, KeyServiceUnavailable, InvalidSettings: as `verify_master_key`.
    """
    if ref is not None and _opens(keys, ref):
        return
    with suppress(MasterKeyUnavailable):
        verify_master_key(keys)


def _opens(keys: KeyStore, ref: KeyRef) -> bool:
    with suppress(KeyfsError):
        ring = keys.ring(ref)
        if ring.current is not None:
            keys.reader.open(ref, ring.current, Half.SECRET).material.wipe()
            return True
    return False
