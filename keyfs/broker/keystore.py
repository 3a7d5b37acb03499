"""`KeyStore`: names and bytes of one key store, blocking and safe for threads.

Readers never wait: rings are immutable values and the index replaces them whole. Whatever changes the
index holds `mutex`; whatever changes the store (`keyfs.broker.writer`) also holds the store's own lock.
"""

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Final

from keyfs.broker.index import Index
from keyfs.broker.reader import BlobReader, Opened
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import Purpose
from keyfs.errors import KeyfsError, KeyNotFound, RingInvalid, UnsealFailed
from keyfs.layout.base import KeyRing, KeyVersion, Layout, Slot
from keyfs.seal.protection import Protections
from keyfs.store.base import Store, Watch

READ_TRIES: Final = 3


class KeyStore:
    """One key store: a store, its layout, and how its keys are sealed.

    Args:
        store: the medium.
        layout: what its names mean.
        protection: opens and seals; None allows listing only.
    """

    def __init__(self, store: Store, layout: Layout, protection: Protections | None) -> None:
        self.store = store
        self.layout = layout
        self.protection = protection
        self.mutex = threading.RLock()
        self.reader = BlobReader(store, layout, protection)
        self.index = Index(layout, self.reader.proves)
        self._watch: Watch | None = None
        self.waits_for_changes = False  # whether `refresh` takes in every change that was complete before it
        self._is_refreshing = False
        self._written: KeyRef | None = None
        self.is_suspect = False  # a look at the store failed half-way: list everything at the next one

    @property
    def opens_here(self) -> bool:
        """Whether nobody else is asked to open a blob, so that it takes microseconds."""
        return self.protection is None or self.protection.is_local

    def load(self) -> None:
        """List everything.

        Raises:
            StoreUnavailable, AccessDenied: the medium does not let us.
        """
        with self.mutex, closing(self.store.list_pages()) as pages:
            self.index.load(pages)

    def reload(self) -> set[Slot]:
        """List everything again; returns the places in rings that are not as they were.

        Raises:
            StoreUnavailable, AccessDenied: the medium does not let us.
        """
        with self.mutex, closing(self.store.list_pages()) as pages:
            return self.index.reload(pages)

    def watch(self) -> Watch:
        """Start to notice changes made by others, for `refresh` to take in; then list everything."""
        self._watch = self.store.watch()
        self.waits_for_changes = self._watch.waits
        self.load()
        return self._watch

    def has_changes(self) -> bool:
        """Whether `refresh` has something to take in, or another thread is just doing so. Never blocks."""
        # In this order: a refresh says that it runs before it takes what is pending.
        return self._watch is not None and (self._watch.pending() or self._is_refreshing or self.is_suspect)

    @property
    def is_connected(self) -> bool:
        """Whether changes made by others would be heard of now."""
        return self._watch is None or self._watch.is_connected

    def refresh(self) -> Collection[Slot]:
        """Take in the changes that arrived; returns the places in rings that others changed.

        Where `waits_for_changes`, these are all changes that were complete before this call.

        Raises:
            StoreUnavailable, AccessDenied: the medium does not let us look.
        """
        if self._watch is None:
            return ()
        with self.mutex:
            self._is_refreshing = True
            try:
                changed = self._take_in(self._watch)
                return {slot for slot in changed if slot.ref != self._written}
            except KeyfsError:
                self.is_suspect = True
                raise
            finally:
                self._is_refreshing = False

    def lock(self, ref: KeyRef) -> AbstractContextManager[None]:
        """Exclude other writers of this key. Raises: as `Store.lock`."""
        places = self.layout.places(ref)
        return self.store.lock((*places.names, *places.directories)[0])

    @contextmanager
    def being_written(self, ref: KeyRef) -> Iterator[None]:
        """Until the end of the block, which must include `relist`, *ref* is changed by us and not by others.

        The store's lock is held: at most one key at a time.
        """
        self._written = ref
        try:
            yield
        finally:
            self._written = None

    def rings(self, purpose: Purpose | None = None) -> Iterator[KeyRing]:
        """All rings, in no order; one that vanishes meanwhile is left out."""
        for ref in self.index.refs(purpose):
            try:
                yield self.index.ring(ref)
            except KeyNotFound:
                continue

    def ring(self, ref: KeyRef) -> KeyRing:
        """One ring.

        Raises:
            KeyNotFound: the store has none.
            RingInvalid: it has one, in a blob that does not verify.
        """
        try:
            return self.index.ring(ref)
        except KeyNotFound:
            self._demand_valid(ref)
            raise

    def read(self, ref: KeyRef, version_id: str, half: Half) -> tuple[Opened, KeyVersion]:
        """The key material of one half of one version.

        A blob that another program replaces between our look and our read is looked at again, so that the
        version returned is that of the material. One in memory that does not open is fetched again: what was
        sealed anew twice may be known by its first name and facts.

        Raises:
            KeyNotFound, InsecurePermissions, MasterKeyUnavailable, UnsealFailed, MaterialCorrupt,
            StoreUnavailable, AccessDenied: see those classes.
        """
        tries, is_anew = READ_TRIES, False
        while True:
            version = self.ring(ref).version(version_id)
            tries -= 1
            try:
                opened = self.reader.open(ref, version, half)
                # A key that is rotated all the time is read all the same, if with a time a little too old.
                if opened.stat == version.part(half).stat or not tries:
                    return opened, version
            except KeyNotFound:
                if not tries:
                    raise
            except UnsealFailed:
                if is_anew or not self.reader.refetch(version):
                    raise
                is_anew = True
            self.relist(ref)

    def relist(self, ref: KeyRef, touched: Iterable[str] = ()) -> KeyRing | None:
        """Look at the store itself for one ring; None when there is nothing of it.

        Retired versions, which never change, are taken from the index where listing a directory costs as much
        as listing everything, or where the caller has had them looked at under the lock that it holds. Not
        where only a listing tells what is current.

        Args:
            ref: the key.
            touched: names of retired blobs that the caller has just made or removed.

        Raises:
            StoreUnavailable, AccessDenied: the medium does not let us look.
        """
        places = self.layout.places(ref)
        with self.mutex:
            known = self.index.blobs(ref)
            touched = frozenset(touched)
            if not places.names or (self.store.lists_directories and not touched):
                found = self.store.stat_many(places.names)
                for directory in places.directories:
                    found.update(self.store.list_under(directory))
            else:
                asked = {*places.names, *touched}
                found = {name: stat for name, stat in known.items() if name not in asked}
                found.update(self.store.stat_many(asked))
            if found != known:
                self.index.replace(ref, found)
            try:
                return self.ring(ref)
            except KeyNotFound:
                return None

    def _take_in(self, watch: Watch) -> set[Slot]:
        changes = watch.take()
        if changes.lost or self.is_suspect:
            watch.renew()
            changed = self.reload()
            self.is_suspect = False
            return changed
        rings = {name: ref for name in changes.names if (ref := self.layout.ring_named(name)) is not None}
        changed = set().union(*(self._take_ring(name, ref) for name, ref in rings.items()))
        names = changes.names.difference(rings)
        found = self.store.stat_many(names)
        # What retired comes before what took its place (its name is the longer one): a lot takes a while, and
        # who lists meanwhile must not miss a version that is there.
        for name in sorted(names, key=len, reverse=True):
            changed |= self.index.apply(name, found.get(name))
        return changed

    def _take_ring(self, name: str, ref: KeyRef) -> set[Slot]:
        """Take in all that a blob holds now; returns the places in its ring that are not as they were."""
        try:
            return self.index.replace(ref, self.store.list_under(name), ring_name=name)
        except RingInvalid as exc:
            return self.index.replace(ref, {}, ring_name=name, reason=str(exc))

    def _demand_valid(self, ref: KeyRef) -> None:
        """Nothing, unless all there is of this key is a blob that does not verify."""
        for name in self.layout.places(ref).directories:
            if name in self.index.strays and self.layout.ring_named(name) == ref:
                raise RingInvalid(f"{name}: {self.index.strays[name]}")

    def close(self) -> None:
        """Stop watching and let go of the store. Safe to call twice."""
        if self._watch is not None:
            self._watch.close()
        self.store.close()
