"""A key store under another master key, as `keyfs rekey` leaves it."""

from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.core.secret import Secret
from keyfs.seal.protection import CellProtection, Protections
from keyfs.seal.pure import PureSealer
from keyfs.seal.signature import Signer
from keyfs.testing.builders import MASTER_KEY

OTHER_KEY: Final = bytes(range(7, 39))


def reseal(keys: KeyStore, signature_key: bytes | None) -> None:
    """Another master key for everything; what signs stays."""
    signer = None if signature_key is None else Signer(Secret(signature_key))
    new, old = (CellProtection(PureSealer(Secret(key)), signer) for key in (OTHER_KEY, MASTER_KEY))
    keys.protection = Protections([new, old])
    rekey(keys, new, RekeyReport())
