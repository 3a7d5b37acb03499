"""The compact index says in every layout, whatever happens, what a dict of dicts would say."""

from collections.abc import Callable, Iterator
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from plain_index import PlainIndex

from keyfs.broker.index import Index
from keyfs.core.names import Half, KeyRef
from keyfs.core.own import OwnKind, OwnSpec
from keyfs.core.purposes import PURPOSES, STORAGE, Purpose, Shape
from keyfs.layout.base import KeyRing, KeyVersion, Layout, Lone, Slot
from keyfs.layout.joined import JoinedLayout
from keyfs.layout.own import OwnLayout
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import BlobStat, Listing, Page
from keyfs.store.facts import page_of

STAMPS: Final = ("2026-11-24T02:46:25.5", "2026-11-24T02:46:25.574915812", "2027-01-01T00:00:00")
OPAQUE: Final = OwnSpec(OwnKind.OPAQUE)
OWN: Final = (
    Purpose("tls", Shape.OWN, own=OPAQUE),
    Purpose("site", Shape.OWN, is_global=True, own=OPAQUE),
)
ACRA_NAMES: Final = [
    name
    for base in ("alice_storage", "alice_storage.pub", "alice_storage_sym", "bobby_hmac", "secure_log_key")
    for name in (base, *(f"{base}.old/{stamp}" for stamp in STAMPS))
]
LEGACY_NAMES: Final = [
    *(
        "alice",
        "alice.pub",
        "alice_zone",
        "alice_zone_sym",
        "alice_server.pub",
        "auth_key",
        "bobby_storage_zone",
    ),
    *(f"alice_zone.old/{stamp}" for stamp in STAMPS),
    *(f"alice.pub.old/{stamp}" for stamp in STAMPS),
]
STRAY_NAMES: Final = ["notes_1.txt", "alice_storage.old/x", "alice_storage123", "deep/er/file", "x\udc80y"]
OWN_NAMES: Final = [
    f"own//{place}/{stamp}"
    for place in ("tls/a.example", "tls/tls", "site/@global", "other/alice", "tls/-no")
    for stamp in ("2026-11-24T02:46:25.574915812", "2026-11-24T02:46:25.574915811", "2026-11-24T02:46:25.5")
]


def proves(name: str, slots: tuple[Slot, ...]) -> Slot | None:
    """Any reading, or none: always the same one for a name."""
    choice = sum(name.encode(errors="surrogateescape")) % (len(slots) + 1)
    return slots[choice] if choice < len(slots) else None


LAYOUTS: Final[dict[str, tuple[Callable[[], Layout], list[str]]]] = {
    "v1": (LayoutV1, ACRA_NAMES + LEGACY_NAMES),
    "legacy": (lambda: LayoutV1(legacy=True), ACRA_NAMES + LEGACY_NAMES),
    "own": (lambda: OwnLayout(OWN), OWN_NAMES),
    "undeclared": (lambda: OwnLayout(OWN, undeclared=True), OWN_NAMES),
    "joined": (lambda: JoinedLayout(LayoutV1(legacy=True), OwnLayout(OWN)), ACRA_NAMES[:9] + OWN_NAMES),
}

stats = st.builds(
    BlobStat,
    size=st.sampled_from([0, 76, 89, 1 << 33]),
    mtime_ns=st.sampled_from([None, 1, 1_795_488_385_000_000_000, 10**20]),
    mode=st.sampled_from([0o600, 0o644, 1 << 20]),
    identity=st.sampled_from(["ab" * 16, "!" + "ab" * 16, "memory:1", "AB", "ab cd", "", "ключ"]),
)


def blobs_of(names: list[str]) -> st.SearchStrategy[dict[str, BlobStat]]:
    return st.dictionaries(st.sampled_from(names), stats, max_size=12)


def steps_in(names: list[str]) -> st.SearchStrategy[tuple[str, object, object]]:
    name = st.sampled_from(names)
    return st.one_of(
        st.tuples(st.sampled_from(["load", "reload"]), blobs_of(names), blobs_of(names)),
        st.tuples(st.just("apply"), name, st.none() | stats),
        st.tuples(st.just("replace"), name, blobs_of(names)),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[Layout, list[tuple[str, object, object]]]:
    make, names = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))]
    return make(), draw(st.lists(steps_in(names + STRAY_NAMES), max_size=8))


def pages_of(first: object, last: object) -> Iterator[Page]:
    """A listing in which all of *last* comes at the end, and some of it was named before, as it was then."""
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    yield page_of(Listing({name: stat for name, stat in first.items() if name in last}, {"link": "no file"}))
    for name, stat in last.items():
        yield page_of(Listing({name: stat}, {}))


def act(index: Index, plain: PlainIndex, step: tuple[str, object, object]) -> None:
    kind, one, two = step
    if kind in ("load", "reload"):
        assert isinstance(two, dict)
        changed = plain.reload(Listing(two, {"link": "no file"}))
        if kind == "load":
            index.load(pages_of(one, two))
        else:
            assert index.reload(pages_of(one, two)) == changed
        return
    assert isinstance(one, str)
    if kind == "apply":
        assert two is None or isinstance(two, BlobStat)
        assert index.apply(one, two) == plain.apply(one, two)
        return
    assert isinstance(two, dict)
    for slot in plain._layout.slots(one):
        index.replace(slot.ref, two)
        plain.replace(slot.ref, two)


def has(version: KeyVersion, half: Half) -> bool:
    return (version.secret if half is Half.SECRET else version.public) is not None


def lone_in(ring: KeyRing) -> Lone | None:
    """What is all there is in a ring, if that is one half of a current version."""
    if len(ring.versions) != 1 or ring.current is None or ring.orphans:
        return None
    halves = [(half, ring.current.part(half)) for half in Half if has(ring.current, half)]
    return (halves[0][0], halves[0][1].size, ring.current.created_ns) if len(halves) == 1 else None


def compare(index: Index, plain: PlainIndex, purposes: tuple[Purpose, ...]) -> None:
    assert len(index) == len(plain.all_blobs)
    assert index.strays == plain.strays
    assert sorted(index.refs(), key=str) == sorted(plain.all_blobs, key=str)
    assert not index.has(KeyRef(STORAGE, "nobody"))
    for purpose in purposes:
        mine = [ref for ref in plain.all_blobs if ref.purpose == purpose]
        assert list(index.refs(purpose)) == sorted(mine, key=lambda ref: ref.client_label)
        assert list(index.clients(purpose)) == [ref.client for ref in index.refs(purpose)]
    for ref, blobs in plain.all_blobs.items():
        assert index.has(ref)
        assert index.blobs(ref) == dict(blobs.values())
        assert index.ring(ref) == plain.ring(ref)
        assert index.ring(ref) is index.ring(KeyRef(ref.purpose, ref.client))
        assert index.lone(ref) in (None, lone_in(index.ring(ref)))


@given(stories())
def test_whatever_happens_both_say_the_same(story: tuple[Layout, list[tuple[str, object, object]]]) -> None:
    layout, steps = story
    index, plain = Index(layout, proves), PlainIndex(layout, proves)
    for step in steps:
        before, known = index.generation, dict(plain.all_blobs)
        act(index, plain, step)
        compare(index, plain, (*PURPOSES, *OWN))
        assert index.generation > before or plain.all_blobs == known
