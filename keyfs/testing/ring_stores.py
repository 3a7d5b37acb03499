"""Key stores of layout v2 for tests: in memory, in a directory, in Redis; and rings made by hand."""

from typing import Final

from keyfs.broker.format_states import FormatStates
from keyfs.broker.keystore import KeyStore
from keyfs.core.rings import Ring, RingKey
from keyfs.core.secret import Secret
from keyfs.core.stamps import NANOSECONDS
from keyfs.layout.v2 import LayoutV2
from keyfs.layout.v2_names import is_pair
from keyfs.seal.protection import CellProtection, Protections
from keyfs.seal.pure import PureSealer
from keyfs.seal.rings import SignedRings
from keyfs.seal.signature import Signer
from keyfs.store.ring_changes import RingMedium
from keyfs.store.rings import RingStore
from keyfs.testing.builders import Keys, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

SIGNATURE_KEY: Final = bytes(range(33, 65))
SINCE_NS: Final = 1_795_488_390 * NANOSECONDS  # 2026-11-24T02:46:30
PATH: Final = "client/alice/storage-sym"
"""Where the ring of `STORAGE_SYM` is."""
RING: Final = f"{PATH}.keyring"
YEAR_NS: Final = 365 * 86_400 * NANOSECONDS


def codec(*keys: bytes) -> SignedRings:
    """Signs under the first of *keys*, `SIGNATURE_KEY` if there is none."""
    signers = [Signer(Secret(key)) for key in keys or (SIGNATURE_KEY,)]
    return SignedRings(lambda: signers)


def ring_store(medium: RingMedium, *keys: bytes) -> RingStore:
    """What is in the rings on *medium*, which `codec` verifies."""
    return RingStore(medium, codec(*keys), is_pair)


def rings_in_memory(medium: Medium) -> Keys:
    """The key store of layout v2 on *medium*, listed."""
    return rings_on(MemoryStore(medium))


def rings_on(medium: RingMedium) -> Keys:
    """The key store of layout v2 on *medium*, listed."""
    rings = ring_store(medium)
    made = on_store(rings, layout=LayoutV2())
    made.keys.states.in_format = FormatStates(made.keys, rings)
    return made


def rings_under(medium: RingMedium, *master_keys: bytes) -> KeyStore:
    """The key store of layout v2 on *medium*, listed. From each of *master_keys* follows a signature key.

    The first ones seal and sign, all of them open and verify.
    """
    members = [
        CellProtection(PureSealer(Secret(key)), Signer(Secret(key[::-1] + b"s"))) for key in master_keys
    ]
    protection = Protections(members)
    store = RingStore(medium, SignedRings(protection.signers), is_pair)
    keys = KeyStore(store, LayoutV2(), protection)
    keys.load()
    return keys


def ring_key(seqnum: int, state: int = 1) -> RingKey:
    """A version without material."""
    return RingKey(seqnum, state, SINCE_NS, SINCE_NS + YEAR_NS, ())


def put_ring(medium: Medium, path: str, ring: Ring) -> None:
    """Write a ring as Acra does."""
    medium.put(f"{path}.keyring", codec().seal(path, ring, SINCE_NS))


def ring_at(medium: Medium, path: str) -> Ring:
    """The ring that is there, verified."""
    return codec().open(path, medium.blobs[f"{path}.keyring"].data)
