"""`keyfs migrate` where it cannot do all of it: what is wrong is named, and nothing is overwritten."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import keyfs
from copied_stores import Place, files_in
from migration_site import (
    DAMAGED,
    EXISTS,
    INVALID,
    NO_KEY,
    REFUSED,
    USAGE,
    WRONG_KEY,
    Spot,
    asked,
    migrate,
    new_spot,
    opened,
)
from two_layouts import filled, versions_in

from keyfs.core.names import parse_key_ref

LABELS = ("storage/alice", "storage-sym/bobby", "hmac-sym/clara")
LAYOUTS = ("v1", "v2")
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


def pair(place: Path, source: str, target: str) -> tuple[Spot, Spot]:
    here = new_spot(place, "here", source)
    filled(here.place, *LABELS)
    return here, new_spot(place, "there", target)


def flip_last_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@both_layouts
@pytest.mark.parametrize("which", ["current", "retired"])
def test_a_damaged_blob_is_named_and_the_other_keys_are_migrated(
    tmp_path: Path, layout: str, which: str
) -> None:
    here, there = pair(tmp_path, "v1", layout)
    path = here.root / "bobby_storage_sym"
    flip_last_bit(path if which == "current" else min((here.root / "bobby_storage_sym.old").iterdir()))
    before = here.fingerprint()
    ran = migrate(here, there)
    assert ran.code == DAMAGED
    (line,) = [line for line in ran.err.splitlines() if line.startswith("not migrated")]
    assert line.startswith("not migrated storage-sym/bobby: bobby_storage_sym")
    assert "6 versions of 2 keys" in ran.err.splitlines()[-1]
    assert set(versions_in(there.place)) == {"storage/alice", "hmac-sym/clara"}
    assert here.fingerprint() == before


@both_layouts
def test_once_it_is_mended_the_rest_follows(tmp_path: Path, layout: str) -> None:
    here, there = pair(tmp_path, "v1", layout)
    path = min((here.root / "bobby_storage_sym.old").iterdir())
    whole = path.read_bytes()
    flip_last_bit(path)
    assert migrate(here, there).code == DAMAGED
    path.write_bytes(whole)
    report = asked(migrate(here, there, "--json"))
    assert (report["counts"]["add"], report["counts"]["equal"]) == (3, 6)
    assert versions_in(there.place) == versions_in(here.place)


@both_layouts
def test_a_ring_that_does_not_verify_is_named_and_the_others_are_migrated(
    tmp_path: Path, layout: str
) -> None:
    here, there = pair(tmp_path, "v2", layout)
    flip_last_bit(here.root / "client/bobby/storage-sym.keyring")
    ran = migrate(here, there)
    assert ran.code == DAMAGED
    (line,) = [line for line in ran.err.splitlines() if line.startswith("not migrated")]
    assert "not migrated storage-sym/bobby: client/bobby/storage-sym.keyring" in line
    assert set(versions_in(there.place)) == {"storage/alice", "hmac-sym/clara"}
    shutil.rmtree(here.root / "client/alice")
    shutil.rmtree(here.root / "client/clara")
    assert migrate(here, there).code == WRONG_KEY  # or so it seems: nothing verifies


@pytest.mark.parametrize("source", LAYOUTS)
@both_layouts
def test_another_key_there_is_refused_and_nothing_of_that_key_is_changed(
    tmp_path: Path, source: str, layout: str
) -> None:
    here, there = pair(tmp_path, source, layout)
    filled(there.place, "storage/alice")
    theirs = versions_in(there.place)["storage/alice"]
    ran = migrate(here, there)
    assert ran.code == EXISTS
    (line,) = [line for line in ran.err.splitlines() if line.startswith("not migrated")]
    assert line.startswith("not migrated storage/alice: storage/alice/")
    assert line.endswith("nothing of this key was changed")
    assert versions_in(there.place)["storage/alice"] == theirs
    assert {key: found for key, found in versions_in(there.place).items() if key != "storage/alice"} == {
        key: found for key, found in versions_in(here.place).items() if key != "storage/alice"
    }


@pytest.mark.parametrize("source", LAYOUTS)
@both_layouts
def test_what_the_source_was_rotated_by_since_follows(tmp_path: Path, source: str, layout: str) -> None:
    here, there = pair(tmp_path, source, layout)
    assert migrate(here, there).code == 0
    with opened(here) as (_, writer):
        for _ in range(2):
            writer.rotate(parse_key_ref("storage/alice"))
            writer.rotate(parse_key_ref("storage-sym/bobby"))
    ran = migrate(here, there, "--json")
    assert ran.code == 0, ran.err
    assert versions_in(there.place) == versions_in(here.place)
    assert there.run("check").code == 0


@pytest.mark.parametrize("source", LAYOUTS)
@both_layouts
def test_what_the_target_was_rotated_by_since_stays(tmp_path: Path, source: str, layout: str) -> None:
    here, there = pair(tmp_path, source, layout)
    assert migrate(here, there).code == 0
    with opened(there) as (_, writer):
        writer.rotate(parse_key_ref("storage/alice"))
    after = there.root.stat(), versions_in(there.place)
    report = asked(migrate(here, there, "--json"))
    assert report["counts"]["equal"] == 9
    assert report["notes"]["rotated"]["of"] == ["storage/alice/current"]
    assert versions_in(there.place) == after[1]


@both_layouts
def test_a_dry_run_writes_nothing(tmp_path: Path, layout: str) -> None:
    here, there = pair(tmp_path, "v1", layout)
    filled(there.place, "storage/alice")
    prints = here.fingerprint(), there.fingerprint()
    ran = migrate(here, there, "--dry-run")
    assert ran.code == EXISTS
    rows = [line.split("\t") for line in ran.out.decode().splitlines()]
    assert rows[0] == ["purpose", "client", "version", "action", "there", "reason"]
    wanted = {"v1": "current", "v2": "3"}[layout]
    assert [row[2:5] for row in rows if row[1] == "bobby"][-1] == ["current", "add", wanted]
    assert ran.err.splitlines()[-1].startswith("would be: 6 add, ")
    assert asked(migrate(here, there, "--dry-run", "--json"))["dry_run"]
    assert (here.fingerprint(), there.fingerprint()) == prints


def other_key(spot: Spot) -> None:
    text = keyfs("master-key", "generate", environment={}).out.decode()
    spot.place.master_key.write_text(text)


def key_of_v2(spot: Spot) -> None:
    text = keyfs("master-key", "generate", "--layout", "v2", environment={}).out.decode()
    spot.place.master_key.write_text(text)


@pytest.mark.parametrize(
    ("spoil", "is_source", "code", "said"),
    [
        (other_key, True, WRONG_KEY, "opens none of the 3 keys tried"),
        (other_key, False, WRONG_KEY, "opens none of the 1 keys tried"),
        (key_of_v2, False, NO_KEY, "v2"),
        (lambda spot: shutil.rmtree(spot.root), False, INVALID, "keyfs init --store"),
        (lambda spot: shutil.rmtree(spot.root), True, INVALID, "keyfs init --store"),
    ],
)
def test_what_cannot_begin_says_why_in_one_line(
    tmp_path: Path, spoil: Callable[[Spot], None], is_source: bool, code: int, said: str
) -> None:
    here, there = pair(tmp_path, "v1", "v1")
    filled(there.place, "storage/other")
    spoil(here if is_source else there)
    before = there.fingerprint()
    ran = migrate(here, there)
    assert ran.code == code, ran.err
    assert said in ran.refusal()
    assert there.fingerprint() == before


def test_the_other_layout_needs_a_master_key_of_its_own(tmp_path: Path) -> None:
    here, there = pair(tmp_path, "v1", "v2")
    ran = migrate(here, there, KEYFS_TARGET_MASTER_KEY="")
    assert ran.code == USAGE
    assert "--target-master-key" in ran.refusal()


def test_one_master_key_may_serve_both(tmp_path: Path) -> None:
    here, there = pair(tmp_path, "v1", "v1")
    ran = migrate(here, there, KEYFS_TARGET_MASTER_KEY="")
    assert ran.code == 0, ran.err
    assert versions_in(Place(there.place.uri, here.place.master_key)) == versions_in(here.place)


def test_nothing_is_migrated_into_itself(tmp_path: Path) -> None:
    here, _ = pair(tmp_path, "v1", "v1")
    before = here.fingerprint()
    ran = migrate(here, here)
    assert ran.code == USAGE
    assert "into itself" in ran.refusal()
    assert here.fingerprint() == before


def test_what_is_no_key_and_what_layout_v2_has_not_is_named(tmp_path: Path) -> None:
    here, there = pair(tmp_path, "v1", "v2")
    (here.root / "README.md").write_bytes(b"no key")
    shutil.copy(here.root / "clara_hmac", here.root / "alice_hmac123456")
    for end in ("", ".pub"):
        shutil.copy(here.root / f"alice_storage{end}", here.root / f"alice_server{end}")
    ran = migrate(here, there, "--json")
    assert ran.code == REFUSED
    report = asked(ran)
    assert set(report["left_out"]) == {"README.md", "alice_hmac123456"}
    assert "left out README.md: " in ran.err
    said = "not migrated legacy-server/alice: there are no keys of this kind in layout v2"
    assert said in ran.err.splitlines()
    assert report["counts"]["add"] == 9


def test_copy_says_what_does_it(tmp_path: Path) -> None:
    here, there = pair(tmp_path, "v1", "v2")
    ran = keyfs("copy", here.place.uri, there.place.uri, environment=here.place.environment)
    assert ran.code == REFUSED
    assert "use keyfs migrate" in ran.refusal()


def test_a_source_that_cannot_be_written_is_enough(tmp_path: Path) -> None:
    here, there = pair(tmp_path, "v2", "v1")
    assert (here.root / ".lock").exists()
    (here.root / ".lock").unlink()
    shutil.rmtree(here.root.with_name("here.keyfs"))
    assert migrate(here, there).code == 0
    assert not (here.root / ".lock").exists()
    assert not here.root.with_name("here.keyfs").exists()
    assert set(files_in(here.root)) == {
        "version",
        *(f"client/{c}.keyring" for c in ("alice/storage", "bobby/storage-sym", "clara/hmac-sym")),
    }
