"""Key material to a blob of a key store, proved to open before anything is switched to it."""

from keyfs.broker.keystore import KeyStore
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable, UnsealFailed


def sealed(keys: KeyStore, ref: KeyRef, name: str, material: Secret) -> bytes:
    """The blob for *material*, to be called *name*.

    Raises:
        MasterKeyUnavailable: there is nothing to seal with.
        UnsealFailed: it does not open to what was sealed.
        InvalidMaterial, OperationRefused, KeyServiceUnavailable: as `Protection.seal`.
    """
    protection = keys.protection
    if protection is None:
        raise MasterKeyUnavailable(f"{ref} cannot be sealed: give the master key with --master-key")
    label = keys.layout.label(ref, name)
    blob = protection.seal(material, label)
    with protection.unseal(blob, label) as proof:
        if proof != material:
            raise UnsealFailed(
                f"the new blob for {ref} does not open to what was sealed: nothing was changed"
            )
    return blob
