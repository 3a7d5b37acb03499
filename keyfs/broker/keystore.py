"""`KeyStore`: names and bytes of one key store, blocking and safe for threads.

Readers never wait: rings are immutable values and the index replaces them whole. Whatever changes the
index holds `mutex`; whatever changes the store (`keyfs.broker.writer`) also holds the store's own lock.
"""

import select
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Final

from keyfs.broker.directory_marks import DirectoryMarks
from keyfs.broker.index import Index
from keyfs.broker.reader import BlobReader, Opened
from keyfs.broker.states import KeyStates
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import Purpose
from keyfs.core.state_records import Record
from keyfs.errors import KeyfsError, KeyNotFound, UnsealFailed
from keyfs.layout.base import KeyRing, KeyVersion, Layout, RingPlaces, Slot
from keyfs.seal.protection import Protections
from keyfs.store.base import STATES_CHANGED, Store
from keyfs.store.watching import Watch

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
        self.states = KeyStates(store, layout.purposes, self.index.ring)
        self._watch: Watch | None = None
        self.waits_for_changes = False  # whether `refresh` takes in every change that was complete before it
        self._is_refreshing = False
        self._written: KeyRef | None = None
        self._untold: set[Slot] = set()  # what others changed, taken in by a writer of ours
        self._marks = DirectoryMarks(store)
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
            self.states.take(self.states.look())

    def reload(self) -> set[Slot]:
        """List everything again; returns the places in rings that are not as they were.

        Raises:
            StoreUnavailable, AccessDenied: the medium does not let us.
        """
        with self.mutex, closing(self.store.list_pages()) as pages:
            said = self.states.look()  # first: what fails must not leave half of the changes untold
            return self.index.reload(pages) | self._take_states(said)

    def reload_states(self) -> set[Slot]:
        """Take the states of versions as they are kept now; returns the places where they are others.

        Raises:
            StoreUnavailable: the medium does not let us.
        """
        with self.mutex:
            return self._take_states(self.states.look())

    def watch(self) -> Watch:
        """Start to notice changes made by others, for `refresh` to take in; then list everything."""
        self._watch = self.store.watch()
        self.waits_for_changes = self._watch.waits
        self.load()
        return self._watch

    def has_changes(self) -> bool:
        """Whether `refresh` has something to take in, or another thread is just doing so. Never blocks."""
        # In this order: a refresh says that it runs before it takes what is pending.
        if self._watch is None:
            return False
        return self._watch.pending() or self._is_refreshing or self.is_suspect or bool(self._untold)

    @property
    def is_watched(self) -> bool:
        """Whether changes are noticed at all."""
        return self._watch is not None

    @property
    def is_deaf(self) -> bool:
        """Whether changes made by others would not be heard of now, or were not taken in."""
        return self.is_suspect or (self._watch is not None and not self._watch.is_connected)

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
                changed = self._take_in(self._watch) | self.untold()
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

    @property
    def is_being_written(self) -> bool:
        """Whether we change a key just now."""
        return self._written is not None

    @contextmanager
    def being_written(self, ref: KeyRef) -> Iterator[None]:
        """Until the end of the block, which must include `relist`, *ref* is changed by us and not by others.

        The store's lock is held: one key at a time. The watch tells of it here: no reader has to look.
        """
        self._written = ref
        try:
            yield
            with self.mutex, suppress(KeyfsError):  # the store is suspect then
                if self.waits_for_changes and self._has_unheard():
                    self._untold.update(self.refresh())
        finally:
            self._written = None

    def untold(self) -> set[Slot]:
        """What others changed while we wrote, and nobody has been told of. Never blocks."""
        told = set()
        while self._untold:
            told.add(self._untold.pop())
        return told

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
        return self.index.ring(ref)

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

    def relist(self, ref: KeyRef, touched: Iterable[str] = (), *, quick: bool = False) -> KeyRing | None:
        """Look at the store itself for one ring; None when there is nothing of it.

        Retired versions, which never change, are taken from the index where listing a directory costs as much
        as listing everything, or where the caller has had them looked at under the lock that it holds. Not
        where only a listing tells what is current.

        Args:
            ref: the key.
            touched: names of retired blobs that the caller has just made or removed.
            quick: whether retired versions are taken from the index, too, where every change of them would
                have been heard of by now, and no name came or went since they were listed.

        Raises:
            StoreUnavailable, AccessDenied: the medium does not let us look.
        """
        places, touched = self.layout.places(ref), frozenset(touched)
        with self.mutex:
            if self._must_list(places, quick=quick, is_touched=bool(touched)):
                self._list_ring(ref, places)
            else:
                asked = {*places.names, *touched}
                found = self.store.stat_many(asked)
                self.index.update(ref, {name: found.get(name) for name in asked})
                self._marks.note_again(places.directories)
            try:
                return self.ring(ref)
            except KeyNotFound:
                return None

    def _must_list(self, places: RingPlaces, *, quick: bool, is_touched: bool) -> bool:
        """Whether a ring's retired versions have to be listed, and not only looked up."""
        if not places.names:
            return True
        if not self.store.lists_directories or is_touched:
            return False
        # What others did is in the index, or pending. The marks tell of what nobody hears of: a network file
        # system that another host writes to.
        is_told = quick and self.waits_for_changes and not self._has_unheard()
        return not is_told or any(map(self._marks.is_anew, places.directories))

    def _has_unheard(self) -> bool:
        """As `has_changes`, which is the tasks' own, for a thread that holds the mutex."""
        poll = select.poll()  # `Watch.pending` may be under way in the tasks' thread, with the watch's own
        if self._watch is not None:
            poll.register(self._watch.fileno(), select.POLLIN)
        return self.is_suspect or bool(poll.poll(0))

    def _list_ring(self, ref: KeyRef, places: RingPlaces) -> None:
        self._marks.note(places.directories)  # before the listing: what comes in between is looked for again
        found = self.store.stat_many(places.names)
        for directory in places.directories:
            found.update(self.store.list_under(directory))
        if found != self.index.blobs(ref) or self.index.strays:
            self.index.replace(ref, found)

    def _take_in(self, watch: Watch) -> set[Slot]:
        changes = watch.take()
        if changes.lost or self.is_suspect:
            watch.renew()
            changed = self.reload()
            self.is_suspect = False
            return changed
        said = self.states.look() if STATES_CHANGED in changes.names else None  # first, as in `reload`
        return self._apply(changes.names - {STATES_CHANGED}) | self._take_states(said)

    def _take_states(self, said: Collection[Record] | None) -> set[Slot]:
        is_new, changed = self.states.take(said)
        # Last: who opened something before it has to look again, and who looks finds the new states.
        self.index.generation += is_new
        return changed

    def _apply(self, names: Collection[str]) -> set[Slot]:
        rings = {name: ref for name in names if (ref := self.layout.ring_named(name))}
        found = self.store.stat_many(name for name in names if name not in rings)
        changed: set[Slot] = set()
        # What retired comes before what took its place (its name is the longer one): a lot takes a while, and
        # who lists meanwhile must not miss a version that is there.
        for name in sorted(names, key=len, reverse=True):
            if name in rings:
                changed |= self.index.take_ring(rings[name], name, self.store.list_under)
            else:
                changed |= self.index.apply(name, found.get(name))
        return changed

    def close(self) -> None:
        """Stop watching and let go of the store. Safe to call twice."""
        if self._watch is not None:
            self._watch.close()
        self.store.close()
