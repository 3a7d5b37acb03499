"""The inventory of a key store: a row for each half of each version, from what is in memory."""

from collections.abc import Iterator

from keyfs.broker.keystore import KeyStore
from keyfs.core.inventory import Row
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.states import VersionState
from keyfs.layout.base import KeyVersion


def inventory(keys: KeyStore, *, with_history: bool) -> list[Row]:
    """One row for each half of each version, by purpose, client and age."""
    order = {purpose: rank for rank, purpose in enumerate(keys.layout.purposes)}
    rings = sorted(keys.rings(), key=lambda ring: (order[ring.ref.purpose], ring.ref.client_label))
    return [
        row
        for ring in rings
        for version in ring.versions
        if with_history or version.id == CURRENT
        for row in _rows(ring.ref, version, keys.states.of(ring, version))
    ]


def _rows(ref: KeyRef, version: KeyVersion, state: VersionState) -> Iterator[Row]:
    for part, is_public in ((version.secret, False), (version.public, True)):
        if part is not None:
            yield Row(
                purpose=ref.purpose.name,
                client=ref.client,
                version=version.number or version.id,
                current=version.id == CURRENT,
                public=is_public,
                size=part.size,
                created_ns=version.created_ns,
                state=state.state.value,
                destroy_at_ns=state.destroy_at_ns,
            )
