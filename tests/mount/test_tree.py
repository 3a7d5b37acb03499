"""The tree as the kernel shows it: names, modes, sizes, inodes, control files; and the tools that walk it."""

import errno
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyfs.core.purposes import PURPOSES
from keyfs.core.stamps import is_stamp, parse_stamp
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_small_store

VECTORS = Path(__file__).parents[1] / "vectors"
YEAR_S = 365 * 86400
MODERN = {purpose.name for purpose in PURPOSES if not purpose.is_legacy}


@dataclass(frozen=True, slots=True)
class View:
    """One store, and one mount of it."""

    store: RealStore
    root: Path

    def files(self) -> dict[str, Path]:
        """All files but the control files, by their path below the mount."""
        found = {str(path.relative_to(self.root)): path for path in self.root.rglob("*") if path.is_file()}
        return {name: path for name, path in found.items() if not name.startswith(".keyfs/")}


@pytest.fixture(scope="module")
def writable(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[View]:
    place = tmp_path_factory.mktemp("tree")
    store = restore_small_store(VECTORS, "rotated", place)
    old = place / "small-rotated/rotated/alice1_storage.old/2026-11-24T02:51:09.94833539"
    os.utime(old, (1, old.stat().st_mtime - 2 * YEAR_S))
    with mounted(place / "mount", environment=store.environment) as root:
        yield View(store, root)


@pytest.fixture(scope="module")
def read_only(
    tmp_path_factory: pytest.TempPathFactory, writable: View, fuse_required: None
) -> Iterator[View]:
    place = tmp_path_factory.mktemp("tree-ro")
    with mounted(place / "mount", "--read-only", environment=writable.store.environment) as root:
        yield View(writable.store, root)


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[View]:
    place = tmp_path_factory.mktemp("tree-legacy")
    store = restore_small_store(VECTORS, "legacy", place)
    with mounted(place / "mount", "--legacy", environment=store.environment) as root:
        yield View(store, root)


def below(view: View, path: Path) -> str:
    return str(path.relative_to(view.root))


# --- names ---


def test_the_root_has_a_directory_for_each_purpose_and_the_control_files(writable: View) -> None:
    assert set(os.listdir(writable.root)) == MODERN | {".keyfs"}


def test_legacy_purposes_are_there_only_when_asked_for(legacy: View) -> None:
    assert set(os.listdir(legacy.root)) == {purpose.name for purpose in PURPOSES} | {".keyfs"}


def test_a_purpose_has_a_directory_for_each_client_that_has_such_a_key(writable: View) -> None:
    clients = {"-dash", "alice1", "bob smith", "dave_storage", "eve_hmac"}
    for purpose in ("storage", "storage-sym", "hmac-sym"):
        names = set(os.listdir(writable.root / purpose))
        assert {name for name in names if len(name) < 128} == clients
        assert len(names) == len(clients) + 1, "one id is what Acra makes of a certificate"
    for purpose in MODERN - {"storage", "storage-sym", "hmac-sym"}:
        assert os.listdir(writable.root / purpose) == ["@global"]


def test_a_file_is_current_or_a_stamp_or_rotate_and_pairs_have_public_halves(writable: View) -> None:
    for path in writable.root.glob("*/*"):
        if path.parent.name == ".keyfs":
            continue
        names = set(os.listdir(path))
        secret = {name for name in names if name == "current" or is_stamp(name)}
        public = {f"{name}.pub" for name in secret if path.parent.name in ("storage", "poison-record")}
        assert names == secret | public | {"rotate"}
        assert "current" in secret


def test_stamps_sort_oldest_first_and_say_when_a_version_retired(writable: View) -> None:
    names = [name for name in sorted(os.listdir(writable.root / "storage/alice1")) if is_stamp(name)]
    assert len(names) == 3
    assert [parse_stamp(name) for name in names] == sorted(parse_stamp(name) for name in names)


def test_every_name_that_is_listed_can_be_looked_up_and_no_other(writable: View) -> None:
    for name in ("current.pub.pub", ".pub", "current ", "Current", "1", "2026-11-24", ".", "rotate.pub"):
        assert name == "." or not os.path.lexists(writable.root / "storage/alice1" / name)
    assert not (writable.root / "storage-sym/alice1/current.pub").exists()
    assert not (writable.root / "legacy-server").exists()


# --- facts ---


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_modes_on_a_writable_mount(writable: View) -> None:
    for name, path in writable.files().items():
        writes = path.name in ("current", "rotate")
        expected = 0o444 if name.endswith(".pub") else 0o600 if writes else 0o400
        assert (name, oct(mode_of(path))) == (name, oct(expected))
    assert {mode_of(path) for path in writable.root.glob("*/*/")} == {0o755}
    takes_clients = {
        path for path in writable.root.iterdir() if path.name in ("storage", "storage-sym", "hmac-sym")
    }
    assert {mode_of(path) for path in takes_clients} == {0o755}
    assert {mode_of(path) for path in {writable.root, *writable.root.iterdir()} - takes_clients} == {0o555}


def test_modes_on_a_read_only_mount(read_only: View) -> None:
    for name, path in read_only.files().items():
        assert (name, oct(mode_of(path))) == (name, oct(0o444 if name.endswith(".pub") else 0o400))
    assert {mode_of(path) for path in read_only.root.rglob("*/")} == {0o555}


def test_legacy_keys_cannot_be_written_where_others_can(legacy: View) -> None:
    for path in legacy.root.rglob("*"):
        is_legacy = below(legacy, path).startswith("legacy-")
        assert not (is_legacy and mode_of(path) & 0o222), path
    assert mode_of(legacy.root / "storage-sym/alice1/current") == 0o600
    assert mode_of(legacy.root / "legacy-auth/@global/current") == 0o400


def test_rotate_is_there_exactly_where_a_key_can_be_rotated(
    writable: View, read_only: View, legacy: View
) -> None:
    assert all((path / "rotate").exists() for path in writable.root.glob("[a-z]*/*"))
    assert not [path for path in read_only.root.glob("*/*") if (path / "rotate").exists()]
    assert not [path for path in read_only.files().values() if path.name == "rotate"]
    assert [path.parent.parent.name for path in legacy.root.glob("*/*/rotate")] == ["storage-sym"]
    assert not (legacy.root / "legacy-server/alice1/rotate").exists()


def test_all_belong_to_the_owner_of_the_mount(writable: View) -> None:
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in writable.root.rglob("*")}
    assert owners == {(os.getuid(), os.getgid())}


def test_link_counts(writable: View) -> None:
    """A second link of `current` keeps a watch of the file alive when something is renamed over it."""
    for path in writable.files().values():
        assert path.stat().st_nlink == (2 if path.stem == "current" else 1), path


def test_sizes_are_what_can_be_read(writable: View, read_only: View, legacy: View) -> None:
    for view in (writable, read_only, legacy):
        for path in [*view.files().values(), *view.root.glob(".keyfs/*")]:
            assert path.stat().st_size == len(path.read_bytes()), path


def test_the_time_of_a_key_is_when_it_was_written_and_blocks_fit_its_size(writable: View) -> None:
    stored = writable.store.root / "alice1_hmac"
    shown = (writable.root / "hmac-sym/alice1/current").stat()
    assert shown.st_mtime_ns == stored.stat().st_mtime_ns
    assert (shown.st_blocks, shown.st_size) == (1, 32)


def inodes(view: View) -> dict[str, int]:
    return {below(view, path): path.lstat().st_ino for path in view.root.rglob("*")}


def test_inode_numbers_are_unique_and_stable_across_mounts_and_rotations(
    tmp_path: Path, fuse_required: None
) -> None:
    store = restore_small_store(VECTORS, "rotated", tmp_path)
    with mounted(tmp_path / "mount", environment=store.environment) as root:
        before = inodes(View(store, root))
        (root / "storage/alice1/rotate").write_bytes(b"\n")
        after = inodes(View(store, root))
    with mounted(tmp_path / "mount2", environment=store.environment) as root:
        again = inodes(View(store, root))
    assert len(set(before.values())) == len(before)
    assert before.items() < after.items()
    assert len(after) == len(before) + 2
    assert again == after


# --- control files ---


def test_status_and_status_json_agree(writable: View) -> None:
    status = json.loads((writable.root / ".keyfs/status.json").read_bytes())
    assert status["state"] == "fresh"
    assert status["store"] == writable.store.uri
    assert (status["layout"], status["read_only"], status["strays"]) == ("v1", False, 0)
    assert status["keys"] == len(list(writable.root.glob("[a-z]*/*")))
    assert Path(f"/proc/{status['pid']}").exists()
    lines = (writable.root / ".keyfs/status").read_text().splitlines()
    assert lines == [
        f"{key}: {('yes' if value else 'no') if isinstance(value, bool) else value}"
        for key, value in status.items()
    ]


def test_the_inventories_are_what_keyfs_list_prints(writable: View, read_only: View) -> None:
    environment = writable.store.environment
    as_json = run_keyfs("list", "--json", "--versions", environment=environment).stdout
    as_tsv = run_keyfs("list", "--versions", environment=environment).stdout
    for view in (writable, read_only):
        assert (view.root / ".keyfs/inventory.json").read_bytes() == as_json
        assert (view.root / ".keyfs/inventory.tsv").read_bytes() == as_tsv
    rows = json.loads(as_json)
    shown = {name for name in writable.files() if not name.endswith("/rotate")}
    assert shown == {
        f"{row['purpose']}/{row['client'] or '@global'}/{row['version']}{'.pub' if row['public'] else ''}"
        for row in rows
    }


def test_extended_attributes_are_answered_from_memory(writable: View) -> None:
    for path in (writable.root, writable.root / "storage/alice1/current", writable.root / ".keyfs/status"):
        is_key = path.name == "current"
        said = ["created", "fingerprint", "key_state", "state", "version"] if is_key else ["state"]
        assert sorted(os.listxattr(path)) == [f"user.keyfs.{name}" for name in said]
        assert os.getxattr(path, "user.keyfs.state") == b"fresh"
        for name, number in [
            ("user.x", errno.ENODATA),
            ("security.selinux", errno.ENOTSUP),
            ("system.posix_acl_access", errno.ENOTSUP),
        ]:
            with pytest.raises(OSError, match=re.escape(os.strerror(number))):
                os.getxattr(path, name)


def test_statfs_counts_keys_and_has_no_room(writable: View) -> None:
    facts = os.statvfs(writable.root)
    assert (facts.f_files, facts.f_ffree) == (len(list(writable.root.glob("[a-z]*/*"))), 0)
    assert (facts.f_namemax, facts.f_bfree) == (256, 0)
    for command in (["df", str(writable.root)], ["stat", "-f", str(writable.root)]):
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
