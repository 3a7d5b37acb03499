"""Format views on a real mount: real programs read them, rotations reach them, nobody writes to them."""

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyfs.core.stamps import is_stamp
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.waiting import wait_until
from keyfs.testing.watched import SAVED, watching


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("forms"), "--views", "all") as store:
        for label in ("storage/alice", "storage/alice", "storage-sym/alice", "storage-sym/alice"):
            store.make(label)
        yield store


def run(*words: str | Path) -> bytes:
    return subprocess.run(words, capture_output=True, check=True, timeout=30).stdout


def test_stat_fstat_and_bytes_agree_for_all_views_of_all_versions(shown: LiveStore) -> None:
    found = 0
    for directory in (shown.mountpoint / "storage/alice", shown.mountpoint / "storage-sym/alice"):
        for entry in os.scandir(directory):
            with open(entry.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                content = file.read()
            assert os.stat(entry.path).st_size == size == len(content)
            assert run("cat", entry.path) == content
            found += entry.name.endswith((".b64", ".hex", ".pem", ".fp"))
    assert found == 2 * 7 + 2 * 2


def test_the_forms_are_those_of_the_key(shown: LiveStore, tmp_path: Path) -> None:
    directory = shown.mountpoint / "storage-sym/alice"
    for version, material in shown.versions("storage-sym/alice").items():
        assert run("base64", "-d", directory / f"{version}.b64") == material
        assert bytes.fromhex((directory / f"{version}.hex").read_text()) == material


def test_openssl_signs_with_one_view_and_verifies_with_the_other(shown: LiveStore, tmp_path: Path) -> None:
    directory = shown.mountpoint / "storage/alice"
    for version in shown.versions("storage/alice"):
        private, public = directory / f"{version}.pem", directory / f"{version}.pub.pem"
        signature = tmp_path / "signature"
        run("openssl", "dgst", "-sha256", "-sign", private, "-out", signature, __file__)
        assert run("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, __file__)
        der = run("openssl", "pkey", "-pubin", "-in", public, "-outform", "DER")
        fingerprint = hashlib.sha256(der).hexdigest()
        assert (directory / f"{version}.fp").read_text() == f"{fingerprint}\n"
        for name in (version, f"{version}.pub", f"{version}.fp"):
            assert os.getxattr(directory / name, "user.keyfs.fingerprint").decode() == fingerprint


def test_an_open_view_keeps_its_version_and_its_name_gets_the_next_one(shown: LiveStore) -> None:
    view = shown.mountpoint / "storage-sym/alice/current.b64"
    old = shown.versions("storage-sym/alice")["current"]
    with open(view, "rb", buffering=0) as file:
        shown.make("storage-sym/alice")
        assert base64.b64decode(file.read()) == old
        file.seek(0)
        assert base64.b64decode(file.read()) == old
    assert base64.b64decode(view.read_bytes()) == shown.versions("storage-sym/alice")["current"] != old


def test_a_view_is_as_old_as_what_it_shows(shown: LiveStore) -> None:
    current = shown.mountpoint / "storage/alice/current"
    for name in ("current.pem", "current.pub.pem", "current.fp", "current.hex"):
        assert os.stat(current.with_name(name)).st_mtime_ns == os.stat(current).st_mtime_ns


def test_watchers_of_views_are_woken_by_a_rotation_elsewhere(shown: LiveStore) -> None:
    directory = shown.make("storage/watched")
    wait_until(directory.exists)
    views = [directory / name for name in ("current.pem", "current.pub.hex", "current.fp")]
    marker = shown.make("hmac-sym/marker") / "current"
    with watching(marker, *views) as watcher:
        shown.make("hmac-sym/marker")
        watcher.wait_for(marker)  # what came before has been told
        watcher.forget()
        shown.make("storage/watched")
        for view in views:
            watcher.wait_for(view)
        assert [watcher.seen(view) for view in views] == [SAVED] * 3


def test_watchers_of_views_are_woken_by_a_write_through_the_mount(shown: LiveStore) -> None:
    directory = shown.make("storage-sym/written")
    wait_until(directory.exists)
    view, marker = directory / "current.hex", shown.make("hmac-sym/marker2") / "current"
    with watching(view, marker) as watcher:
        shown.make("hmac-sym/marker2")
        watcher.wait_for(marker)
        watcher.forget()
        (directory / "current").write_bytes(b"w" * 32)
        watcher.wait_for(view)
        assert watcher.seen(view) == SAVED
    assert bytes.fromhex(view.read_text()) == b"w" * 32


WRITES = (
    "echo x > {}",
    "echo x >> {}",
    "truncate -s 0 {}",
    "chmod 600 {}",
    "rm -f {}",
    "mv {} x",
    "cp current {}",
)


@pytest.mark.parametrize("script", WRITES)
def test_nobody_writes_to_a_view(shown: LiveStore, script: str) -> None:
    directory = shown.mountpoint / "storage-sym/alice"
    before, names = shown.versions("storage-sym/alice"), sorted(os.listdir(directory))
    for name in (
        "current.hex",
        next(n for n in names if is_stamp(n.removesuffix(".b64")) and n.endswith("b64")),
    ):
        ran = subprocess.run(
            ["sh", "-c", script.format(name)], cwd=directory, capture_output=True, text=True, check=False
        )
        assert ran.returncode != 0
        assert "Permission denied" in ran.stderr or "Operation not permitted" in ran.stderr
    assert (shown.versions("storage-sym/alice"), sorted(os.listdir(directory))) == (before, names)


def test_the_log_says_where_to_write(shown: LiveStore) -> None:
    with pytest.raises(PermissionError):
        (shown.mountpoint / "storage-sym/alice/current.hex").write_text("00")
    said = "a view only shows a key: write to current"
    assert shown.logged("warning access.denied", "path=storage-sym/alice/current.hex want=write", said)


def test_a_read_only_mount_has_views(tmp_path: Path, fuse_required: None) -> None:
    with live_store(tmp_path, "--read-only", "--views", "fp") as store:
        directory = store.make("storage/alice")
        wait_until(directory.exists)
        assert sorted(os.listdir(directory)) == ["current", "current.fp", "current.pub"]
        assert len((directory / "current.fp").read_bytes()) == 65


def test_without_the_option_there_are_none(tmp_path: Path, fuse_required: None) -> None:
    with live_store(tmp_path) as store:
        directory = store.make("storage/alice")
        wait_until(directory.exists)
        assert sorted(os.listdir(directory)) == ["current", "current.pub", "rotate"]
        assert not (directory / "current.pem").exists()


def test_attributes_as_getfattr_sees_them(shown: LiveStore) -> None:
    current = shown.mountpoint / "storage-sym/alice/current"
    shown_names = ("created", "key_state", "state", "version")
    assert sorted(os.listxattr(current)) == [f"user.keyfs.{name}" for name in shown_names]
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(current, "user.keyfs.fingerprint")
    with pytest.raises(OSError, match="Operation not supported"):
        os.getxattr(current, "security.selinux")
    with pytest.raises(OSError, match="Operation not permitted"):
        os.setxattr(current, "user.keyfs.version", b"7")
    with pytest.raises(OSError, match="Operation not supported"):
        os.setxattr(current, "user.mine", b"7")
