"""Acra key store v2: one signed file per key, all versions in it, each known by its sequence number.

The store below is one that shows what lies in the files (`keyfs.store.rings`): a blob for each half of each
version, and one for the whole ring, whose facts are its table of contents.
"""

from collections.abc import Callable, Mapping
from typing import Final

from keyfs.core.label import Label
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import PRIVATE_SIZES, SYMMETRIC_SIZE
from keyfs.core.rings import (
    ACTIVE,
    COMPROMISED,
    DEACTIVATED,
    DESTROYED,
    NO_CURRENT,
    NOTHING,
    SUSPENDED,
    Contents,
    Entry,
    half_name,
    is_ring_name,
    parse_contents,
    parse_half_name,
    ring_path,
)
from keyfs.core.states import KeyState
from keyfs.errors import ClientIdTooLong
from keyfs.layout.base import KeyRing, KeyVersion, NewHalves, Part, Reading, RingPlaces, Slot, one_slot
from keyfs.layout.v2_names import MODERN, key_at, path_of, ring_name_of, stray_reason
from keyfs.seal.cell import plaintext_size
from keyfs.store.base import BlobStat, Replacement

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
STATES: Final[Mapping[int, KeyState]] = {
    ACTIVE: KeyState.ACTIVE,
    SUSPENDED: KeyState.SUSPENDED,
    DEACTIVATED: KeyState.DEACTIVATED,
    COMPROMISED: KeyState.COMPROMISED,
    DESTROYED: KeyState.DESTROYED,
}
"""What the numbers in the format say. Pre-active says nothing: all keys of Acra are that, in use or not."""
_CONTEXT: Final = "AKSv2 keystore: key ring {path}: {kind} key {seqnum}"

Blobs = Mapping[Slot, tuple[str, BlobStat]]


class LayoutV2:
    """The v2 layout. Keys of programs that Acra no longer ships are not shown."""

    name = "v2"
    purposes = MODERN
    stray_reason = staticmethod(stray_reason)

    def reading(self, name: str) -> Reading | None:
        """See `Layout.reading`: the stamp is the sequence number.

        The ring itself is read as what is current of the public half, which nobody opens.
        """
        half = parse_half_name(name)
        ring_name = name if half is None else half[0]
        found = key_at(ring_path(ring_name)) if is_ring_name(ring_name) else None
        if found is None:
            return None
        if half is None:
            return (*found, Half.PUBLIC, None)
        is_public = half[2]
        if is_public and not found[0].is_pair:
            return None
        return (*found, Half.PUBLIC if is_public else Half.SECRET, str(half[1]))

    def slots(self, name: str) -> tuple[Slot, ...]:
        """See `Layout.slots`: at most one."""
        return one_slot(self.reading(name))

    def needs_proof(self, slots: tuple[Slot, ...]) -> bool:
        """See `Layout.needs_proof`: a path is one key's."""
        return False

    def ring_named(self, name: str) -> KeyRef | None:
        """See `Layout.ring_named`."""
        found = key_at(ring_path(name)) if is_ring_name(name) else None
        return None if found is None else KeyRef(*found)

    def places(self, ref: KeyRef) -> RingPlaces:
        """See `Layout.places`: the ring's file, which is to be listed to know what is in it."""
        return RingPlaces((), (ring_name_of(ref),))

    def ring_of_one(self, ref: KeyRef, half: Half, name: str, stat: BlobStat) -> None:
        """See `Layout.ring_of_one`: the file of a key ring is one more."""

    def size_of_one(self, ref: KeyRef, half: Half, blob_size: int) -> None:
        """See `Layout.size_of_one`."""

    def ring(self, ref: KeyRef, blobs: Blobs) -> KeyRing:
        """See `Layout.ring`. Versions that came after the current one, and are not current, are before it."""
        contents = _contents(blobs)
        parts = {slot: Part(name, stat, *_size(slot, stat)) for slot, (name, stat) in blobs.items()}
        entries = sorted(contents.entries, key=lambda e: (e.seqnum == contents.current, e.seqnum))
        return KeyRing(ref, tuple(_version(ref, entry, contents, parts) for entry in entries))

    def ring_after(
        self, ring: KeyRing, blobs: Blobs, changes: Mapping[Slot, tuple[str, BlobStat] | None]
    ) -> None:
        """See `Layout.ring_after`: it has to be listed, too, before anything is written."""

    def shown(self, blobs: Blobs) -> Blobs:
        """See `Layout.shown`: by their numbers; what is current, as that too."""
        current = str(_contents(blobs).current)
        found = {slot: blob for slot, blob in blobs.items() if slot.stamp is not None}
        found |= {
            Slot(slot.ref, slot.half, None): blob for slot, blob in found.items() if slot.stamp == current
        }
        return found

    def label(self, ref: KeyRef, name: str) -> Label:
        """See `Layout.label`: ring path, kind and number. No KMS has a key."""
        half = parse_half_name(name)
        assert half is not None  # noqa: S101 - only secret parts are sealed
        return label_in_ring(path_of(ref), half[1], is_pair=ref.purpose.is_pair)

    def check_writable(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_writable`."""
        self.check_fits(ref, name_limit)

    def check_fits(self, ref: KeyRef, name_limit: int | None) -> None:
        """See `Layout.check_fits`: a client is a directory."""
        if ref.client is not None and name_limit is not None and len(ref.client) > name_limit:
            raise ClientIdTooLong(
                f"client id of {len(ref.client)} bytes is too long here: "
                f"at most {name_limit} fit, because it is the name of a directory"
            )

    def check_readable(self, ref: KeyRef, part: Part) -> None:
        """See `Layout.check_readable`: Acra demands nothing of the files."""

    def why_kept(self, ring: KeyRing, version_id: str) -> str:
        """See `Layout.why_kept`: Acra reads no list of versions in which one was destroyed."""
        version = ring.version(version_id)
        others = [other for other in ring.versions if other is not version]
        if version.id == CURRENT:
            there_are = f"Acra has no current key then, and there are {len(others)} others"
            return there_are if others else "it is the only version of its key"
        if any(other.state is KeyState.DESTROYED for other in others):
            return ""
        return f"Acra then reads only the current one of its {len(ring.versions)} versions"

    def next_name(self, ring: KeyRing, clock: Callable[[], int], *, is_amended: bool) -> str:
        """See `Layout.next_name`: the number after the largest one, be that destroyed or never current."""
        numbers = [int(version.number) for version in ring.versions]
        current = ring.current
        seqnum = int(current.number) if is_amended and current is not None else max(numbers, default=0) + 1
        return half_name(ring_name_of(ring.ref), seqnum, is_public=False)

    def plan(self, ring: KeyRing, new: NewHalves, now_ns: int) -> tuple[Replacement, ...]:
        """See `Layout.plan`. Nothing is moved: what was current keeps its number."""
        ring_name = ring_name_of(ring.ref)
        named, current = parse_half_name(new.name), ring.current
        assert named is not None or current is not None  # noqa: S101 - there is nothing to be mended
        seqnum: int | str = named[1] if named is not None else current.number if current is not None else ""
        plan: list[Replacement] = []
        if new.secret is not None:
            name = half_name(ring_name, seqnum, is_public=False)
            plan.append(Replacement(name, new.secret, PRIVATE_MODE, now_ns, None))
        if new.public is not None:
            name = half_name(ring_name, seqnum, is_public=True)
            plan.append(Replacement(name, new.public, PUBLIC_MODE, now_ns, None))
        return tuple(plan)


def label_in_ring(path: str, seqnum: int, *, is_pair: bool) -> Label:
    """What a private half, or a symmetric key, in the ring of this path is bound to."""
    kind = "private" if is_pair else "symmetric"
    context = _CONTEXT.format(path=path, kind=kind, seqnum=seqnum)
    return Label(context.encode("utf-8", "surrogateescape"), "")


def _contents(blobs: Blobs) -> Contents:
    notes = (stat.note for slot, (_, stat) in blobs.items() if slot.stamp is None)
    return next(map(parse_contents, notes), NOTHING)


def _size(slot: Slot, stat: BlobStat) -> tuple[bool, int]:
    """Whether the part is sealed, and how long it is once opened."""
    if slot.half is Half.PUBLIC:
        return False, stat.size
    longest = PRIVATE_SIZES[-1] if slot.ref.purpose.is_pair else SYMMETRIC_SIZE
    return True, min(plaintext_size(stat.size), longest)


def _version(ref: KeyRef, entry: Entry, contents: Contents, parts: Mapping[Slot, Part]) -> KeyVersion:
    number = str(entry.seqnum)
    is_current = entry.seqnum == contents.current
    return KeyVersion(
        CURRENT if is_current else number,
        parts.get(Slot(ref, Half.SECRET, number)),
        parts.get(Slot(ref, Half.PUBLIC, number)),
        entry.since_ns,
        None if is_current else _retired_ns(entry, contents),
        STATES.get(entry.state),
        number,
        entry.until_ns,
    )


def _retired_ns(entry: Entry, contents: Contents) -> int | None:
    """When the version after it came; None for one that never was current, or may become so.

    Where nothing is current the newest one was it, and when that retired the ring does not say.
    """
    newest = contents.current
    if newest == NO_CURRENT:
        newest = max(other.seqnum for other in contents.entries)
    if entry.seqnum > newest:
        return None
    later = [other for other in contents.entries if entry.seqnum < other.seqnum <= newest]
    return min(later, key=lambda other: other.seqnum).since_ns if later else None
