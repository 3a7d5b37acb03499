"""`NewClients`: clients that were made with `mkdir` and have no key yet.

No Acra key store can hold such a thing, so they are remembered beside it. Losing them loses no key.
"""

import json
from collections.abc import Collection, Iterator
from typing import Final

from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.core.purposes import Purpose
from keyfs.errors import InvalidName, KeyfsError
from keyfs.store.base import Store

NAME: Final = "new-clients.json"


class NewClients:
    """The keys without a version.

    Args:
        store: beside which they are remembered.
        purposes: that there are.
    """

    def __init__(self, store: Store, purposes: Collection[Purpose]) -> None:
        self._store = store
        self._purposes = purposes
        self._refs = frozenset(_read(store, purposes))
        self.generation = 0  # grows with every change

    def __contains__(self, ref: KeyRef) -> bool:
        return bool(self._refs) and ref in self._refs  # most often there are none

    def of(self, purpose: Purpose | None) -> Iterator[KeyRef]:
        """Those of one purpose."""
        yield from (ref for ref in self._refs if ref.purpose is purpose)

    def add(self, ref: KeyRef) -> None:
        """Remember one more. Blocks.

        Raises:
            StoreUnavailable, StoreFull, ReadOnly, AccessDenied, StoreBusy: as `Store.write_beside`.
        """
        self._keep({*_read(self._store, self._purposes), *self._refs, ref})

    def discard(self, ref: KeyRef) -> None:
        """Forget one: it was removed, or has a key now. Blocks.

        Raises:
            StoreUnavailable, StoreFull, ReadOnly, AccessDenied, StoreBusy: as `Store.write_beside`.
        """
        if ref in self._refs:
            self._keep({*_read(self._store, self._purposes), *self._refs} - {ref})

    def _keep(self, refs: set[KeyRef]) -> None:
        self._store.write_beside(NAME, json.dumps(sorted(map(str, refs))).encode())
        self._refs = frozenset(refs)
        self.generation += 1


def _read(store: Store, purposes: Collection[Purpose]) -> Iterator[KeyRef]:
    """What is remembered. What is unreadable is nothing: no key depends on it."""
    try:
        names = json.loads(store.read_beside(NAME) or b"[]")
    except (KeyfsError, ValueError):
        return
    for name in names if isinstance(names, list) else ():
        try:
            yield parse_key_ref(str(name), purposes)
        except InvalidName:
            continue
