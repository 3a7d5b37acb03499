"""Where the annex of a key store lies: `D.keyfs/own` for a directory D; or a store that is always there."""

import os
from collections.abc import Callable
from pathlib import Path

from keyfs.errors import KeyNotFound, StoreUnavailable
from keyfs.store.base import Store
from keyfs.store.beside import LOCK_WAIT_S
from keyfs.store.directory import DirectoryStore
from keyfs.store.files import make_directory, owner_to_give
from keyfs.store.os_errors import translated
from keyfs.store.roots import checked_directory


class Present:
    """An annex that needs no making, as under a prefix in Redis."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def place(self) -> object:
        """Always the same."""
        return self

    def find(self) -> Store:
        """The store."""
        return self._store

    def make(self) -> Store:
        """The store."""
        return self._store


class DirectoryAnnex:
    """`D.keyfs/own`, with a lock and a staging area beside it as any directory has them.

    Args:
        root: D; must exist.
        on_step: as `DirectoryStore` has it.
        lock_wait_s: as `DirectoryStore` has it.

    Raises:
        StoreInvalid, AccessDenied, StoreUnavailable: *root* is no directory.
    """

    def __init__(
        self,
        root: Path,
        on_step: Callable[[str], None] = lambda _step: None,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        self._root = checked_directory(root)
        self._path = self._root.with_name(self._root.name + ".keyfs") / "own"
        self._step = on_step
        self._lock_wait_s = lock_wait_s
        self._store: DirectoryStore | None = None

    def place(self) -> object:
        """See `Annex.place`: which directory it is."""
        try:
            facts = os.stat(self._path)
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def find(self) -> Store | None:
        """See `Annex.find`. It may be gone again: then there is nothing in it, and no Acra key needs it."""
        try:
            with translated(f"look at {self._path}"):
                self._path.stat()
        except KeyNotFound:
            return None
        if self._store is None:
            self._store = DirectoryStore(self._path, on_step=self._step, lock_wait_s=self._lock_wait_s)
        return self._store

    def make(self) -> Store:
        """See `Annex.make`: two directories with mode 0700, and the owner of the key store."""
        with translated(f"make {self._path}"):
            owner = owner_to_give(self._root)
            make_directory(self._path.parent, owner)
            make_directory(self._path, owner)
        found = self.find()
        if found is None:
            raise StoreUnavailable(f"{self._path} was removed just now: retry")
        return found
