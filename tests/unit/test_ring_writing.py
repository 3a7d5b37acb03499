"""Key rings as blobs: what one change leaves in the file."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.rings import DESTROYED, PRE_ACTIVE, Ring
from keyfs.core.states import KeyState
from keyfs.errors import (
    KeyExists,
    KeyNotFound,
    OperationRefused,
    StoreBusy,
)
from keyfs.layout.v2 import LayoutV2
from keyfs.store.base import Replacement
from keyfs.testing.builders import EVERY_REF, NOON_NS, STORAGE, STORAGE_SYM, new_material, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import (
    PATH,
    RING,
    YEAR_NS,
    put_ring,
    ring_at,
    ring_key,
    ring_store,
    rings_in_memory,
)


@pytest.fixture
def medium() -> Medium:
    return Medium()


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
    with pytest.raises(OperationRefused, match="Acra then reads only the current one of its 3 versions"):
        keys.writer.destroy(STORAGE, "2")
    keys.writer.destroy(STORAGE, "2", is_forced=True)
    after = ring_at(medium, "client/alice/storage").keys[1]
    assert (after.seqnum, after.state, after.data) == (2, DESTROYED, ())
    assert (after.since_ns, after.until_ns) == (before.since_ns, before.until_ns)
    keys = rings_in_memory(medium)
    assert keys.versions(STORAGE) == ["1", "2", CURRENT]
    assert keys.keys.ring(STORAGE).version("2").state is KeyState.DESTROYED
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
