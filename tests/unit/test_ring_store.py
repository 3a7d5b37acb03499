"""Key rings as blobs: what is read of them, what is a stray, and how changes made by others are noticed."""

from dataclasses import replace

import pytest

from keyfs.core.names import CURRENT, Half, parse_key_ref
from keyfs.core.rings import NO_CURRENT, KeyData, Ring
from keyfs.errors import (
    KeyNotFound,
    MasterKeyUnavailable,
    RingInvalid,
)
from keyfs.layout.v2 import LayoutV2
from keyfs.layout.v2_names import is_pair
from keyfs.seal.rings import SignedRings
from keyfs.store.rings import RingStore
from keyfs.testing.builders import STORAGE, STORAGE_SYM, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import (
    PATH,
    RING,
    SINCE_NS,
    YEAR_NS,
    codec,
    put_ring,
    ring_at,
    ring_store,
    rings_in_memory,
)


@pytest.fixture
def medium() -> Medium:
    return Medium()


def listed(medium: Medium) -> dict[str, str]:
    return dict(rings_in_memory(medium).keys.index.strays)


# --- reading ---


def test_reading_takes_no_lock(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE_SYM)
    with medium.foreign, medium.writers:
        assert len(rings_in_memory(medium).secret(STORAGE_SYM)) == 32


def test_a_blob_keeps_its_identity_whatever_happens_to_others(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE_SYM)
    first = keys.store.stat(f"{RING}#1")
    keys.writer.rotate(STORAGE_SYM)
    assert keys.store.stat(f"{RING}#1") == first
    assert first is not None
    assert first.identity != keys.store.list_all().blobs[f"{RING}#2"].identity


def test_all_ways_to_the_facts_agree(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE)
    keys.writer.rotate(STORAGE)
    blobs = keys.store.list_all().blobs
    ring_name = "client/alice/storage.keyring"
    assert blobs == keys.store.list_under(ring_name) == keys.store.stat_many(blobs)
    assert {name: keys.store.get(name).stat for name in blobs} == blobs
    assert set(blobs) == {ring_name, *(f"{ring_name}{half}#{n}" for half in ("", ".pub") for n in (1, 2))}
    assert keys.store.stat(f"{ring_name}#3") is None
    assert keys.store.list_under("client/nobody/storage.keyring") == {}


def test_the_formats_own_files_are_neither_keys_nor_strays(medium: Medium) -> None:
    medium.put("version", b"Acra Keystore v2")
    medium.put(".lock", b"")
    store = ring_store(MemoryStore(medium))
    found = store.list_all()
    assert (found.blobs, found.strays, store.stat(".lock")) == ({}, {}, None)
    assert isinstance(store.get_many(["version"])["version"], KeyNotFound)


def test_what_is_no_key_is_a_stray_with_its_reason(medium: Medium) -> None:
    names = (
        "README.md",
        "client/alice/notes.keyring",
        "client/abc/storage.keyring",
        "zone/z/storage.keyring",
    )
    for name in names[1:]:
        put_ring(medium, name.removesuffix(".keyring"), Ring(b""))
    medium.put(names[0], b"hello")
    medium.put("client/alice/storage.keyring#1", b"a file")
    medium.put("client/alice/hmac-sym.keyring", b"no ring")
    assert listed(medium) == {
        "README.md": "its name is not that of a key ring",
        "client/alice/notes.keyring": "its path is not that of a key's ring",
        "client/abc/storage.keyring": "its path is not that of a key's ring",
        "zone/z/storage.keyring": "legacy key ring, which is not shown in layout v2",
        "./client/alice/storage.keyring#1": "a file that is called as a version in a key ring",
        "client/alice/hmac-sym.keyring": listed(medium)["client/alice/hmac-sym.keyring"],
    }
    assert "no key ring as Acra writes them" in listed(medium)["client/alice/hmac-sym.keyring"]


def test_a_ring_of_another_path_does_not_verify(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE_SYM)
    medium.put("client/bobby/storage-sym.keyring", medium.blobs[RING].data)
    keys = rings_in_memory(medium)
    assert list(keys.keys.index.strays) == ["client/bobby/storage-sym.keyring"]
    with pytest.raises(RingInvalid, match="its signature is wrong"):
        keys.keys.ring(parse_key_ref("storage-sym/bobby"))


def test_each_of_several_signature_keys_verifies_and_the_first_signs(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE_SYM)
    new = b"n" * 32
    keys = on_store(ring_store(MemoryStore(medium), new, bytes(range(33, 65))), layout=LayoutV2())
    keys.writer.rotate(STORAGE_SYM)
    assert codec(new).open(PATH, medium.blobs[RING].data).current == 2
    with pytest.raises(RingInvalid):
        ring_at(medium, PATH)


def test_without_a_master_key_rings_are_listed_and_not_read(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE)
    store = RingStore(MemoryStore(medium), SignedRings(None), is_pair)
    assert len(store.list_all().blobs) == 3
    for name in ("client/alice/storage.keyring#1", "client/alice/storage.keyring.pub#1"):
        with pytest.raises(MasterKeyUnavailable):
            store.get(name)
    with store.lock(), pytest.raises(MasterKeyUnavailable):
        store.delete(["client/alice/storage.keyring#1", "client/alice/storage.keyring.pub#1"])


# --- changes made by others ---


def test_a_change_of_the_ring_is_noticed_as_what_it_changes(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE_SYM)
    watching = rings_in_memory(medium)
    watch = watching.keys.watch()
    rings_in_memory(medium).writer.rotate(STORAGE_SYM)
    changed = {(slot.stamp, slot.half) for slot in watching.keys.refresh()}
    assert changed == {(None, Half.SECRET), ("2", Half.SECRET)}
    assert watching.versions(STORAGE_SYM) == ["1", CURRENT]
    medium.set(RING, None)
    changed = {(slot.stamp, slot.half) for slot in watching.keys.refresh()}
    assert changed == {(None, Half.SECRET), ("1", Half.SECRET), ("2", Half.SECRET)}
    with pytest.raises(KeyNotFound):
        watching.versions(STORAGE_SYM)
    watch.close()


def test_a_ring_that_is_tampered_with_becomes_a_stray_and_comes_back(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE_SYM)
    good = medium.blobs[RING].data
    watching = rings_in_memory(medium)
    watch = watching.keys.watch()
    medium.put(RING, good[:-1] + bytes([good[-1] ^ 1]))
    watching.keys.refresh()
    assert list(watching.keys.index.strays) == [RING]
    with pytest.raises(RingInvalid, match="its signature is wrong"):
        watching.secret(STORAGE_SYM)
    medium.put(RING, good)
    watching.keys.refresh()
    assert not watching.keys.index.strays
    assert len(watching.secret(STORAGE_SYM)) == 32
    watch.close()


def test_two_writers_lose_no_version(medium: Medium) -> None:
    one, other = rings_in_memory(medium), rings_in_memory(medium)
    one.writer.import_material(STORAGE_SYM, b"1" * 32)
    other.writer.import_material(STORAGE_SYM, b"2" * 32)
    one.writer.import_material(STORAGE_SYM, b"3" * 32)
    assert rings_in_memory(medium).values(STORAGE_SYM) == [b"1" * 32, b"2" * 32, b"3" * 32]


def test_a_half_is_rewritten_in_its_place(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE)
    name = "client/alice/storage.keyring#1"
    old, before = keys.store.get(name).data, ring_at(medium, "client/alice/storage").keys[0]
    with keys.store.lock():
        assert not keys.store.rewrite([name], b"other", b"new")
        assert keys.store.rewrite([name], old, b"new")
        assert keys.store.rewrite([name], old, b"new")
        assert not keys.store.rewrite([name.replace("#1", "#2")], old, b"new")
        assert not keys.store.rewrite([name.replace("alice", "nobody")], old, b"new")
    after = ring_at(medium, "client/alice/storage").keys[0]
    assert after.data == (KeyData(1, before.public, b"new"),)
    assert replace(after, data=before.data, raw=before.raw) == before


def test_rings_of_a_year_that_cannot_be_written_are_refused_by_nobody(medium: Medium) -> None:
    """A UTCTime ends in 2049: what is later is written as its last second."""
    keys = rings_in_memory(medium)
    keys.clock.now_ns = SINCE_NS + 40 * YEAR_NS
    keys.writer.generate(STORAGE_SYM)
    [key] = ring_at(medium, PATH).keys
    assert key.since_ns == key.until_ns


def test_an_empty_ring_has_no_current_version(medium: Medium) -> None:
    put_ring(medium, PATH, Ring(PATH.encode()))
    assert ring_at(medium, PATH).current == NO_CURRENT
    with pytest.raises(KeyNotFound):
        rings_in_memory(medium).secret(STORAGE_SYM)
