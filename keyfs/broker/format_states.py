"""States in the rings of layout v2, where Acra keeps and ignores them. See `keyfs.broker.states`."""

from typing import Final, Protocol

from keyfs.broker.keystore import KeyStore
from keyfs.core.names import KeyRef
from keyfs.core.states import KeyState
from keyfs.layout.restoring import has_rings
from keyfs.layout.v2 import STATES
from keyfs.layout.v2_names import ring_name_of

_NUMBERS: Final = {state: number for number, state in STATES.items()}


class StatefulStore(Protocol):
    """A store in whose blobs versions have states."""

    def set_state(self, ring_name: str, seqnum: int, state: int) -> None:
        """Let a version have this state. Call it with the lock held.

        Raises:
            StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, RingInvalid, MasterKeyUnavailable.
        """


class FormatStates:
    """Writes states into key rings.

    Args:
        keys: the key store, listed when something is written.
        rings: its rings.
    """

    def __init__(self, keys: KeyStore, rings: StatefulStore) -> None:
        self._keys = keys
        self._rings = rings

    def write(self, ref: KeyRef, version_id: str, state: KeyState, why: str) -> None:
        """See `StatesInFormat.write`. For the reason there is no place in a ring; own keys have no ring."""
        if not has_rings(self._keys.layout, ref):
            return
        version = self._keys.ring(ref).version(version_id)
        self._rings.set_state(ring_name_of(ref), int(version.number), _NUMBERS[state])
        self._keys.relist(ref)
