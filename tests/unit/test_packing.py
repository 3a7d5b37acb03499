"""Rows: what was packed comes out again, whatever the names look like; facts, too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.packing import Packing
from keyfs.broker.ring_cache import RowCache, weight_of_ring
from keyfs.core.names import Half, KeyRef
from keyfs.core.purposes import POISON_RECORD, PURPOSES, STORAGE, Purpose
from keyfs.layout.base import KeyRing, KeyVersion, Slot
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import BlobStat, Listing, Page, Pages
from keyfs.store.facts import DIGEST_SIZE, pack, pack_digest, page_of, unpack, whole

texts = st.text(st.characters(codec="utf-8"), max_size=8) | st.text("ab/.", max_size=5)
identities = texts | st.binary(max_size=20).map(bytes.hex) | st.text("0aA \udc80", max_size=6)
numbers = st.integers(0, 10**21)
stats = st.builds(BlobStat, numbers, st.none() | st.integers(-(10**21), 10**21), numbers, identities)
refs = st.builds(KeyRef, st.just(STORAGE), st.none() | st.text("ab", min_size=1, max_size=2))


@given(stats)
def test_facts_are_what_they_were(stat: BlobStat) -> None:
    assert unpack(pack(stat)) == stat


@given(stats, stats)
def test_equal_facts_are_equal_bytes(one: BlobStat, other: BlobStat) -> None:
    assert (pack(one) == pack(other)) == (one == other)


@given(stats, st.binary(min_size=DIGEST_SIZE, max_size=2 * DIGEST_SIZE))
def test_a_hash_is_packed_as_its_digits_are(stat: BlobStat, digest: bytes) -> None:
    same = BlobStat(stat.size, stat.mtime_ns, stat.mode, digest[:DIGEST_SIZE].hex())
    assert pack_digest(stat.size, stat.mtime_ns, stat.mode, digest) == pack(same)


@given(st.dictionaries(texts, stats), st.dictionaries(texts, texts))
def test_pages_come_to_a_listing(blobs: dict[str, BlobStat], strays: dict[str, str]) -> None:
    def pages() -> Pages:
        yield Page({}, {})
        yield page_of(Listing(blobs, {}))
        yield page_of(Listing({}, strays))

    assert whole(pages()) == Listing(blobs, strays)


@given(refs, st.lists(st.tuples(st.sampled_from(Half), st.none() | st.text("ab1", min_size=1), texts, stats)))
def test_a_row_is_all_its_blobs(ref: KeyRef, found: list[tuple[Half, str | None, str, BlobStat]]) -> None:
    """Whether or not a name has the client, or the stamp, in it: no layout is assumed."""
    packing = Packing()
    blobs = {Slot(ref, half, stamp): (name, stat) for half, stamp, name, stat in found}
    assert packing.blobs(ref, packing.row(blobs)) == blobs


@given(refs, st.lists(st.tuples(st.sampled_from(Half), st.none() | st.text("ab1", min_size=1), texts, stats)))
def test_the_sole_blob_without_a_stamp_is_told_as_such(
    ref: KeyRef, found: list[tuple[Half, str | None, str, BlobStat]]
) -> None:
    packing = Packing()
    blobs = {Slot(ref, half, stamp): (name, stat) for half, stamp, name, stat in found[:2]}
    for some in (blobs, dict(list(blobs.items())[:1])):
        soles = [(slot.half, *blob) for slot, blob in some.items() if slot.stamp is None and len(some) == 1]
        assert not some or packing.sole(ref, packing.row(some)) == next(iter(soles), None)


@given(st.sampled_from(PURPOSES), st.sampled_from(Half), texts, stats)
def test_a_ring_of_one_blob_is_the_ring_of_that_blob(
    purpose: Purpose, half: Half, name: str, stat: BlobStat
) -> None:
    layout, ref = LayoutV1(legacy=True), KeyRef(purpose, None if purpose.is_global else "alice1")
    parts = [part for part in layout.ring_of_one(ref, half, name, stat).versions[0][1:3] if part is not None]
    assert [(part.name, part.stat) for part in parts] == [(name, stat)]
    assert layout.ring_of_one(ref, half, name, stat) == layout.ring(
        ref, {Slot(ref, half, None): (name, stat)}
    )


def test_the_later_of_two_entries_counts() -> None:
    packing, ref = Packing(), KeyRef(POISON_RECORD, None)
    slot = Slot(ref, Half.PUBLIC, None)
    stats = [BlobStat(45, None, 0o600, identity) for identity in ("aa", "bb")]
    row = b"".join(packing.row({slot: ("name", stat)}) for stat in stats)
    assert packing.blobs(ref, row) == {slot: ("name", stats[1])}


# --- the rings that are kept ---


def ring_of(ref: KeyRef, versions: int = 1) -> KeyRing:
    return KeyRing(ref, tuple(KeyVersion(str(number), None, None, None, None) for number in range(versions)))


def client(number: int) -> KeyRef:
    return KeyRef(STORAGE, f"client-{number}")


def test_a_ring_is_kept_with_its_row() -> None:
    cache, row = RowCache(weight_of_ring), bytes(40)
    cache.put(client(1), row, ring_of(client(1)))
    assert cache.get(client(1), row) == ring_of(client(1))
    assert cache.get(client(1), bytes(bytearray(row))) is None, "an equal row is another one"
    assert cache.get(client(2), row) is None
    cache.drop(client(1))
    assert cache.get(client(1), row) is None


@pytest.mark.parametrize("versions", [0, 1, 50])
def test_only_so_many_blobs_are_kept(versions: int) -> None:
    cache, row = RowCache(weight_of_ring, limit=100), bytes(40)
    for number in range(1000):
        cache.put(client(number), row, ring_of(client(number), versions))
    kept = sum(cache.get(client(number), row) is not None for number in range(1000))
    assert 1 <= kept <= 200 / max(1, versions)


def test_what_is_used_stays() -> None:
    cache, row = RowCache(weight_of_ring, limit=100), bytes(40)
    for number in range(1000):
        cache.put(client(number), row, ring_of(client(number)))
        cache.get(client(0), row)
    assert cache.get(client(0), row) is not None


def test_an_old_ring_is_not_given_for_a_new_row() -> None:
    cache, rows = RowCache(weight_of_ring, limit=1), [bytes(40), bytes(41)]
    cache.put(client(0), rows[0], ring_of(client(0)))
    cache.put(client(1), rows[0], ring_of(client(1)))  # the first one is of the old generation now
    assert cache.get(client(0), rows[1]) is None
    cache.put(client(0), rows[1], ring_of(client(0), 2))
    assert cache.get(client(0), rows[1]) == ring_of(client(0), 2)
