"""From the files of one key to its versions: history order, matched halves, half-done rotations.

Source: Acra key store v1, "Rotation and history". The two halves of a rotated pair carry different
stamps, tens to hundreds of microseconds apart, private first.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Final

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import PRIVATE_SIZES, SYMMETRIC_SIZE, Shape
from keyfs.core.stamps import NANOSECONDS, parse_stamp
from keyfs.layout.base import KeyRing, KeyVersion, Part, Slot
from keyfs.seal.cell import plaintext_size
from keyfs.store.base import BlobStat

# Acra needs well under a millisecond between the halves. A loaded machine may take longer, and two
# rotations of one key within this time still pair in order. Only a guess, and only for labels: the
# bytes of a public half are always checked against its private half.
PAIR_WINDOW_NS: Final = 2 * NANOSECONDS
# What is sealed, and how long it is at most. A KMS's blobs, longer than any Secure Cell of such a key, do not
# tell how long it is.
_LONGEST: Final = {Shape.PAIR: PRIVATE_SIZES[-1], Shape.SYMMETRIC: SYMMETRIC_SIZE}

Retired = dict[str, Part]


def build_ring(ref: KeyRef, blobs: Mapping[Slot, tuple[str, BlobStat]]) -> KeyRing:
    """The ring made up by *blobs*; a slot's name and stat become a part."""
    current: dict[Half, Part] = {}
    retired: dict[Half, Retired] = {Half.SECRET: {}, Half.PUBLIC: {}}
    for slot, (name, stat) in blobs.items():
        part = _part(ref, slot.half, name, stat)
        if slot.stamp is None:
            current[slot.half] = part
        else:
            retired[slot.half][slot.stamp] = part
    orphans, pairs = _settle(retired, current)
    versions = _retired_versions(retired, pairs)
    if current:
        versions.append(_current_version(current, versions))
    return KeyRing(ref, tuple(versions), tuple(orphans))


def ring_of_one(ref: KeyRef, half: Half, name: str, stat: BlobStat) -> KeyRing:
    """As `build_ring`, of a blob that is current: as most keys are that never were rotated."""
    part = _part(ref, half, name, stat)
    secret, public = (part, None) if half is Half.SECRET else (None, part)
    return KeyRing(ref, (KeyVersion(CURRENT, secret, public, stat.mtime_ns, None),))


def size_of(ref: KeyRef, half: Half, blob_size: int) -> int:
    """How many bytes are in a blob of that size once it is opened."""
    longest = _LONGEST.get(ref.purpose.shape) if half is Half.SECRET else None
    return blob_size if longest is None else min(plaintext_size(blob_size), longest)


def match_halves(private: Sequence[str], public: Sequence[str]) -> dict[str, str]:
    """Private stamp to public stamp, both sorted; a stamp without a partner is left out.

    Equal numbers match by rank. Otherwise each public stamp goes to the last private stamp before it
    that is still free and close enough.
    """
    if len(private) == len(public):
        return dict(zip(private, public, strict=True))
    pairs: dict[str, str] = {}
    free: list[str] = []
    later = deque(private)
    for label in public:
        while later and later[0] <= label:
            free.append(later.popleft())
        if free and _is_near(free[-1], label):
            pairs[free.pop()] = label
    return pairs


def _settle(retired: dict[Half, Retired], current: Mapping[Half, Part]) -> tuple[list[str], dict[str, str]]:
    """The orphans, taken out of *retired*, and what is left as pairs of stamps.

    Public ones come first: while the private one is there, a repair that dies half-way knows them again.
    A second name of the current private half means that nothing was switched yet: then a second name of
    the current public half, made just after it, is an orphan too. Otherwise it may be the public half of
    the version that retired when the rotation stopped between its two switches, and stays if it matches.
    """
    secrets, publics = retired[Half.SECRET], retired[Half.PUBLIC]
    stopped = _copies(secrets, current.get(Half.SECRET))
    copies = _copies(publics, current.get(Half.PUBLIC))
    orphans = [publics.pop(s).name for s in copies if any(_is_near(before, s) for before in stopped)]
    left = [secrets.pop(stamp).name for stamp in stopped]
    pairs = match_halves(sorted(secrets), sorted(publics))
    alone = set(copies).intersection(publics).difference(pairs.values())
    orphans += [publics.pop(stamp).name for stamp in sorted(alone)]
    return orphans + left, pairs


def _copies(retired: Retired, current: Part | None) -> list[str]:
    """The stamps under which the bytes of the current half lie a second time, newest first.

    Nothing else retired after them: what retired before it became current again, by someone who put old
    bytes back, is a version like any other.
    """
    newest_first = sorted(retired, reverse=True)
    if current is None:
        return []
    return list(takewhile(lambda s: retired[s].stat.identity == current.stat.identity, newest_first))


def _is_near(private: str, public: str) -> bool:
    """Whether two stamps can be those of one rotation."""
    return 0 <= parse_stamp(public) - parse_stamp(private) <= PAIR_WINDOW_NS


def _part(ref: KeyRef, half: Half, name: str, stat: BlobStat) -> Part:
    is_sealed = half is Half.SECRET and ref.purpose.shape in _LONGEST
    return Part(name, stat, is_sealed, size_of(ref, half, stat.size))


def _retired_versions(retired: dict[Half, Retired], pairs: dict[str, str]) -> list[KeyVersion]:
    private, public = retired[Half.SECRET], retired[Half.PUBLIC]
    versions = [_retired_version(s, part, public.get(pairs.get(s, ""))) for s, part in private.items()]
    alone = set(public) - set(pairs.values())
    versions += [_retired_version(stamp, None, public[stamp]) for stamp in alone]
    versions.sort(key=lambda version: version.id)
    return _fill_created(versions)


def _retired_version(stamp: str, secret: Part | None, public: Part | None) -> KeyVersion:
    written = secret or public
    created = written.stat.mtime_ns if written else None
    return KeyVersion(stamp, secret, public, created, parse_stamp(stamp))


def _fill_created(versions: list[KeyVersion]) -> list[KeyVersion]:
    """Where the medium keeps no time, a version became current when its predecessor retired."""
    filled: list[KeyVersion] = []
    for version in versions:
        is_told = version.created_ns is not None or not filled
        filled.append(version if is_told else version._replace(created_ns=filled[-1].retired_ns))
    return filled


def _current_version(current: dict[Half, Part], before: list[KeyVersion]) -> KeyVersion:
    secret, public = current.get(Half.SECRET), current.get(Half.PUBLIC)
    written = secret or public
    created = written.stat.mtime_ns if written else None
    if created is None and before:
        created = before[-1].retired_ns
    return KeyVersion(CURRENT, secret, public, created, None)
