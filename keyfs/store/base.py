"""The port: a store keeps named blobs on one medium. It knows nothing of Acra.

A name is relative and has one to three parts joined by `/`; no part is empty, `.` or `..`.
"""

import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from keyfs.errors import InvalidName, KeyfsError
from keyfs.store.watching import Watch

DEPTH_LIMIT: Final = 3
"""How many parts a name can have; directories below that hold no blobs."""
TAKEN_BESIDE: Final = frozenset({"lock", "staging", "set-aside", "own", "own.keyfs"})
"""What lies beside a store already, where `write_beside` puts things."""
STATES_BESIDE: Final = "key-states.json"
"""The one thing beside a store of which a watch tells: who reads keys must hear of it at once."""
STATES_CHANGED: Final = "beside//" + STATES_BESIDE
"""How it is called in `Changes.names`: no blob has an empty part in its name."""
ANNEX: Final = "own//"
"""How the names in a store that was joined to another one begin: no name of the other has an empty part."""
_NO_PARTS: Final = frozenset({"", ".", ".."})
_BESIDE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.\-]{0,63}", re.ASCII)


class BlobStat(NamedTuple):
    """What the medium says about a blob without handing out its bytes."""

    size: int
    mtime_ns: int | None  # when these bytes were written; None where the medium keeps no time
    mode: int  # permission bits; 0o600 where the medium has none
    # Equal identities mean the same bytes: at any one moment, and at any time under one name. An archived
    # blob keeps its identity; that of a blob that is gone may be given to another one later. A blob
    # that is rewritten twice may have the one it had at first: the same key, but perhaps other bytes.
    identity: str
    note: str = ""  # what a store that looks into blobs tells of this one, for the layout that knows such


class Blob(NamedTuple):
    """A blob's bytes together with the facts about exactly those bytes."""

    data: bytes
    stat: BlobStat


@dataclass(frozen=True, slots=True)
class Replacement:
    """One blob to be switched. With *archive*, bytes that it supersedes stay readable under that name."""

    name: str
    data: bytes
    mode: int
    mtime_ns: int
    archive: str | None
    note: str = ""  # what a store that looks into blobs is to say in this one beside *data*; see `BlobStat`


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything found: blobs by name, and what is no blob with the reason why."""

    blobs: dict[str, BlobStat]
    strays: dict[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing, with the facts as `keyfs.store.facts` packs them."""

    blobs: dict[str, bytes]
    strays: dict[str, str]


Pages = Generator[Page, None, None]
"""What comes to a whole listing. Whoever does not read to the end has to close it."""


class Channel(Protocol):
    """A line to the medium on which blobs are asked for without waiting. Not safe for threads.

    Whoever has it waits until `fileno` is readable and takes what came. Answers come in the order of the
    questions. After a `StoreUnavailable` no more will come: close it, and ask for another one.
    """

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is something to take."""

    def ask(self, names: Sequence[str]) -> bool:
        """Ask for blobs, all or none. False: not on this channel, or not now. Never blocks.

        Raises:
            StoreUnavailable: the channel is lost.
        """

    def wait(self, within_ms: int) -> bool:
        """Block until there is something to take, for so long at most; whether there is."""

    def take(self) -> list[tuple[str, Blob | None]]:
        """What has come, by name; None for what is no blob, and `Store.get_many` tells why. Never blocks.

        Raises:
            StoreUnavailable: the channel is lost.
        """

    def close(self) -> None:
        """Let go of it. Safe to call twice."""


class Store(Protocol):
    """A medium. Every method raises only `KeyfsError`s; none retries, none caches.

    Raises (any method):
        StoreUnavailable: the medium does not answer or answers with an error.
        AccessDenied: the medium refuses this process.
    """

    name_limit: int | None  # longest part of a name in bytes; None where there is no limit
    lists_directories: bool  # whether `list_under` costs less than `list_all`

    def now_ns(self) -> int:
        """The time by the clock that all writers of this store share, in nanoseconds since 1970."""

    def describe(self) -> str:
        """The store's URI without passwords, for status and logs."""

    def list_pages(self) -> Pages:
        """Everything in the store, in parts of which none takes much memory; that may be millions of blobs.

        What is there all the time is in one of them, or in several: then the last one counts. Meanwhile
        anything may be asked of the store. What is wrong with it is raised when a part is asked for.
        """

    def list_all(self) -> Listing:
        """All of `list_pages` at once."""

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """The blobs directly in *directory*, by full name; empty when there is no such directory."""

    def mark(self, directory: str) -> object:
        """What is another one whenever a name came to *directory* or went, but for one that did just now.

        None where nothing tells, or there is no such directory.
        """

    def stat(self, name: str) -> BlobStat | None:
        """The facts about one blob, None when it is absent."""

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """The facts about several blobs, absent ones left out; one round trip where the medium is remote."""

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """Several blobs, or why there is none; one round trip where the medium is remote."""

    def channel(self) -> Channel | None:
        """A new channel; None where there is none, and blobs are only had by `get` and `get_many`."""

    def get(self, name: str) -> Blob:
        """One blob, never torn.

        Raises:
            KeyNotFound: it is absent.
        """

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """Switch the blobs in the given order; all new bytes are durable before the first switch.

        Call it with the lock held. A crash at any point leaves every old blob readable, under its own or its
        archive name. After an error that is raised before the first switch the store is as it was.

        Raises:
            StoreFull: no room.
            ReadOnly: the medium cannot be written.
        """

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """Let the blob that has all these *names* hold *data*, if it holds *expected*; nothing is archived.

        Mode, owner and time stay: the key is the same, it is only sealed in another manner. A name that holds
        *data* already is left alone, and the others become further names of what it names, so that a rewrite
        that died half-way can be finished. Call it with the lock held. It is durable when the call returns. A
        crash at any point leaves under each name the old bytes or the new ones, whole.

        Returns:
            Whether all names hold *data* now. If not, one of them held other bytes, or was gone: nothing is
            changed. Only if that happened during the call, by someone who takes no lock, some of the other
            names may hold *data*; what that someone wrote is never overwritten.

        Raises:
            StoreBusy: the lock ended meanwhile.
            StoreFull: no room.
            ReadOnly: the medium cannot be written.
        """

    def delete(self, names: Iterable[str]) -> None:
        """Remove blobs; absent ones are no error. Call it with the lock held.

        Raises:
            ReadOnly: the medium cannot be written.
        """

    def set_aside(self, name: str) -> str:
        """Move a blob out of the store, to where no tool looks; returns the place beside it. Lock held."""

    def read_beside(self, name: str) -> bytes | None:
        """What `write_beside` and `append_beside` left under *name*, None for nothing.

        Raises:
            InvalidName: see `beside_name`.
        """

    def write_beside(self, name: str, data: bytes, *, is_locked: bool = False) -> None:
        """Keep *data* beside the store, where no tool takes it for a key; durable, and never seen in part.

        Needs no lock; *is_locked*: the caller holds that of the whole store, and it is only written if so.
        Of what keyfs puts there for itself nothing is needed to read a key; of what somebody had put there
        (a wrapped master key) all may be.

        Raises:
            InvalidName: see `beside_name`.
            StoreBusy: the lock ended meanwhile.
            StoreFull, ReadOnly: it cannot be written there.
        """

    def append_beside(self, name: str, line: bytes) -> None:
        """Add a line to what is kept beside the store; *line* is without its end. Else as `write_beside`."""

    def lock(self, name: str = "") -> AbstractContextManager[None]:
        """Exclude other keyfs writers, in this process and in others.

        Args:
            name: excluded are writers of the part of the store where this name lies; without it, all.

        Raises:
            StoreBusy: another writer held it for longer than the driver waits.
            ReadOnly: the place beside the store, where the lock lives, cannot be written.
        """

    def stuck_locks(self, *names: str) -> tuple[str, ...]:
        """The locks that never end by themselves, although all that are taken do; *names* are others' locks.

        On a medium where the system ends a lock with whoever holds it there are none.
        """

    def break_lock(self, lock: str) -> bool:
        """Remove one of `stuck_locks`; False if it is none any more, or cannot be removed safely."""

    def watch(self) -> Watch:
        """Start watching the top of the store."""

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""


def parent(name: str) -> str:
    """The directory part of a blob's name, `""` at the top."""
    return name.rpartition("/")[0]


def parts_are_safe(name: str) -> bool:
    """Whether *name* obeys the form that this module's first lines state."""
    if "/" not in name:
        return "\0" not in name and name not in _NO_PARTS
    parts = name.split("/")
    return "\0" not in name and len(parts) <= DEPTH_LIMIT and not _NO_PARTS.intersection(parts)


def beside_name(name: str) -> str:
    """*name*, which can name something beside a store.

    Raises:
        InvalidName: it is not one part of lower-case letters, digits, dots and dashes, or it is taken.
    """
    if _BESIDE_NAME.fullmatch(name) is None or name in TAKEN_BESIDE:
        raise InvalidName(f"{name!r} cannot name anything beside a key store")
    return name
