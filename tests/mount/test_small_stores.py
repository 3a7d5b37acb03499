"""Small key stores made by Acra, one for each situation; the damaged one was edited afterwards."""

import errno
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from acra_expectations import View, expected_of_small, listed_by_acra, view_of

from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_small_store

VECTORS = Path(__file__).parents[1] / "vectors"
SOUND = ("basic", "rotated", "split", "destroyed", "legacy")
FINDINGS = 1
LEFT_OVER = "bobby1_storage_sym7491238890363647508"
# The file that must not be served, and where it would stand in the tree.
DAMAGED = {
    "alice1_hmac": "hmac-sym/alice1/current",
    "alice1_storage": "storage/alice1/current",
    "alice1_storage_sym": "storage-sym/alice1/current",
    "bobby1_hmac": "hmac-sym/bobby1/current",
    "bobby1_storage.pub": "storage/bobby1/current.pub",
    "secure_log_key": "audit-log/@global/current",
    ".poison_key/poison_key": "poison-record/@global/current",
    ".poison_key/poison_key_sym": "poison-record-sym/@global/current",
}


@dataclass(frozen=True)
class Small:
    """One store, and what its mount shows."""

    store: RealStore
    environment: dict[str, str]
    view: View

    @property
    def keys(self) -> dict[str, bytes | int]:
        return {path: one.content for path, one in self.view.files.items() if not path.endswith("/rotate")}


def mount_small(name: str, place: Path) -> Small:
    store = restore_small_store(VECTORS, name, place)
    environment = store.environment | ({"KEYFS_LEGACY": "1"} if name == "legacy" else {})
    with mounted(place / "mount", environment=environment) as mountpoint:
        return Small(store, environment, view_of(mountpoint))


@pytest.fixture(scope="module", params=SOUND)
def small(
    request: pytest.FixtureRequest, fuse_required: None, tmp_path_factory: pytest.TempPathFactory
) -> Small:
    return mount_small(request.param, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def damaged(fuse_required: None, tmp_path_factory: pytest.TempPathFactory) -> Small:
    return mount_small("damaged", tmp_path_factory.mktemp("damaged"))


def test_every_version_of_every_key_reads_byte_for_byte(small: Small) -> None:
    assert small.keys == {one.path: one.content for one in expected_of_small(small.store.manifest)}


def test_what_is_listed_is_what_acra_lists(small: Small) -> None:
    done = run_keyfs("list", "--versions", environment=small.environment)
    _, *lines = done.stdout.decode().splitlines()
    rows: Counter[Any] = Counter()
    for line in lines:
        purpose, client, _, current, public, *_ = line.split("\t")
        if not purpose.startswith("legacy-"):
            rows[purpose, client or None, public == "yes", current == "yes"] += 1
    assert rows == listed_by_acra(small.store.manifest["acra_keys_list_json"])


def test_check_finds_the_store_clean(small: Small) -> None:
    done = run_keyfs("check", environment=small.environment)
    assert done.returncode == 0, done.stdout
    assert done.stderr.endswith(b"clean\n")


def test_history_is_there_though_the_current_version_is_destroyed(
    fuse_required: None, tmp_path: Path
) -> None:
    """Acra reads none of it: "the older versions are unreachable for Acra although still on disk"."""
    keys = mount_small("destroyed", tmp_path).keys
    assert "storage-sym/alice1/current" not in keys
    assert len([path for path in keys if path.startswith("storage-sym/alice1/")]) == 3
    assert len([path for path in keys if path.startswith("storage/alice1/")]) == 6


def test_legacy_keys_stay_hidden_unless_they_are_asked_for(small: Small) -> None:
    done = run_keyfs("list", environment=small.store.environment)
    assert b"legacy-" not in done.stdout


def test_a_damaged_key_is_an_error_and_only_that_key(damaged: Small) -> None:
    files = damaged.store.manifest["files"]
    wrong = {file["path"].removeprefix("damaged/") for file in files if "expect" in file}
    assert wrong == {*DAMAGED, LEFT_OVER}
    errors = {path: content for path, content in damaged.keys.items() if isinstance(content, int)}
    assert set(errors) == set(DAMAGED.values())
    assert set(errors.values()) <= {errno.EBADMSG, errno.EIO}
    sound = {path: content for path, content in damaged.keys.items() if path not in errors}
    assert sound == {one.path: one.content for one in expected_of_small(damaged.store.manifest)}


def test_a_left_over_temporary_is_not_shown_but_named_by_check(damaged: Small) -> None:
    assert not [path for path in damaged.view.files if LEFT_OVER in path or "7491238890" in path]
    done = run_keyfs("check", environment=damaged.environment)
    assert done.returncode == FINDINGS
    findings = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [where for _, code, where, _ in findings if code == "left-over"] == [LEFT_OVER]
    unreadable = {where for _, code, where, _ in findings if code == "unreadable"}
    assert unreadable == {path.removesuffix(".pub") for path in DAMAGED.values()}


def test_the_left_over_temporary_can_be_moved_out_of_the_store(tmp_path: Path) -> None:
    store = restore_small_store(VECTORS, "damaged", tmp_path)
    run_keyfs("check", "--repair", environment=store.environment)
    assert not (store.root / LEFT_OVER).exists()
    aside = store.root.with_name(store.root.name + ".keyfs") / "set-aside"
    assert LEFT_OVER in [path.name for path in aside.glob("*/*")]
