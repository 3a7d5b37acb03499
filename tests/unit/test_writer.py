"""`RingWriter`: what a change does, what a refused one leaves alone, and in which order it happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.writer import RingWriter, identity
from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.core.stamps import LAST_NS, parse_stamp
from keyfs.errors import (
    KeyNotFound,
    RotationConflict,
)
from keyfs.seal.containers import CONTAINER_SIZE
from keyfs.testing.builders import (
    EVERY_REF,
    NOON_NS,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
    new_material,
    snapshot,
)
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

BOBBY = parse_key_ref("storage/bobby")
PAIRS = [ref for ref in EVERY_REF if ref.purpose.is_pair]


@pytest.fixture
def medium() -> Medium:
    return full_medium()


@pytest.fixture
def keys(medium: Medium) -> Keys:
    return in_memory(medium)


# --- new versions ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_generating_makes_the_first_version(ref: KeyRef) -> None:
    keys = in_memory(Medium())
    made = keys.writer.generate(ref)
    assert made == keys.keys.ring(ref).current
    assert len(keys.secret(ref)) == (CONTAINER_SIZE if ref.purpose.is_pair else 32)
    keys.assert_sound(ref)


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_rotating_keeps_every_version_before(keys: Keys, ref: KeyRef) -> None:
    expected = keys.values(ref)
    for _ in range(4):
        keys.writer.rotate(ref)
        expected.append(keys.secret(ref))
        assert keys.values(ref) == expected
        assert len(set(expected)) == len(expected)
        keys.assert_sound(ref)
    again = in_memory(keys_medium(keys))
    assert again.values(ref) == expected


def keys_medium(keys: Keys) -> Medium:
    store = keys.store._store
    assert isinstance(store, MemoryStore)
    return store.medium


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_importing_makes_the_next_version_and_the_first(keys: Keys, ref: KeyRef) -> None:
    before, material = keys.values(ref), new_material(ref, 1)
    written = keys.writer.import_material(ref, material)
    assert written.is_new
    assert written.version == keys.keys.ring(ref).current
    assert keys.values(ref) == [*before, material]
    fresh = in_memory(Medium())
    fresh.writer.import_material(ref, material)
    assert fresh.values(ref) == [material]
    keys.assert_sound(ref)


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_the_same_bytes_make_no_version(keys: Keys, medium: Medium, ref: KeyRef) -> None:
    before = snapshot(medium)
    written = keys.writer.import_material(ref, keys.secret(ref))
    assert not written.is_new
    assert written.version == keys.keys.ring(ref).current
    assert snapshot(medium) == before


def test_a_trailing_newline_is_dropped_when_only_that_makes_a_key(keys: Keys) -> None:
    keys.writer.import_material(STORAGE_SYM, b"x" * 32 + b"\n")
    assert keys.secret(STORAGE_SYM) == b"x" * 32
    keys.writer.import_material(STORAGE_SYM, b"y" * 31 + b"\n")
    assert keys.secret(STORAGE_SYM) == b"y" * 31 + b"\n"


def test_what_cannot_be_read_is_archived_as_it_is(keys: Keys, medium: Medium) -> None:
    medium.put("alice_storage_sym", b"damaged beyond recognition")
    keys.writer.rotate(STORAGE_SYM)
    retired = keys.versions(STORAGE_SYM)[0]
    assert medium.blobs[f"alice_storage_sym.old/{retired}"].data == b"damaged beyond recognition"
    assert len(keys.secret(STORAGE_SYM)) == 32


def test_a_key_whose_current_version_is_lost_gets_one_again(keys: Keys, medium: Medium) -> None:
    keys.writer.rotate(STORAGE_SYM)
    medium.set("alice_storage_sym", None)
    with pytest.raises(KeyNotFound, match="keyfs generate"):
        keys.writer.rotate(STORAGE_SYM)
    keys.writer.generate(STORAGE_SYM)
    assert len(keys.versions(STORAGE_SYM)) == 2


def test_other_peoples_rotations_count(keys: Keys, medium: Medium) -> None:
    """What the writer knew is old: it looks at the store itself, under the lock."""
    other = in_memory(medium)
    for writer in (other.writer, keys.writer, other.writer, keys.writer):
        writer.rotate(STORAGE)
    assert len(keys.versions(STORAGE)) == 5
    keys.assert_sound(STORAGE)


def test_bytes_make_a_lost_current_version_anew(keys: Keys, medium: Medium) -> None:
    keys.writer.rotate(STORAGE_SYM)
    medium.set("alice_storage_sym", None)
    assert keys.writer.import_material(STORAGE_SYM, b"1" * 32).is_new
    assert keys.secret(STORAGE_SYM) == b"1" * 32


# --- amending ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_amending_replaces_the_version_without_a_trace(keys: Keys, ref: KeyRef) -> None:
    before = keys.values(ref)
    made = keys.writer.import_material(ref, new_material(ref, 1))
    amended = keys.writer.import_material(ref, last := new_material(ref, 2), amend=made.identity)
    assert amended.identity != made.identity
    assert keys.values(ref) == [*before, last]
    keys.assert_sound(ref)


def test_only_the_version_that_is_named_is_amended(keys: Keys) -> None:
    made = keys.writer.import_material(STORAGE_SYM, b"1" * 32)
    keys.writer.import_material(STORAGE_SYM, b"2" * 32)
    keys.writer.import_material(STORAGE_SYM, b"3" * 32, amend=made.identity)
    assert keys.values(STORAGE_SYM)[1:] == [b"1" * 32, b"2" * 32, b"3" * 32]


def test_what_was_made_from_an_older_version_is_a_conflict(keys: Keys, medium: Medium) -> None:
    base = identity(keys.keys.ring(STORAGE_SYM))
    keys.writer.rotate(STORAGE_SYM)
    before = snapshot(medium)
    with pytest.raises(RotationConflict):
        keys.writer.import_material(STORAGE_SYM, b"1" * 32, expected=base)
    assert snapshot(medium) == before
    keys.writer.import_material(STORAGE_SYM, b"1" * 32, expected=identity(keys.keys.ring(STORAGE_SYM)))
    assert keys.secret(STORAGE_SYM) == b"1" * 32


def test_what_is_current_already_is_no_conflict(keys: Keys) -> None:
    base = identity(keys.keys.ring(STORAGE_SYM))
    keys.writer.import_material(STORAGE_SYM, b"1" * 32)
    assert not keys.writer.import_material(STORAGE_SYM, b"1" * 32, expected=base).is_new


# --- destroying ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_destroying_removes_both_halves_of_one_version(keys: Keys, medium: Medium, ref: KeyRef) -> None:
    for _ in range(3):
        keys.writer.rotate(ref)
    before = dict(zip(keys.versions(ref), keys.values(ref), strict=True))
    victim = keys.versions(ref)[1]
    names = set(medium.blobs)
    keys.writer.destroy(ref, victim)
    del before[victim]
    assert dict(zip(keys.versions(ref), keys.values(ref), strict=True)) == before
    assert len(names - set(medium.blobs)) == (2 if ref.purpose.is_pair else 1)
    keys.assert_sound(ref)


def test_what_another_program_made_can_be_destroyed(keys: Keys, medium: Medium) -> None:
    """The writer looks at the store itself: it has not heard of that version yet."""
    other = in_memory(medium)
    other.writer.rotate(STORAGE)
    keys.writer.destroy(STORAGE, other.versions(STORAGE)[0])
    assert keys.versions(STORAGE) == ["current"]


# --- time ---


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
@given(clock=st.lists(st.integers(NOON_NS - 10**13, NOON_NS + 10**13), min_size=1, max_size=8))
def test_stamps_grow_whatever_the_clock_says(ref: KeyRef, clock: list[int]) -> None:
    keys = in_memory(Medium())
    times = iter(clock)
    writer = RingWriter(keys.keys, lambda: next(times))
    for number, _ in enumerate(clock):
        writer.import_material(ref, new_material(ref, number))
        keys.assert_sound(ref)
    retired = [parse_stamp(version) for version in keys.versions(ref)[:-1]]
    assert retired == sorted(set(retired))
    assert len(retired) == len(clock) - 1


def test_a_file_time_that_no_stamp_can_follow_is_not_followed(keys: Keys, medium: Medium) -> None:
    """A tmpfs takes years after 9999: the key could not be rotated any more."""
    blob = medium.blobs["alice_storage_sym"].data
    medium.put("alice_storage_sym", blob, mtime_ns=LAST_NS + 1)
    keys.writer.rotate(STORAGE_SYM)
    keys.writer.rotate(STORAGE_SYM)
    assert len(keys.versions(STORAGE_SYM)) == 3
    assert all(version.startswith("2026-11-24") for version in keys.versions(STORAGE_SYM)[:-1])


@pytest.mark.parametrize("ref", PAIRS, ids=str)
def test_a_clock_that_stands_still_keeps_halves_together(ref: KeyRef) -> None:
    keys = in_memory(Medium())
    keys.clock.step_ns = 0
    expected = []
    keys.writer.generate(ref)
    for _ in range(10):
        expected.append((keys.secret(ref), keys.public(ref)))
        keys.writer.rotate(ref)
    assert [(keys.secret(ref, v), keys.public(ref, v)) for v in keys.versions(ref)[:-1]] == expected
    keys.assert_sound(ref)
