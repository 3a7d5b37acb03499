"""A ring that follows from the one before is the ring that all its blobs make up, whatever happens."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.index import Index
from keyfs.core.names import Half, KeyRef, parse_key_ref
from keyfs.core.stamps import format_stamp
from keyfs.errors import KeyNotFound
from keyfs.layout.base import Slot
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import history_directory, public_name, secret_name
from keyfs.store.base import BlobStat, Listing
from keyfs.store.facts import page_of

MOMENT_NS: Final = 1_795_488_385_000_000_000
LAYOUT: Final = LayoutV1()
SYMMETRIC: Final = parse_key_ref("storage-sym/alice")
PAIR: Final = parse_key_ref("storage/alice")
Found = dict[str, BlobStat | None]

halves = st.sampled_from(Half)
stats = st.builds(
    BlobStat,
    size=st.just(76),
    mtime_ns=st.none() | st.integers(MOMENT_NS, MOMENT_NS + 9),
    mode=st.just(0o600),
    identity=st.sampled_from(["aa", "bb", "cc", "dd"]),
)
# Stamps of pairs that are near each other, and of some that are not.
moments = st.integers(0, 9).map(lambda tenth: format_stamp(MOMENT_NS + tenth * 700_000_000))
changes = st.dictionaries(st.tuples(halves, st.none() | moments), st.none() | stats, max_size=3)


def nobody(_name: str, _slots: tuple[Slot, ...]) -> Slot | None:
    raise AssertionError("modern names need no proof")


def name_of(ref: KeyRef, half: Half, stamp: str | None) -> str:
    name = public_name(ref) if ref.purpose.is_pair and half is Half.PUBLIC else secret_name(ref)
    return name if stamp is None else f"{history_directory(name)}/{stamp}"


def stat(identity: str) -> BlobStat:
    return BlobStat(76, MOMENT_NS, 0o600, identity)


def history(ref: KeyRef, versions: int) -> dict[str, BlobStat]:
    """A key that was rotated so often, and soundly."""
    found = {}
    for number in range(versions + 1):
        stamp = None if number == versions else format_stamp(MOMENT_NS + (number - versions) * 1_000_000_000)
        for half in Half:
            found[name_of(ref, half, stamp)] = stat(f"{number}{half.value}".encode().hex())
    return found


def rebuilt(index: Index, ref: KeyRef) -> object:
    """What an index says that takes the same blobs as one listing."""
    other = Index(LAYOUT, nobody)
    other.load([page_of(Listing(index.blobs(ref), {}))])
    try:
        return other.ring(ref)
    except KeyNotFound:
        return None


def told(index: Index, ref: KeyRef) -> object:
    try:
        return index.ring(ref)
    except KeyNotFound:
        return None


@given(
    st.sampled_from([SYMMETRIC, PAIR]),
    st.integers(0, 6),
    st.lists(st.tuples(st.booleans(), changes), max_size=8),
)
def test_one_change_after_the_other_comes_to_what_all_blobs_say(
    ref: KeyRef, versions: int, story: list[tuple[bool, dict[tuple[Half, str | None], BlobStat | None]]]
) -> None:
    index = Index(LAYOUT, nobody)
    index.load([page_of(Listing(history(ref, versions), {}))])
    assert told(index, ref) == rebuilt(index, ref)
    for is_at_once, step in story:
        found = {name_of(ref, half, stamp): facts for (half, stamp), facts in step.items()}
        if is_at_once:
            index.update(ref, found)
        else:
            for name, facts in found.items():
                index.apply(name, facts)
        assert told(index, ref) == rebuilt(index, ref)


@given(st.sampled_from([SYMMETRIC, PAIR]), st.integers(4, 8), st.booleans())
def test_a_rotation_builds_no_ring_anew(ref: KeyRef, versions: int, is_at_once: bool) -> None:
    """Neither all at once, nor while its steps are heard of one by one."""
    index = Index(LAYOUT, nobody)
    index.load([page_of(Listing(history(ref, versions), {}))])
    before = index.ring(ref)
    names = {half: name_of(ref, half, None) for half in (Half if ref.purpose.is_pair else [Half.SECRET])}
    archived, switched = list[Found](), list[Found]()
    for half, name in names.items():
        archived.append({name_of(ref, half, format_stamp(MOMENT_NS)): index.blobs(ref)[name]})
        switched.append({name: stat(f"new {half.value}")})
    steps = archived + switched
    whole: Found = {name: facts for step in steps for name, facts in step.items()}
    for found in [whole] if is_at_once else steps:
        index.update(ref, found)
    after = index.ring(ref)
    assert after == rebuilt(index, ref)
    assert after.versions[0] is before.versions[0]
    assert after.versions[-2].retired_ns == MOMENT_NS
