"""What programs have open outlives the worker: bytes, place in a listing, and a write in the making."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import inotify_simple
import pytest

from keyfs.testing.supervised import Site, digest, supervised

pytestmark = pytest.mark.usefixtures("fuse_required")
PAIR = "storage/alice"
SYM = "storage-sym/alice"
OLD, NEW = b"o" * 32, b"n" * 32


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[Site]:
    with supervised(tmp_path_factory.mktemp("site"), "--allow-destroy") as made:
        for label in (PAIR, SYM):
            made.store.make(label)
            made.store.make(label)
        yield made


def rotate(path: Path) -> None:
    (path / "rotate").write_bytes(b"x")


FILES = {
    "private half": f"{PAIR}/current",
    "public half": f"{PAIR}/current.pub",
    "symmetric": f"{SYM}/current",
    "rotate": f"{SYM}/rotate",
    "control file": ".keyfs/inventory.json",
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_an_open_file_reads_on(site: Site, file: str) -> None:
    with open(site.mountpoint / file, "rb", buffering=0) as opened:
        before = digest(os.pread(opened.fileno(), 1 << 20, 0))
        site.kill_worker()
        assert digest(opened.read()) == before
        assert os.fstat(opened.fileno()).st_size == opened.tell()


def test_what_was_open_stays_the_version_it_was_when_that_retires_and_is_destroyed(site: Site) -> None:
    key = site.mountpoint / SYM
    with open(key / "current", "rb", buffering=0) as opened:
        before = digest(os.pread(opened.fileno(), 64, 0))
        known = set(os.listdir(key))
        rotate(key)
        site.kill_worker()
        assert digest(os.pread(opened.fileno(), 64, 0)) == before
        [retired] = set(os.listdir(key)) - known
        (key / retired).unlink()
        site.kill_worker()
        assert digest(os.pread(opened.fileno(), 64, 0)) == before
        assert digest((key / "current").read_bytes()) != before


def test_a_retired_version_that_is_open(site: Site) -> None:
    key = site.mountpoint / PAIR
    retired = next(name for name in os.listdir(key) if name.startswith("20"))
    with open(key / retired, "rb", buffering=0) as opened:
        before = digest(os.pread(opened.fileno(), 64, 0))
        site.kill_worker()
        assert digest(opened.read()) == before


def test_an_open_directory(site: Site) -> None:
    directory = os.open(site.mountpoint / PAIR, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = sorted(os.listdir(directory))
        site.kill_worker()
        assert os.stat("current", dir_fd=directory).st_size == 45
        assert sorted(os.listdir(directory)) == before
    finally:
        os.close(directory)


def test_a_file_that_is_bound_elsewhere(site: Site, tmp_path: Path) -> None:
    """The kernel asks for its number, and never for its name."""
    key = site.mountpoint / SYM / "current"
    place = tmp_path / "key"
    place.touch()
    subprocess.run(["mount", "--bind", key, place], check=True)
    try:
        site.kill_worker()
        assert digest(place.read_bytes()) == digest(key.read_bytes())
        rotate(key.parent)
        site.kill_worker()
        assert digest(place.read_bytes()) == digest(key.read_bytes())
    finally:
        subprocess.run(["umount", place], check=True)


Step = Callable[[int], object]
WRITES: dict[str, tuple[int, list[Step]]] = {
    "opened": (os.O_TRUNC, [lambda fd: os.write(fd, NEW)]),
    "half written": (os.O_TRUNC, [lambda fd: os.write(fd, NEW[:16]), lambda fd: os.write(fd, NEW[16:])]),
    "written": (os.O_TRUNC, [lambda fd: os.write(fd, NEW), lambda fd: None]),
    "edited": (0, [lambda fd: os.pwrite(fd, NEW[:31], 0), lambda fd: os.pwrite(fd, NEW[31:], 31)]),
    "truncated": (0, [lambda fd: os.ftruncate(fd, 0), lambda fd: os.write(fd, NEW)]),
    "synced": (os.O_TRUNC, [lambda fd: os.write(fd, NEW), os.fsync, os.fsync]),
}


@pytest.mark.parametrize(("flags", "steps"), WRITES.values(), ids=WRITES)
def test_a_write_in_the_making_becomes_one_version(site: Site, flags: int, steps: list[Step]) -> None:
    key = site.mountpoint / SYM / "current"
    key.write_bytes(OLD)
    before = len(site.store.versions(SYM))
    opened = os.open(key, os.O_WRONLY | flags)
    try:
        for step in steps:
            site.kill_worker()
            step(opened)
        site.kill_worker()
        assert key.read_bytes() in (OLD, NEW)
    finally:
        os.close(opened)
    versions = site.store.versions(SYM)
    assert len(versions) == before + 1
    assert versions["current"] == NEW


def test_a_write_that_was_refused_stays_refused(site: Site) -> None:
    key = site.mountpoint / SYM / "current"
    before = len(site.store.versions(SYM))
    opened = os.open(key, os.O_WRONLY | os.O_TRUNC)
    with pytest.raises(OSError, match="Invalid argument"):
        os.write(opened, b"x" * 64)
    site.kill_worker()
    with pytest.raises(OSError, match="Invalid argument"):
        os.close(opened)
    assert len(site.store.versions(SYM)) == before


def test_an_edit_of_what_others_rotated_meanwhile_is_refused(site: Site) -> None:
    key = site.mountpoint / SYM
    opened = os.open(key / "current", os.O_WRONLY)
    os.pwrite(opened, NEW, 0)
    rotate(key)
    before = len(site.store.versions(SYM))
    site.kill_worker()
    with pytest.raises(OSError, match="Stale"):
        os.close(opened)
    assert len(site.store.versions(SYM)) == before


def test_a_scratch_file_is_gone_with_its_worker(site: Site) -> None:
    """It lies in the worker's own memory; its writer hears of it, and the key is what it was."""
    key = site.mountpoint / SYM
    before = digest((key / "current").read_bytes())
    opened = os.open(key / "new", os.O_WRONLY | os.O_CREAT)
    os.write(opened, NEW)
    site.kill_worker()
    with pytest.raises(OSError, match="Stale"):
        os.write(opened, NEW)
    with pytest.raises(OSError, match="Stale"):
        os.close(opened)
    assert digest((key / "current").read_bytes()) == before


def test_many_open_files(site: Site) -> None:
    key = site.mountpoint / SYM / "current"
    content = digest(key.read_bytes())
    opened = [os.open(key, os.O_RDONLY) for _ in range(500)]
    site.kill_worker()
    try:
        assert {digest(os.pread(fd, 64, 0)) for fd in opened} == {content}
    finally:
        for fd in opened:
            os.close(fd)


def test_a_watcher_hears_of_a_rotation_by_others_after_its_worker_was_killed(site: Site) -> None:
    """The new worker never saw the watched file's name looked up."""
    with inotify_simple.INotify() as inotify:
        inotify.add_watch(site.mountpoint / SYM / "current", inotify_simple.flags.CLOSE_WRITE)
        site.kill_worker()
        site.store.make(SYM)
        assert inotify.read(timeout=20_000)


def test_a_rotation_by_others_while_there_is_no_worker_is_seen(site: Site) -> None:
    key = site.mountpoint / SYM / "current"
    os.kill(site.worker, signal.SIGKILL)
    site.store.make(SYM)
    assert key.read_bytes() == site.store.versions(SYM)["current"]
