"""From the files of one key to its versions: history order, matched halves, half-done rotations.

Source: Acra key store v1, "Rotation and history". The two halves of a rotated pair carry different
stamps, tens to hundreds of microseconds apart, private first.
"""

from collections.abc import Collection, Mapping
from typing import Final

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import Shape
from keyfs.core.stamps import NANOSECONDS, parse_stamp
from keyfs.layout.base import KeyRing, KeyVersion, Part, Slot
from keyfs.seal.cell import plaintext_size
from keyfs.store.base import BlobStat

# Acra needs well under a millisecond between the halves. A loaded machine may take longer, and two
# rotations of one key within this time still pair in order. Only a guess, and only for labels: the
# bytes of a public half are always checked against its private half.
PAIR_WINDOW_NS: Final = 2 * NANOSECONDS

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
    orphans = _take_orphans(retired[Half.SECRET], current.get(Half.SECRET), keep=())
    pairs = match_halves(sorted(retired[Half.SECRET]), sorted(retired[Half.PUBLIC]))
    orphans += _take_orphans(retired[Half.PUBLIC], current.get(Half.PUBLIC), keep=pairs.values())
    versions = _retired_versions(retired, pairs)
    if current:
        versions.append(_current_version(current, versions))
    return KeyRing(ref, tuple(versions), tuple(orphans))


def match_halves(private: list[str], public: list[str]) -> dict[str, str]:
    """Private stamp to public stamp, both lists sorted; a stamp without a partner is left out.

    Equal numbers match by rank. Otherwise each public stamp goes to the last private stamp before it
    that is still free and close enough.
    """
    if len(private) == len(public):
        return dict(zip(private, public, strict=True))
    pairs: dict[str, str] = {}
    for label in public:
        time_ns = parse_stamp(label)
        before = [s for s in private if s not in pairs and 0 <= time_ns - parse_stamp(s) <= PAIR_WINDOW_NS]
        if before:
            pairs[before[-1]] = label
    return pairs


def _part(ref: KeyRef, half: Half, name: str, stat: BlobStat) -> Part:
    is_sealed = half is Half.SECRET and ref.purpose.shape is not Shape.PLAIN
    return Part(name, stat, is_sealed, plaintext_size(stat.size) if is_sealed else stat.size)


def _take_orphans(retired: Retired, current: Part | None, keep: Collection[str]) -> list[str]:
    """Remove from *retired* what is only a second name of the current bytes; return its name, if any.

    Only the newest can be: what retired before it became current again, by someone who copied its bytes. A
    public half that has found its private half stays: it is needed to read that version.
    """
    newest = max(retired, default=None)
    if current is None or newest is None or newest in keep:
        return []
    is_copy = retired[newest].stat.identity == current.stat.identity
    return [retired.pop(newest).name] if is_copy else []


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
        created = version.created_ns
        if created is None and filled:
            created = filled[-1].retired_ns
        filled.append(KeyVersion(version.id, version.secret, version.public, created, version.retired_ns))
    return filled


def _current_version(current: dict[Half, Part], before: list[KeyVersion]) -> KeyVersion:
    secret, public = current.get(Half.SECRET), current.get(Half.PUBLIC)
    written = secret or public
    created = written.stat.mtime_ns if written else None
    if created is None and before:
        created = before[-1].retired_ns
    return KeyVersion(CURRENT, secret, public, created, None)
