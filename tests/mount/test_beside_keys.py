"""Scratch files, clients without a key, versions that are removed, and what is told of it."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_ring import NEW, OLD, Ring, ring_of

from keyfs.core.scratch import FILES_LIMIT, SIZE_LIMIT
from keyfs.core.stamps import is_stamp
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import run_keyfs


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("names"), "--allow-other") as store:
        yield store


@pytest.fixture
def ring(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A symmetric key of one version."""
    return ring_of(live, request, "storage-sym", OLD)


# --- scratch files ---


def test_a_scratch_file_is_a_file(ring: Ring) -> None:
    path = ring.directory / "notes"
    path.write_bytes(b"one")
    with path.open("ab") as file:
        file.write(b" two")
    assert path.read_bytes() == b"one two"
    assert path.stat().st_size == len(b"one two")
    path.rename(path.with_name("other"))
    os.truncate(path.with_name("other"), 3)
    assert path.with_name("other").read_bytes() == b"one"
    path.with_name("other").unlink()
    assert not path.with_name("other").exists()
    assert ring.contents() == [OLD]


def test_a_scratch_file_is_seen_by_its_maker_only(ring: Ring) -> None:
    path = ring.directory / ".current.swp"
    path.write_bytes(b"mine")
    path.chmod(0o666)
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for command in (["cat", path.name], ["stat", path.name], ["rm", path.name]):
        ran = subprocess.run(
            [*other, *command], cwd=ring.directory, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, "No such file" in ran.stderr) == (1, True)
    listed = subprocess.run(
        [*other, "ls", "-a"], cwd=ring.directory, capture_output=True, text=True, check=True
    )
    assert path.name not in listed.stdout.split("\n")
    assert path.name in os.listdir(ring.directory)
    path.unlink()


def test_scratch_files_are_few_and_small(ring: Ring) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        (ring.directory / "big").write_bytes(bytes(SIZE_LIMIT + 1))
    (ring.directory / "big").unlink()
    files = [ring.directory / str(number) for number in range(FILES_LIMIT)]
    for path in files:
        path.touch()
    with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
        (ring.directory / "one more").touch()
    for path in files:
        path.unlink()


def test_a_file_that_was_removed_can_be_read_by_who_has_it_open(ring: Ring) -> None:
    path = ring.directory / "x"
    path.write_bytes(b"bytes")
    with path.open("rb") as file:
        path.unlink()
        assert os.fstat(file.fileno()).st_size == len(b"bytes")
        assert file.read() == b"bytes"


# --- clients ---


def test_a_client_is_made_and_gets_its_first_version(live: LiveStore) -> None:
    directory = live.mountpoint / "storage-sym/written"
    directory.mkdir()
    assert os.listdir(directory) == ["rotate"]
    assert live.versions("storage-sym/written") == {}
    (directory / "current").write_bytes(NEW)
    assert live.versions("storage-sym/written") == {"current": NEW}
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        directory.rmdir()


def test_a_client_is_made_and_its_first_version_generated(live: LiveStore) -> None:
    directory = live.mountpoint / "storage/generated"
    directory.mkdir()
    (directory / "rotate").write_bytes(b"1")
    assert sorted(os.listdir(directory)) == ["current", "current.pub", "rotate"]


def test_a_client_without_a_key_can_be_removed(live: LiveStore) -> None:
    directory = live.mountpoint / "hmac-sym/nobody"
    directory.mkdir()
    directory.rmdir()
    assert not directory.exists()
    with pytest.raises(FileNotFoundError):
        directory.rmdir()


def test_a_client_that_was_made_is_there_after_a_restart(tmp_path: Path, fuse_required: None) -> None:
    with live_store(tmp_path) as store:
        (store.mountpoint / "storage-sym/later1").mkdir()
    assert os.listdir(store.root) == []
    environment = store.environment
    assert run_keyfs("mount", store.mountpoint, environment=environment).returncode == 0
    try:
        assert os.listdir(store.mountpoint / "storage-sym") == ["later1"]
        (store.mountpoint / "storage-sym/later1/current").write_bytes(NEW)
    finally:
        run_keyfs("umount", store.mountpoint, environment=environment)
    assert list(store.versions("storage-sym/later1").values()) == [NEW]


# --- destroying ---


def test_rm_destroys_a_version_where_that_is_allowed(tmp_path: Path, fuse_required: None) -> None:
    with live_store(tmp_path, "--allow-destroy") as store:
        for _ in range(3):
            directory = store.make("storage/alice")
        oldest, second = sorted(name for name in os.listdir(directory) if is_stamp(name))
        (directory / oldest).unlink()
        assert sorted(store.versions("storage/alice")) == [second, "current"]
        assert sorted(os.listdir(directory)) == [second, f"{second}.pub", "current", "current.pub", "rotate"]
        subprocess.run(["rm", directory / "current"], check=True)
        assert (directory / "current").read_bytes() == store.versions("storage/alice")["current"]
        told = (store.mountpoint / ".keyfs/rotations").read_text().splitlines()
        assert [line.split("\t")[1:] for line in told] == [["storage/alice", "destroy", "done"]]


def test_rm_says_where_it_is_told_why_it_destroys_nothing(ring: Ring) -> None:
    ring.current.write_bytes(NEW)
    stamp = next(name for name in os.listdir(ring.directory) if is_stamp(name))
    with pytest.raises(PermissionError):
        (ring.directory / stamp).unlink()
    assert ring.shown() == [OLD, NEW]
    told = (ring.live.mountpoint / ".keyfs/rotations").read_text().splitlines()[-1]
    assert told.endswith(
        f"{ring.label}\tdestroy\trefused: rm destroys no key here: run keyfs destroy {ring.label}/{stamp}, "
        f"or mount with --allow-destroy"
    )


def test_a_write_whose_error_nobody_heard_is_told(ring: Ring) -> None:
    """Python's implicit close and bash's echo lose it."""
    assert ring.shell('echo "no key" > current').returncode in (0, 1)
    told = (ring.live.mountpoint / ".keyfs/rotations").read_text().splitlines()[-1]
    assert told.endswith(
        f"{ring.label}\twrite\trefused: a storage-sym key is 32 bytes, not 7 bytes: nothing was changed"
    )
