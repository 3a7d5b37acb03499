"""Key rings as blobs: what is read of them, what is a stray, and what one change leaves in the file."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.rings import DESTROYED, NO_CURRENT, PRE_ACTIVE, KeyData, Ring
from keyfs.errors import (
    KeyExists,
    KeyNotFound,
    MasterKeyUnavailable,
    OperationRefused,
    RingInvalid,
    StoreBusy,
)
from keyfs.layout.v2 import LayoutV2
from keyfs.layout.v2_names import is_pair
from keyfs.seal.rings import SignedRings
from keyfs.store.base import Replacement
from keyfs.store.rings import RingStore
from keyfs.testing.builders import EVERY_REF, NOON_NS, STORAGE, STORAGE_SYM, new_material, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import (
    SINCE_NS,
    YEAR_NS,
    codec,
    put_ring,
    ring_at,
    ring_key,
    ring_store,
    rings_in_memory,
)

PATH = "client/alice/storage-sym"
RING = f"{PATH}.keyring"


@pytest.fixture
def medium() -> Medium:
    return Medium()


def listed(medium: Medium) -> dict[str, str]:
    return dict(rings_in_memory(medium).keys.index.strays)


# --- writing ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_each_rotation_adds_a_version_that_is_current(medium: Medium, ref: KeyRef) -> None:
    keys = rings_in_memory(medium)
    materials = [new_material(ref, fill) for fill in (1, 2, 3)]
    for material in materials:
        keys.writer.import_material(ref, material)
    assert keys.versions(ref) == ["1", "2", CURRENT]
    assert [keys.secret(ref, version) for version in ("1", "2", "3")] == materials
    assert keys.secret(ref) == materials[-1]
    assert rings_in_memory(medium).values(ref) == materials


def test_what_is_written_is_what_acra_writes(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    first, second = keys.writer.generate(STORAGE_SYM), keys.writer.rotate(STORAGE_SYM)
    assert (first.number, second.number) == ("1", "2")
    ring = ring_at(medium, PATH)
    assert (ring.purpose, ring.current) == (PATH.encode(), 2)
    assert [(key.seqnum, key.state) for key in ring.keys] == [(1, PRE_ACTIVE), (2, PRE_ACTIVE)]
    for key in ring.keys:
        assert key.until_ns - key.since_ns == YEAR_NS
        [data] = key.data
        assert (data.format, data.public, data.private) == (3, None, None)
    assert medium.blobs[RING].stat.mode == 0o600
    assert set(medium.blobs) == {RING}


def test_a_pair_is_one_element_with_both_halves(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE)
    [key] = ring_at(medium, "client/alice/storage").keys
    [data] = key.data
    assert (data.format, data.symmetric) == (1, None)
    assert data.public == keys.public(STORAGE) == keys.public(STORAGE, "1")
    keys.writer.rotate(STORAGE)
    keys_again = rings_in_memory(medium)
    keys_again.assert_sound(STORAGE)


def test_generate_refuses_what_is_there_and_rotate_what_is_not(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    with pytest.raises(KeyNotFound):
        keys.writer.rotate(STORAGE_SYM)
    assert not medium.blobs
    keys.writer.generate(STORAGE_SYM)
    with pytest.raises(KeyExists):
        keys.writer.generate(STORAGE_SYM)


def test_an_empty_ring_gets_its_first_version(medium: Medium) -> None:
    put_ring(medium, PATH, Ring(PATH.encode()))
    keys = rings_in_memory(medium)
    assert keys.versions(STORAGE_SYM) == []
    keys.writer.generate(STORAGE_SYM)
    assert ring_at(medium, PATH).current == 1


def test_what_was_read_is_written_again_as_it_was(medium: Medium) -> None:
    """Bytes of versions that do not change, elements that nobody knows, and a purpose of another text."""
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE_SYM)
    odd = replace(ring_at(medium, PATH), purpose=b"another", rest=(b"\x02\x01\x07",))
    put_ring(medium, PATH, odd)
    before = ring_at(medium, PATH)
    rings_in_memory(medium).writer.rotate(STORAGE_SYM)
    after = ring_at(medium, PATH)
    assert (after.purpose, after.rest) == (b"another", (b"\x02\x01\x07",))
    assert after.keys[0].raw == before.keys[0].raw


def test_a_version_that_acra_added_and_did_not_make_current_is_readable_and_passed_over(
    medium: Medium,
) -> None:
    keys = rings_in_memory(medium)
    keys.writer.import_material(STORAGE_SYM, b"1" * 32)
    keys.writer.import_material(STORAGE_SYM, b"2" * 32)
    put_ring(
        medium, PATH, replace(ring_at(medium, PATH), current=1)
    )  # as after the first of Acra's two writes
    keys = rings_in_memory(medium)
    assert keys.versions(STORAGE_SYM) == ["2", CURRENT]
    assert (keys.secret(STORAGE_SYM), keys.secret(STORAGE_SYM, "2")) == (b"1" * 32, b"2" * 32)
    keys.writer.import_material(STORAGE_SYM, b"3" * 32)
    assert keys.versions(STORAGE_SYM) == ["1", "2", CURRENT]
    assert (keys.secret(STORAGE_SYM, "3"), ring_at(medium, PATH).current) == (b"3" * 32, 3)


def test_numbers_sort_as_numbers(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    for fill in range(11):
        keys.writer.import_material(STORAGE_SYM, bytes([fill]) * 32)
    assert keys.versions(STORAGE_SYM) == [*map(str, range(1, 11)), CURRENT]


def test_a_stale_temporary_blocks_nobody_and_is_set_aside(medium: Medium) -> None:
    medium.put(f"{RING}.new", b"half of a ring")
    keys = rings_in_memory(medium)
    assert keys.keys.index.strays == {f"{RING}.new": "left-over temporary of an interrupted write"}
    keys.writer.generate(STORAGE_SYM)
    assert set(medium.blobs) == {RING}
    assert [blob.data for blob in medium.aside] == [b"half of a ring"]


def test_a_destroyed_version_keeps_number_and_dates_and_others_stay_readable(medium: Medium) -> None:
    """Acra reads no list of a ring with such a version; keyfs is kinder."""
    keys = rings_in_memory(medium)
    for fill in (1, 2, 3):
        keys.writer.import_material(STORAGE, new_material(STORAGE, fill))
    before = ring_at(medium, "client/alice/storage").keys[1]
    keys.writer.destroy(STORAGE, "2")
    after = ring_at(medium, "client/alice/storage").keys[1]
    assert (after.seqnum, after.state, after.data) == (2, DESTROYED, ())
    assert (after.since_ns, after.until_ns) == (before.since_ns, before.until_ns)
    keys = rings_in_memory(medium)
    assert keys.versions(STORAGE) == ["1", "2", CURRENT]
    assert keys.keys.ring(STORAGE).version("2").state == DESTROYED
    for half in Half:
        with pytest.raises(KeyNotFound, match="was destroyed"):
            keys.keys.read(STORAGE, "2", half)
    with pytest.raises(KeyNotFound, match="was destroyed"):
        keys.store.get("client/alice/storage.keyring#2")
    assert len(keys.secret(STORAGE, "1")) == 45
    keys.writer.rotate(STORAGE)
    assert ring_at(medium, "client/alice/storage").current == 4


def test_what_is_current_is_not_destroyed_by_its_number_either(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE_SYM)
    for version in ("1", CURRENT):
        with pytest.raises(OperationRefused):
            keys.writer.destroy(STORAGE_SYM, version)
    with pytest.raises(KeyNotFound):
        keys.writer.destroy(STORAGE_SYM, "2")


def test_a_destroyed_number_is_not_filled_again(medium: Medium) -> None:
    put_ring(medium, PATH, Ring(PATH.encode(), (ring_key(1, DESTROYED),), 1))
    store = ring_store(MemoryStore(medium))
    with store.lock(), pytest.raises(OperationRefused, match="was destroyed"):
        store.supersede([Replacement(f"{RING}#1", b"x", 0o600, NOON_NS, None)])


def test_a_destroyed_current_version_gives_way_to_the_next(medium: Medium) -> None:
    put_ring(medium, PATH, Ring(PATH.encode(), (ring_key(1, DESTROYED),), 1))
    keys = rings_in_memory(medium)
    with pytest.raises(KeyNotFound, match="was destroyed"):
        keys.secret(STORAGE_SYM)
    keys.writer.rotate(STORAGE_SYM)
    assert ring_at(medium, PATH).current == 2
    assert len(keys.secret(STORAGE_SYM)) == 32


def test_one_half_alone_is_not_removed(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE)
    keys.writer.rotate(STORAGE)
    with keys.store.lock(), pytest.raises(OperationRefused):
        keys.store.delete(["client/alice/storage.keyring.pub#1"])
    keys.assert_sound(STORAGE)


def test_only_rings_are_written(medium: Medium) -> None:
    store = ring_store(MemoryStore(medium))
    for name in (
        "version",
        "alice_storage",
        "client/alice/storage.keyring",
        "client/alice/storage.keyring#0",
    ):
        with store.lock(), pytest.raises(OperationRefused):
            store.supersede([Replacement(name, b"x", 0o600, NOON_NS, None)])
    assert not medium.blobs


def test_a_part_of_a_ring_is_not_set_aside(medium: Medium) -> None:
    rings_in_memory(medium).writer.generate(STORAGE_SYM)
    with pytest.raises(OperationRefused):
        ring_store(MemoryStore(medium)).set_aside(f"{RING}#1")


def test_a_lock_that_ended_keeps_the_change_from_being_written(medium: Medium) -> None:
    class Lost:
        def demand(self) -> None:
            raise StoreBusy("ended")

    class Losing(MemoryStore):
        @contextmanager
        def foreign_lock(self, name: str):  # type: ignore[no-untyped-def]  # of a test
            yield Lost()

    keys = on_store(ring_store(Losing(medium)), layout=LayoutV2())
    with pytest.raises(StoreBusy):
        keys.writer.generate(STORAGE_SYM)
    assert not medium.blobs


def test_the_foreign_lock_is_held_from_the_look_to_the_switch(medium: Medium) -> None:
    keys = rings_in_memory(medium)
    held: list[bool] = []
    for method in ("list_under", "supersede"):
        keys.store.before(method, lambda: held.append(medium.foreign.locked()), call=None)
    keys.writer.generate(STORAGE_SYM)
    assert len(held) >= 2
    assert all(held)
    assert not medium.foreign.locked()


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
