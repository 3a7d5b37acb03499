"""A key ring of layout v2: all versions of one key in one signed file. Pure: no bytes of the format here.

Source: Acra key store v2, "Layout", "DER structure", "States".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import KeyExists, OperationRefused

RING_SUFFIX: Final = ".keyring"
NEW_SUFFIX: Final = ".keyring.new"
"""How the names of what Acra writes before it renames it end; found at rest it is a left-over."""
NO_CURRENT: Final = -1
KEEP_CURRENT: Final = 0
"""In a table of contents that is to be written: what is current stays so."""
LIFETIME_S: Final = 365 * 86_400
"""For how long Acra says that a new key is valid. Nothing heeds it."""
SEQNUM_LIMIT: Final = (1 << 63) - 1
"""The largest sequence number that a version is shown by; Acra reads no larger ones."""

# How the reasons begin, or what they are, for which a file is no valid ring.
NO_BYTES: Final = "it has no bytes"
NO_SIGNATURE: Final = "it has no signature"
WRONG_SIGNATURE: Final = "its signature is wrong"

PRE_ACTIVE: Final = 1
ACTIVE: Final = 2
SUSPENDED: Final = 3
DEACTIVATED: Final = 4
COMPROMISED: Final = 5
DESTROYED: Final = 6

PAIR_FORMAT: Final = 1
SYMMETRIC_FORMAT: Final = 3

_PUBLIC: Final = ".pub"


@dataclass(frozen=True, slots=True)
class KeyData:
    """Key material as one element of a ring has it: sealed, but for the public half."""

    format: int
    public: bytes | None = None
    private: bytes | None = None
    symmetric: bytes | None = None


@dataclass(frozen=True, slots=True)
class RingKey:
    """One version. What was read and is not changed is written again as it was (*raw*)."""

    seqnum: int
    state: int
    since_ns: int  # whole seconds
    until_ns: int
    data: tuple[KeyData, ...]
    raw: bytes = b""  # the element as it was read; empty for one that was made or changed here

    @property
    def secret(self) -> bytes | None:
        """The sealed private half of a pair, or the sealed symmetric key; None for none."""
        for data in self.data:
            found = data.private if data.format == PAIR_FORMAT else data.symmetric
            if found is not None:
                return found
        return None

    @property
    def public(self) -> bytes | None:
        """The public half; None for none."""
        return next((data.public for data in self.data if data.public is not None), None)

    def holding(self, secret: bytes | None, public: bytes | None, *, is_pair: bool) -> "RingKey":
        """The same version with this material in place of its own."""
        if is_pair:
            data = KeyData(PAIR_FORMAT, public, secret)
        else:
            data = KeyData(SYMMETRIC_FORMAT, symmetric=secret)
        others = (item for item in self.data if item.format not in (PAIR_FORMAT, SYMMETRIC_FORMAT))
        return replace(self, data=(data, *others), raw=b"")

    def destroyed(self) -> "RingKey":
        """What is left of it when it is destroyed: number, dates, state."""
        return replace(self, state=DESTROYED, data=(), raw=b"")


@dataclass(frozen=True, slots=True)
class Ring:
    """All versions of one key, as they stand in the file."""

    purpose: bytes
    keys: tuple[RingKey, ...] = ()
    current: int = NO_CURRENT
    rest: tuple[bytes, ...] = ()  # elements behind *current* that nobody knows; Acra ignores them
    file: bytes = field(default=b"", repr=False, compare=False)  # that it was read from; signed

    def key(self, seqnum: int) -> RingKey | None:
        """The version of that number, the first one if there are several; None for none."""
        return next((key for key in self.keys if key.seqnum == seqnum), None)

    def shown(self) -> dict[int, RingKey]:
        """The versions by number; of several with one number the first, which is the one that Acra takes."""
        found: dict[int, RingKey] = {}
        for key in self.keys:
            if 1 <= key.seqnum <= SEQNUM_LIMIT:
                found.setdefault(key.seqnum, key)
        return found

    def hidden(self) -> list[RingKey]:
        """The versions that cannot be shown: numbers that are taken, or are none."""
        shown = {id(key) for key in self.shown().values()}
        return [key for key in self.keys if id(key) not in shown]

    def alone(self, seqnum: int) -> "Ring | None":
        """A ring of this version alone, as it is here, and not current.

        None if nothing is left of it, or if its number is that of several.
        """
        keys = tuple(key for key in self.keys if key.seqnum == seqnum)
        return Ring(self.purpose, keys) if len(keys) == 1 and keys[0].data else None

    def without(self, seqnums: Iterable[int]) -> "Ring":
        """The ring as if it had never had these versions. What `alone` has not stays.

        Raises:
            OperationRefused: one is current; or has the largest number, which would be given again.
        """
        newest = max((key.seqnum for key in self.keys), default=0)
        gone = {seqnum for seqnum in seqnums if self.alone(seqnum) is not None}
        for seqnum in gone.intersection((newest, self.current)):
            raise OperationRefused(
                f"version {seqnum} stays: it is current, or its number would be given again"
            )
        return replace(self, keys=tuple(key for key in self.keys if key.seqnum not in gone))

    def with_again(self, key: RingKey) -> "Ring":
        """The ring with a version that it had before; what is current stays so.

        Raises:
            KeyExists: there is one of that number, or there was one, which was destroyed.
        """
        if self.key(key.seqnum) is not None:
            raise KeyExists(f"the key ring has a version {key.seqnum}, or had one that was destroyed")
        return replace(self.with_key(key), current=self.current)

    def with_key(self, key: RingKey) -> "Ring":
        """The ring with this version, in the place of the one with its number, else behind all smaller ones.

        If it is the newest one it is current from now on.
        """
        if self.key(key.seqnum) is not None:
            first = [old.seqnum for old in self.keys].index(key.seqnum)
            return replace(self, keys=(*self.keys[:first], key, *self.keys[first + 1 :]))
        before = sum(1 for old in self.keys if old.seqnum < key.seqnum)
        is_newest = before == len(self.keys)
        place = len(self.keys) if is_newest else before
        keys = (*self.keys[:place], key, *self.keys[place:])
        return replace(self, keys=keys, current=key.seqnum if is_newest else self.current)

    def saying(self, contents: "Contents", current: int) -> "Ring":
        """The ring with these states and dates, and with what is left of versions that were destroyed.

        Args:
            contents: says nothing of a version that is destroyed here, or is not here at all.
            current: what is current where *contents* says `KEEP_CURRENT`.
        """
        ring = self
        for entry in contents.entries:
            key = ring.key(entry.seqnum)
            if key is None and entry.state == DESTROYED:
                ring = ring.with_key(RingKey(entry.seqnum, DESTROYED, entry.since_ns, entry.until_ns, ()))
            elif key is not None and key.state != DESTROYED:
                ring = ring.with_key(replace(key, state=entry.state, until_ns=entry.until_ns, raw=b""))
        return replace(ring, current=current if contents.current == KEEP_CURRENT else contents.current)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a ring says of one version beside its material."""

    seqnum: int
    state: int
    since_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of contents of a ring: what is current, and all versions, those destroyed as well."""

    current: int
    entries: tuple[Entry, ...]


NOTHING: Final = Contents(NO_CURRENT, ())


def contents_note(ring: Ring) -> str:
    """The table of contents of *ring* as a text: `CURRENT SEQNUM:STATE:SINCE:UNTIL …`, times in seconds."""
    return _note(ring.current, ring.shown().values())


def as_note(contents: Contents) -> str:
    """A table of contents as a text."""
    return _note(contents.current, contents.entries)


def parse_contents(note: str) -> Contents:
    """What `contents_note` or `as_note` wrote."""
    current, *entries = note.split(" ")
    return Contents(int(current), tuple(_entry(text) for text in entries))


def half_name(ring_name: str, seqnum: int | str, *, is_public: bool) -> str:
    """What one half of one version in a ring is called: `R.keyring#3`, `R.keyring.pub#3`.

    The number is last in both: whoever keeps millions of names keeps what stands before it once.
    """
    return f"{ring_name}{_PUBLIC if is_public else ''}#{seqnum}"


def parse_half_name(name: str) -> tuple[str, int, bool] | None:
    """The ring's name, the number, and whether it is the public half; None for what is no such name."""
    stem, mark, number = name.rpartition("#")
    if not mark or not (number.isascii() and number.isdecimal()) or number.startswith("0"):
        return None
    ring_name = stem.removesuffix(_PUBLIC)
    seqnum = int(number) if len(number) <= len(str(SEQNUM_LIMIT)) else SEQNUM_LIMIT + 1
    if not is_ring_name(ring_name) or seqnum > SEQNUM_LIMIT:
        return None
    return ring_name, seqnum, ring_name != stem


def whole_name(name: str) -> str:
    """What a version is called as a whole, for the name of a half: `R.keyring!3`; else the name itself.

    Whole versions are not listed. They are what is taken out of a ring, and put back as it was.
    """
    half = parse_half_name(name)
    return name if half is None else f"{half[0]}!{half[1]}"


def parse_whole_name(name: str) -> tuple[str, int] | None:
    """The ring's name and the number; None for what is no such name."""
    ring_name, mark, number = name.rpartition("!")
    half = parse_half_name(f"{ring_name}#{number}") if mark else None
    return None if half is None or half[2] else half[:2]


def is_ring_name(name: str) -> bool:
    """Whether a file of this name is taken for a key ring."""
    return name.endswith(RING_SUFFIX) and not name.endswith(f"/{RING_SUFFIX}") and name != RING_SUFFIX


def ring_path(ring_name: str) -> str:
    """The path of a ring, which signature and seals are bound to."""
    return ring_name.removesuffix(RING_SUFFIX)


def rings_of(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of halves, whole versions and rings, by the ring that they lie in; others are left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        part = parse_half_name(name) or parse_whole_name(name)
        if part is not None or is_ring_name(name):
            found.setdefault(name if part is None else part[0], []).append(name)
    return found


def _note(current: int, versions: Iterable[Entry | RingKey]) -> str:
    entries = (
        f"{one.seqnum}:{one.state}:{one.since_ns // NANOSECONDS}:{one.until_ns // NANOSECONDS}"
        for one in versions
    )
    return " ".join((str(current), *entries))


def _entry(text: str) -> Entry:
    seqnum, state, since_s, until_s = map(int, text.split(":"))
    return Entry(seqnum, state, since_s * NANOSECONDS, until_s * NANOSECONDS)
