"""The index: names to rings, kept true blob by blob, and only as new as it says."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.index import Index
from keyfs.core.names import KeyRef
from keyfs.core.purposes import AUDIT_LOG, LEGACY_CONNECTOR, LEGACY_ZONE, STORAGE, STORAGE_SYM
from keyfs.errors import KeyNotFound, StoreUnavailable
from keyfs.layout.base import Slot
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import BlobStat, Listing, Page
from keyfs.store.facts import page_of

ALICE, ALICE_SYM = KeyRef(STORAGE, "alice"), KeyRef(STORAGE_SYM, "alice")
BOBBY = KeyRef(STORAGE, "bobby")
STAMP = "2026-11-24T02:46:25.5"
NAMES = [
    *("alice_storage", "alice_storage.pub", f"alice_storage.old/{STAMP}", f"alice_storage.pub.old/{STAMP}"),
    *("alice_storage_sym", f"alice_storage_sym.old/{STAMP}", "bobby_storage", "secure_log_key"),
    *(".poison_key/poison_key", "notes_1.txt", "alice_storage.old/x", "alice_storage123", "deep/er/file"),
]


def stat(identity: str = "1", size: int = 89) -> BlobStat:
    return BlobStat(size, 1_795_488_385_000_000_000, 0o600, identity)


def never_asked(_name: str, _slots: tuple[Slot, ...]) -> Slot | None:
    raise AssertionError("modern names need no proof")


def new_index() -> Index:
    return Index(LayoutV1(), never_asked)


def loaded(*names: str) -> Index:
    index = new_index()
    index.load([paged({name: stat(name) for name in names}, {})])
    return index


def paged(blobs: dict[str, BlobStat], strays: dict[str, str]) -> Page:
    return page_of(Listing(blobs, strays))


def view(index: Index) -> tuple[dict[KeyRef, list[str]], dict[str, str]]:
    """All that an index says: parts and orphans by ring, and strays."""
    rings = {}
    for ref in index.refs():
        ring = index.ring(ref)
        parts = [part for v in ring.versions for part in (v.secret, v.public) if part is not None]
        rings[ref] = sorted([*(f"{part.name} {part.stat.identity}" for part in parts), *ring.orphans])
    return rings, index.strays


def test_a_listing_becomes_rings_and_strays() -> None:
    index = loaded("alice_storage", "alice_storage.pub", "notes_1.txt")
    assert [version.id for version in index.ring(ALICE).versions] == ["current"]
    assert list(index.strays) == ["notes_1.txt"]
    assert len(index) == 1


def test_what_the_store_calls_a_stray_stays_one() -> None:
    index = new_index()
    index.load([paged({}, {"link": "not a regular file"})])
    assert index.strays == {"link": "not a regular file"}


def test_a_second_listing_replaces_the_first() -> None:
    index = loaded("alice_storage", "notes_1.txt")
    index.load([paged({"alice_storage_sym": stat()}, {})])
    assert list(index.refs()) == [ALICE_SYM]
    assert not index.strays


def test_a_ring_is_built_once_for_the_same_blobs() -> None:
    index = loaded("alice_storage")
    ring = index.ring(ALICE)
    assert index.ring(ALICE) is ring
    index.apply("alice_storage_sym", stat())
    assert index.ring(ALICE) is ring
    index.apply("alice_storage", stat("2"))
    assert index.ring(ALICE) is not ring


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.sampled_from("123")), max_size=30))
def test_changes_one_by_one_come_to_what_a_listing_says(changes: list[tuple[str, bool, str]]) -> None:
    index, blobs = new_index(), dict[str, BlobStat]()
    for name, is_there, identity in changes:
        before, known = index.generation, view(index)
        if is_there:
            blobs[name] = stat(identity)
        else:
            blobs.pop(name, None)
        index.apply(name, blobs.get(name))
        if LayoutV1().slots(name) and view(index) != known:
            assert index.generation > before
    listed = new_index()
    listed.load([paged(blobs, {})])
    assert view(index) == view(listed)


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_replacing_one_ring_leaves_the_others(before: set[str], now: set[str]) -> None:
    index = loaded(*before)
    rings, _ = view(index)
    index.replace(ALICE, {name: stat(f"new {name}") for name in now})
    after, _ = view(index)
    mine = {name for name in now if any(slot.ref == ALICE for slot in LayoutV1().slots(name))}
    assert after.pop(ALICE, []) == sorted(f"{name} new {name}" for name in mine)
    rings.pop(ALICE, None)
    assert after == rings


def test_a_ring_whose_last_blob_goes_is_gone() -> None:
    index = loaded("alice_storage")
    index.apply("alice_storage", None)
    with pytest.raises(KeyNotFound, match="storage/alice"):
        index.ring(ALICE)
    assert len(index) == 0


def test_a_stray_that_goes_away_is_forgotten() -> None:
    index = loaded("notes_1.txt")
    index.apply("notes_1.txt", None)
    assert not index.strays


def test_refs_can_be_those_of_one_purpose() -> None:
    index = loaded("alice_storage", "alice_storage_sym", "bobby_storage")
    assert set(index.refs(STORAGE)) == {ALICE, KeyRef(STORAGE, "bobby")}
    assert set(index.refs()) == {ALICE, ALICE_SYM, KeyRef(STORAGE, "bobby")}


def test_clients_are_sorted_and_the_same_object_until_one_comes_or_goes() -> None:
    index = loaded("bobby_storage", "alice_storage", "carol_storage_sym")
    before = index.clients(STORAGE)
    assert list(before) == ["alice", "bobby"]
    index.apply("alice_storage", stat("2"))
    index.apply(f"alice_storage.old/{STAMP}", stat("1"))
    index.apply("carol_storage_sym", None)
    assert index.clients(STORAGE) is before
    index.apply("carol_storage", stat())
    assert list(index.clients(STORAGE)) == ["alice", "bobby", "carol"]
    index.apply("alice_storage", None)
    index.apply(f"alice_storage.old/{STAMP}", None)
    index.apply("aaron_storage", stat())
    assert list(index.clients(STORAGE)) == ["aaron", "bobby", "carol"]
    assert list(before) == ["alice", "bobby"], "who reads it may still do so"


def test_a_key_without_a_client_is_in_its_purpose() -> None:
    index = loaded("secure_log_key")
    assert list(index.clients(AUDIT_LOG)) == [None]
    assert list(index.refs(AUDIT_LOG)) == [KeyRef(AUDIT_LOG, None)]
    assert list(index.clients(STORAGE)) == []


def test_clients_that_come_while_others_are_put_in_order_are_not_forgotten() -> None:
    """Readers take no lock: what a reader orders may be old when it is done, but is not kept then."""
    index, stop = loaded("alice_storage"), threading.Event()

    def read() -> None:
        while not stop.is_set():
            index.clients(STORAGE)

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        try:
            for number in range(2000):
                index.apply(f"client-{number}_storage", stat())
                assert f"client-{number}" in index.clients(STORAGE)
        finally:
            stop.set()
        reading.result()


def test_a_listing_that_breaks_off_changes_nothing() -> None:
    index = loaded("alice_storage", "notes_1.txt")
    known, generation = view(index), index.generation

    def pages() -> Iterator[Page]:
        yield paged({"bobby_storage": stat(), "notes_2.txt": stat()}, {"link": "not a regular file"})
        raise StoreUnavailable("gone")

    for take in (index.load, index.reload):
        with pytest.raises(StoreUnavailable):
            take(pages())
    assert (view(index), index.generation) == (known, generation)


def test_a_ring_that_a_new_listing_leaves_as_it_was_is_not_built_again() -> None:
    index = loaded("alice_storage", "bobby_storage")
    alice, bobby = index.ring(ALICE), index.ring(BOBBY)
    index.reload([paged({"bobby_storage": stat("new"), "alice_storage": stat("alice_storage")}, {})])
    assert index.ring(ALICE) is alice
    assert index.ring(BOBBY) is not bobby


def test_a_blob_that_is_listed_twice_is_what_it_was_last() -> None:
    """SCAN may name a key twice."""
    index, names = new_index(), ("alice_storage", "alice_storage.pub")
    old, new = ({name: stat(identity) for name in names} for identity in ("old", "new"))
    index.load([paged(old, {}), paged(old, {}), paged(new, {})])
    assert index.blobs(ALICE) == new
    assert len(index) == 1


# --- names that only opening the blob tells apart ---


def legacy_index(answer: KeyRef | None) -> Index:
    def prove(_name: str, slots: tuple[Slot, ...]) -> Slot | None:
        return next((slot for slot in slots if slot.ref == answer), None)

    return Index(LayoutV1(legacy=True), prove)


@pytest.mark.parametrize(
    "ref", [KeyRef(LEGACY_ZONE, "alice"), KeyRef(LEGACY_CONNECTOR, "alice_zone")], ids=str
)
def test_an_ambiguous_name_is_what_opens(ref: KeyRef) -> None:
    index = legacy_index(ref)
    index.load([paged({"alice_zone": stat()}, {})])
    assert list(index.refs()) == [ref]


def test_an_ambiguous_name_that_opens_as_nothing_is_a_stray() -> None:
    index = legacy_index(None)
    index.load([paged({"alice_zone": stat()}, {})])
    assert "opens as no legacy key" in index.strays["alice_zone"]


def test_a_blob_that_becomes_another_key_leaves_the_one_it_was() -> None:
    answers = [KeyRef(LEGACY_ZONE, "alice"), KeyRef(LEGACY_CONNECTOR, "alice_zone")]

    def prove(_name: str, slots: tuple[Slot, ...]) -> Slot | None:
        return next(slot for slot in slots if slot.ref == answers[0])

    index = Index(LayoutV1(legacy=True), prove)
    index.apply("alice_zone", stat())
    assert list(index.refs()) == answers[:1]
    answers.reverse()
    index.apply("alice_zone", stat("2"))
    assert list(index.refs()) == answers[:1]
