"""The port: a layout knows names, history and contexts. It is told facts and returns decisions."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, Protocol

from keyfs.core.label import Label
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import Purpose
from keyfs.core.states import KeyState
from keyfs.errors import KeyNotFound
from keyfs.store.base import BlobStat, Replacement

_id = attrgetter("id")


class Slot(NamedTuple):
    """One place where bytes of a key ring may lie. *stamp* is None for the current version."""

    ref: KeyRef
    half: Half
    stamp: str | None


class Part(NamedTuple):
    """One half of a version, where it lies in the store, and how long it is once opened."""

    name: str
    stat: BlobStat
    is_sealed: bool
    size: int


class KeyVersion(NamedTuple):
    """One version of a key. *id* is `current` or a stable id that sorts oldest to newest."""

    id: str
    secret: Part | None
    public: Part | None
    created_ns: int | None  # when it became current; None where the medium keeps no time
    retired_ns: int | None
    state: KeyState | None = None  # what the format itself says of it; None where it says nothing
    number: str = ""  # by which it is known as well, now and when it is not current any more; empty for none
    until_ns: int | None = None  # for how long it is said to be valid; None where the layout does not say

    @property
    def is_grave(self) -> bool:
        """Whether nothing is left of it: it was destroyed, in a format that remembers that."""
        return self.state is KeyState.DESTROYED and self.secret is None and self.public is None

    def part(self, half: Half) -> Part:
        """The half asked for.

        Raises:
            KeyNotFound: this version has no such half.
        """
        part = self.secret if half is Half.SECRET else self.public
        if part is None and self.state is KeyState.DESTROYED:
            raise KeyNotFound(f"version {self.number} was destroyed: nothing is left of it but its number")
        if part is None:
            raise KeyNotFound(f"version {self.id} has no {half.value} half")
        return part


class KeyRing(NamedTuple):
    """All versions of one key, oldest first, which is the order of their ids; the current one, if any, last.

    *orphans* are names of archived copies of what is still current: a rotation stopped half-way.
    """

    ref: KeyRef
    versions: tuple[KeyVersion, ...]
    orphans: tuple[str, ...] = ()

    @property
    def current(self) -> KeyVersion | None:
        """The version that protects new data."""
        last = self.versions[-1] if self.versions else None
        return last if last is not None and last.id == CURRENT else None

    @property
    def retired(self) -> tuple[KeyVersion, ...]:
        """The versions that may leave the key store: retired ones, if one is current; else Acra reads none.

        Not those that were destroyed, of which only the number is left. Nor what has a number and came after
        the current one: it never was current, and its number would be given again.
        """
        if self.current is None:
            return ()
        return tuple(
            version
            for version in self.versions[:-1]
            if (version.secret or version.public) and not (version.number and version.retired_ns is None)
        )

    def version(self, version_id: str) -> KeyVersion:
        """The version called *version_id*.

        Raises:
            KeyNotFound: there is none.
        """
        if version_id == CURRENT and (current := self.current) is not None:  # by far the most often
            return current
        if self.versions and self.versions[-1].number:
            found = next((v for v in self.versions if version_id in (v.number, v.id)), None)
        else:
            rank = bisect_left(self.versions, version_id, key=_id)
            found = self.versions[rank] if rank < len(self.versions) else None
        if found is not None and version_id in (found.id, found.number or found.id):
            return found
        raise KeyNotFound(f"{self.ref} has no version {version_id}")


Lone = tuple[Half, int, int | None]
"""A ring with one version, that is current and has one half, as most have: which half, how long it is once
opened, and when it became current, None where the medium keeps no time. Listings have millions: a tuple."""


@dataclass(frozen=True, slots=True)
class NewHalves:
    """Blobs that are to become current; a half that is None is left as it is."""

    secret: bytes | None
    public: bytes | None
    name: str = ""  # of the secret part, as `Layout.next_name` said before it was sealed
    is_amended: bool = False  # then nothing is archived


@dataclass(frozen=True, slots=True)
class RingPlaces:
    """Where all blobs of one ring can lie: current names, and the directories of retired ones."""

    names: tuple[str, ...]
    directories: tuple[str, ...]


Reading = tuple[Purpose, str | None, Half, str | None]
"""Purpose and client, half and stamp: a slot in its parts, because a listing has millions."""


class Layout(Protocol):
    """Which blob holds which key."""

    name: str
    purposes: tuple[Purpose, ...]

    def reading(self, name: str) -> Reading | None:
        """The one slot of a blob of this name; None for a stray, and where several have to be tried.

        A stamp is text that the name ends with, best; a client is text in it.
        """

    def slots(self, name: str) -> tuple[Slot, ...]:
        """The keys that a blob of this name can hold, likeliest first; empty for a stray."""

    def needs_proof(self, slots: tuple[Slot, ...]) -> bool:
        """Whether only opening the blob tells which of *slots* it is, if any."""

    def ring_named(self, name: str) -> KeyRef | None:
        """The key of which a blob of this name holds all versions; None where each half is a blob."""

    def stray_reason(self, name: str) -> str:
        """Why *name* holds no key, in a few words."""

    def places(self, ref: KeyRef) -> RingPlaces:
        """Where to look for the ring's blobs."""

    def ring(self, ref: KeyRef, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> KeyRing:
        """The ring that these blobs make up."""

    def ring_of_one(self, ref: KeyRef, half: Half, name: str, stat: BlobStat) -> KeyRing | None:
        """As `ring`, of one blob in a slot without a stamp, at a fraction of the cost; None: ask `ring`."""

    def size_of_one(self, ref: KeyRef, half: Half, blob_size: int) -> int | None:
        """How long the key in such a blob is once it is opened; None where `ring_of_one` has None."""

    def ring_after(
        self,
        ring: KeyRing,
        blobs: Mapping[Slot, tuple[str, BlobStat]],
        changes: Mapping[Slot, tuple[str, BlobStat] | None],
    ) -> KeyRing | None:
        """What `ring` would say of *blobs*, where that follows from what it said before *changes*, else None.

        What it costs does not grow with the number of versions, or hardly.
        """

    def shown(self, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> Mapping[Slot, tuple[str, BlobStat]]:
        """The same blobs by the places under which people know them: as what is current, or by a stamp."""

    def label(self, ref: KeyRef, name: str) -> Label:
        """What the secret part called *name* is tied to when it is sealed."""

    def check_writable(self, ref: KeyRef, name_limit: int | None) -> None:
        """Nothing, if the ring's names fit on a medium with that limit.

        Raises:
            ClientIdTooLong: they do not.
            OperationRefused: keys of this purpose are only read.
        """

    def check_fits(self, ref: KeyRef, name_limit: int | None) -> None:
        """Nothing, if the ring's names fit on a medium with that limit.

        Raises:
            ClientIdTooLong: they do not.
        """

    def check_readable(self, ref: KeyRef, part: Part) -> None:
        """Nothing, if the part's permission bits are as Acra demands.

        Raises:
            InsecurePermissions: they are too open.
        """

    def why_kept(self, ring: KeyRing, version_id: str) -> str:
        """What else would be lost with a version, in half a sentence; empty for nothing."""

    def next_name(self, ring: KeyRing, clock: Callable[[], int], *, is_amended: bool) -> str:
        """What the secret part of the next version will be called.

        Args:
            ring: as it is.
            clock: the time in nanoseconds since 1970; asked where the name depends on it.
            is_amended: whether the current version is replaced, and not archived.
        """

    def plan(self, ring: KeyRing, new: NewHalves, now_ns: int) -> tuple[Replacement, ...]:
        """The switches, in order, that make the given blobs the current version and archive the old one."""


def one_slot(reading: Reading | None) -> tuple[Slot, ...]:
    """The slot that was read, if one was."""
    if reading is None:
        return ()
    purpose, client, half, stamp = reading
    return (Slot(KeyRef(purpose, client), half, stamp),)
