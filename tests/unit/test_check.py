"""`check`: what it calls what, what a repair does about it, and that no byte is ever lost to one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import keyfs.broker.check
from keyfs.broker import check_rings
from keyfs.broker.check import check
from keyfs.broker.findings import KINDS, Finding
from keyfs.core.secret import Secret
from keyfs.errors import ReadOnly, StoreUnavailable
from keyfs.seal.keypair import generate_pair
from keyfs.store.base import STATES_BESIDE
from keyfs.testing.builders import (
    EVERY_REF,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
    new_material,
    snapshot,
)
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium

STAMP = "2026-11-24T13:00:00"
OTHER_KEY = Secret(bytes(32))


@pytest.fixture
def medium() -> Medium:
    medium = full_medium()
    made = in_memory(medium)
    for ref in EVERY_REF:
        made.writer.rotate(ref)
    return medium


def link(medium: Medium, name: str, archive: str) -> None:
    medium.set(archive, medium.blobs[name])


def leave_a_rotation_before_the_switch(medium: Medium) -> None:
    link(medium, "alice_storage", f"alice_storage.old/{STAMP}")
    link(medium, "alice_storage.pub", f"alice_storage.pub.old/{STAMP}")


def leave_a_rotation_between_the_halves(medium: Medium) -> None:
    keys = in_memory(medium)
    link(medium, "alice_storage", "alice_storage.old/2026-11-24T13:00:00")
    link(medium, "alice_storage.pub", "alice_storage.pub.old/2026-11-24T13:00:00.0001")
    medium.put("alice_storage", keys.sealed(STORAGE, generate_pair()[0].reveal()))


def spoil_a_retired_pair(medium: Medium) -> None:
    name = next(name for name in medium.blobs if name.startswith("alice_storage.pub.old/"))
    medium.put(name, generate_pair()[1])


def put_an_open_key(medium: Medium) -> None:
    medium.put("alice_storage", medium.blobs["alice_storage"].data, mode=0o644)


# What is done to a sound store, the code of what check finds, whether that is a note, whether it is mended.
Damage = Callable[[Medium], object]
CASES: dict[str, tuple[Damage, str, bool, bool]] = {
    "a file that is no key": (lambda m: m.put("notes_1.txt", b"x"), "stray", False, False),
    "a file in a history": (lambda m: m.put("alice_storage.old/x", b"x"), "stray", False, False),
    "a legacy key": (lambda m: m.put("bobby_zone", b"x"), "stray", True, False),
    "what a write left": (lambda m: m.put("alice_storage4711", b"x"), "left-over", False, True),
    "what a write of a global key left": (
        lambda m: m.put(".poison_key/poison_key_sym12", b""),
        "left-over",
        False,
        True,
    ),
    "a key without current version": (lambda m: m.set("alice_hmac", None), "no-current", True, False),
    "a damaged key": (lambda m: m.put("alice_hmac", b"x" * 76), "unreadable", False, False),
    "a damaged public half": (lambda m: m.put("alice_storage.pub", b"x"), "unreadable", False, True),
    "a key open to others": (put_an_open_key, "unreadable", False, False),
    "a rotation that stopped": (leave_a_rotation_before_the_switch, "half-done", False, True),
    "a rotation that stopped between the halves": (leave_a_rotation_between_the_halves, "pair", False, True),
    "no public half": (lambda m: m.set("alice_storage.pub", None), "pair", False, True),
    "another public half": (
        lambda m: m.put("alice_storage.pub", generate_pair()[1]),
        "pair",
        False,
        True,
    ),
    "another retired public half": (spoil_a_retired_pair, "pair", False, False),
}


def findings(keys: Keys) -> list[Finding]:
    return list(check(keys.keys, settle_s=0).findings)


def all_bytes(medium: Medium) -> set[bytes]:
    return {blob.data for blob in (*medium.blobs.values(), *medium.aside)}


def test_a_sound_store_is_clean(medium: Medium) -> None:
    report = check(in_memory(medium).keys)
    assert report.is_clean
    assert report.findings == ()
    assert report.rings == len(EVERY_REF)
    assert report.blobs == len(medium.blobs)


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_called_by_its_code(medium: Medium, case: str) -> None:
    damage, code, is_note, _ = CASES[case]
    damage(medium)
    before = snapshot(medium)
    report = check(in_memory(medium).keys, settle_s=0)
    assert code in {finding.code for finding in report.findings}
    assert {finding.is_note for finding in report.findings} == {is_note}
    assert report.is_clean is is_note
    assert snapshot(medium) == before, "looking changes nothing"


@pytest.mark.parametrize("case", CASES)
def test_a_repair_mends_what_can_be_mended(medium: Medium, case: str) -> None:
    damage, code, _, is_mended = CASES[case]
    damage(medium)
    bytes_before = all_bytes(medium)
    keys = in_memory(medium)
    report = check(keys.keys, keys.writer, settle_s=0)
    repaired = [finding for finding in report.findings if finding.is_repaired]
    assert bool(repaired) is is_mended
    assert bytes_before <= all_bytes(medium), "no byte is lost"
    after = check(in_memory(medium).keys, settle_s=0)
    if is_mended:
        assert report.is_clean
        assert after.findings == ()
    else:
        assert {code} == {finding.code for finding in (*report.findings, *after.findings)}


@pytest.mark.parametrize("case", CASES)
def test_a_repair_touches_no_key_that_was_sound(medium: Medium, case: str) -> None:
    keys = in_memory(medium)
    sound = {ref: keys.values(ref) for ref in EVERY_REF if ref.client is None}
    CASES[case][0](medium)
    keys = in_memory(medium)
    check(keys.keys, keys.writer, settle_s=0)
    again = in_memory(medium)
    assert {ref: again.values(ref) for ref in sound} == sound


def test_a_repair_leaves_all_versions_readable(medium: Medium) -> None:
    leave_a_rotation_between_the_halves(medium)
    keys = in_memory(medium)
    before = keys.values(STORAGE)
    check(keys.keys, keys.writer, settle_s=0)
    assert keys.values(STORAGE) == before
    keys.assert_sound(STORAGE)


def test_a_left_over_is_mended_in_the_legacy_view_too(medium: Medium) -> None:
    """There its name could be that of a legacy key, but it opens as none."""
    medium.put("alice_storage4711", b"x")
    keys = in_memory(medium, legacy=True)
    report = check(keys.keys, keys.writer, settle_s=0)
    assert [(f.code, f.is_repaired) for f in report.findings] == [("left-over", True)]
    assert "alice_storage4711" not in medium.blobs
    assert [blob.data for blob in medium.aside] == [b"x"]


def test_where_is_said(medium: Medium) -> None:
    medium.put("alice_hmac", b"x" * 76)
    leave_a_rotation_before_the_switch(medium)
    where = {(finding.code, finding.where) for finding in findings(in_memory(medium))}
    assert ("unreadable", "hmac-sym/alice/current") in where
    assert ("half-done", f"alice_storage.old/{STAMP}") in where


def test_every_ring_is_reported_as_it_is_done(medium: Medium) -> None:
    seen: list[tuple[int, int]] = []
    check(in_memory(medium).keys, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(EVERY_REF)) for number in range(1, len(EVERY_REF) + 1)]


def test_what_was_destroyed_meanwhile_is_no_fault(medium: Medium) -> None:
    keys = in_memory(medium)
    in_memory(medium).writer.destroy(STORAGE_SYM, keys.versions(STORAGE_SYM)[0])
    assert check(keys.keys).is_clean


def test_a_store_that_fails_ends_the_check(medium: Medium) -> None:
    keys = in_memory(medium)
    medium.put("alice_storage4711", b"x")
    keys.keys.load()
    keys.store.before("stat", failing(StoreUnavailable("away")))
    with pytest.raises(StoreUnavailable):
        check(keys.keys, keys.writer)


# --- others at work ---


def test_a_rotation_that_ends_while_we_look_is_no_finding(medium: Medium) -> None:
    """Acra's tools take no lock: for an instant every rotation looks stopped."""
    keys = in_memory(medium)
    link(medium, "alice_storage_sym", f"alice_storage_sym.old/{STAMP}")
    keys.keys.load()

    def finish() -> None:
        medium.put("alice_storage_sym", keys.sealed(STORAGE_SYM, new_material(STORAGE_SYM, 9)))

    keys.store.after("list_under", finish, 2)
    assert check(keys.keys, keys.writer, settle_s=3600 * 24 * 365 * 100).is_clean
    assert keys.secret(STORAGE_SYM) == new_material(STORAGE_SYM, 9)
    assert len(keys.versions(STORAGE_SYM)) == 3
    assert not medium.aside


def test_a_key_that_is_gone_when_we_look_closer_is_no_finding(medium: Medium) -> None:
    leave_a_rotation_before_the_switch(medium)
    keys = in_memory(medium)

    def destroy() -> None:
        for name in [name for name in medium.blobs if name.startswith("alice_storage")]:
            medium.set(name, None)

    keys.store.before("stat", destroy)
    assert [f for f in check(keys.keys, settle_s=0).findings if "storage/alice" in f.where] == []


def test_a_left_over_that_goes_away_before_the_repair_is_not_missed(medium: Medium) -> None:
    medium.put("alice_storage_sym4711", b"")
    keys = in_memory(medium)
    keys.store.before("lock", lambda: medium.set("alice_storage_sym4711", None))
    assert check(keys.keys, keys.writer, settle_s=0).is_clean
    assert not keys.keys.index.strays
    assert not medium.aside


def test_a_public_half_alone_is_checked_too(medium: Medium) -> None:
    name = next(name for name in medium.blobs if name.startswith("alice_storage.old/"))
    medium.set(name, None)
    assert check(in_memory(medium).keys, settle_s=0).is_clean
    public = next(name for name in medium.blobs if name.startswith("alice_storage.pub.old/"))
    medium.put(public, b"x")
    assert [finding.code for finding in findings(in_memory(medium))] == ["unreadable"]


def test_a_temporary_file_of_a_living_program_is_left_alone(medium: Medium) -> None:
    medium.put("alice_storage_sym4711", b"", mtime_ns=1 << 62)
    keys = in_memory(medium)
    keys.store.after("stat", lambda: medium.set("alice_storage_sym4711", None), 2)
    assert check(keys.keys, keys.writer, settle_s=3600).is_clean
    assert not medium.aside


def test_an_orphan_that_a_writer_takes_up_is_not_set_aside(medium: Medium) -> None:
    link(medium, "alice_storage_sym", f"alice_storage_sym.old/{STAMP}")
    keys, other = in_memory(medium), in_memory(medium)
    expected = other.values(STORAGE_SYM)
    keys.store.before("lock", lambda: other.writer.rotate(STORAGE_SYM))
    check(keys.keys, keys.writer, settle_s=0)
    assert not medium.aside
    assert in_memory(medium).values(STORAGE_SYM) == [*expected, other.secret(STORAGE_SYM)]


@pytest.mark.expects_log("states.unreadable")
def test_damaged_states_are_told_where_nothing_can_be_locked(medium: Medium) -> None:
    """As on a medium that is read-only."""
    keys = in_memory(medium)
    keys.store.write_beside(STATES_BESIDE, b"{")
    keys.keys.load()
    keys.store.before("lock", failing(ReadOnly("read-only")))
    assert [finding.code for finding in check(keys.keys).findings] == ["states-damaged"]


def test_each_code_in_the_table_is_used_and_each_that_is_used_is_in_the_table() -> None:
    package = Path(keyfs.broker.check.__file__).parent
    source = "".join(path.read_text() for path in package.glob("check*.py"))
    made = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source)) | set(re.findall(r'"(ring-[a-z]+)"', source))
    assert made | {check_rings.EMPTY} == set(KINDS)
