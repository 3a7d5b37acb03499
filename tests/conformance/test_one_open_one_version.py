"""One open sees one version: attributes and bytes agree, whichever way they are read, through a rotation too.

mmap(2), sendfile(2) and splice(2) always go by way of the kernel's page cache, of which a file has one for
all who have it open; read(2) does, too, unless the mount has `--direct-io`. Who held a file open for long,
while others opened the next version and did these things with it, may read that one, until the next open.
"""

import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, live_store

OLD, NEW = b"o" * 32, b"n" * 32
LABEL = "storage-sym/alice"
UP_TO = 4096


def readv(fd: int) -> bytes:
    buffers = [bytearray(5), bytearray(UP_TO)]
    count = os.preadv(fd, buffers, 0)
    return b"".join(buffers)[:count]


def direct(fd: int) -> bytes:
    with mmap.mmap(-1, UP_TO) as page:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT)
        count = os.preadv(again, [page], 0)
        os.close(again)
        return page[:count]


def mapped(fd: int) -> bytes:
    with mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as view:
        return view[:]


def sent(fd: int) -> bytes:
    with os.fdopen(os.memfd_create("target"), "rb") as target:
        os.sendfile(target.fileno(), fd, 0, UP_TO)
        return os.pread(target.fileno(), UP_TO, 0)


def spliced(fd: int) -> bytes:
    reader, writer = os.pipe()
    os.splice(fd, writer, UP_TO, offset_src=0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read()


def copied_beside(fd: int) -> bytes:
    beside = Path(os.readlink(f"/proc/self/fd/{fd}")).parent / "copy"
    target = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.copy_file_range(fd, target, UP_TO, 0)
    content = os.pread(target, UP_TO, 0)
    os.close(target)
    beside.unlink()
    return content


OF_THE_OPEN: dict[str, Callable[[int], bytes]] = {
    "pread": lambda fd: os.pread(fd, UP_TO, 0),
    "preadv": readv,
}
BY_PAGES: dict[str, Callable[[int], bytes]] = {
    "mmap": mapped,
    "sendfile": sent,
    "splice": spliced,
    "copy_file_range": copied_beside,
}
ALL = {**OF_THE_OPEN, **BY_PAGES}


@pytest.fixture(scope="module", params=[(), ("--direct-io",)], ids=["cached", "direct-io"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(request.param)


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...], fuse_required: None
) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("opens"), *options) as store:
        yield store


def assert_reads_old(fd: int, options: tuple[str, ...], read: Callable[[int], bytes], current: Path) -> None:
    """Exactly, unless *read*, done by others with the next version, has filled the pages of this file.

    That ends when somebody opens the file again.
    """
    if options or read not in BY_PAGES.values():
        assert os.pread(fd, UP_TO, 0) == OLD
    assert os.pread(fd, UP_TO, 0) in (OLD, NEW)
    os.close(os.open(current, os.O_RDONLY))
    assert os.pread(fd, UP_TO, 0) == OLD


@pytest.fixture
def current(live: LiveStore) -> Path:
    return live.make(LABEL, OLD) / "current"


def rotate_past(live: LiveStore) -> None:
    live.make(LABEL, NEW)


def rotate_by_write(live: LiveStore) -> None:
    (live.mountpoint / LABEL / "current").write_bytes(NEW)


def rotate_by_rename(live: LiveStore) -> None:
    directory = live.mountpoint / LABEL
    (directory / "x").write_bytes(NEW)
    (directory / "x").rename(directory / "current")


ROTATIONS = {"past the mount": rotate_past, "by a write": rotate_by_write, "by a rename": rotate_by_rename}


@pytest.mark.parametrize("rotate", ROTATIONS.values(), ids=ROTATIONS)
@pytest.mark.parametrize("read", ALL.values(), ids=ALL)
def test_an_open_file_keeps_its_version(
    live: LiveStore, current: Path, read: Callable[[int], bytes], rotate: Callable[[LiveStore], None]
) -> None:
    fd = os.open(current, os.O_RDONLY)
    rotate(live)
    assert os.fstat(fd).st_size == len(OLD)
    assert read(fd) == OLD
    os.close(fd)
    fd = os.open(current, os.O_RDONLY)
    assert read(fd) == NEW
    os.close(fd)


@pytest.mark.parametrize("rotate", ROTATIONS.values(), ids=ROTATIONS)
@pytest.mark.parametrize("read", [*ALL.values(), direct], ids=[*ALL, "O_DIRECT"])
def test_a_file_opened_after_a_rotation_shows_the_new_version_to_whichever_read(
    live: LiveStore,
    options: tuple[str, ...],
    current: Path,
    read: Callable[[int], bytes],
    rotate: Callable[[LiveStore], None],
) -> None:
    """Also while another one is still open, and was read by way of the page cache."""
    old = os.open(current, os.O_RDONLY)
    assert mapped(old) == sent(old) == OLD
    rotate(live)
    new = os.open(current, os.O_RDONLY)
    assert read(new) == NEW
    assert_reads_old(old, options, read, current)
    os.close(old)
    os.close(new)


@pytest.mark.parametrize("read", BY_PAGES.values(), ids=BY_PAGES)
@pytest.mark.parametrize("first", BY_PAGES.values(), ids=BY_PAGES)
def test_two_that_use_the_page_cache_at_once_get_a_whole_version(
    live: LiveStore,
    options: tuple[str, ...],
    current: Path,
    first: Callable[[int], bytes],
    read: Callable[[int], bytes],
) -> None:
    """Of which of the two opens, the kernel decides: this is what keyfs cannot promise."""
    old = os.open(current, os.O_RDONLY)
    rotate_past(live)
    new = os.open(current, os.O_RDONLY)
    assert {first(old), read(new), first(old)} <= {OLD, NEW}
    assert os.pread(new, UP_TO, 0) == NEW
    assert_reads_old(old, options, read, current)
    os.close(old)
    os.close(new)


def test_a_position_is_kept_through_a_rotation(live: LiveStore, current: Path) -> None:
    fd = os.open(current, os.O_RDONLY)
    head = os.read(fd, 10)
    rotate_past(live)
    assert head + os.read(fd, 99) == OLD
    assert os.lseek(fd, -4, os.SEEK_END) == len(OLD) - 4
    assert os.read(fd, 99) == OLD[-4:]
    assert os.lseek(fd, 0, os.SEEK_HOLE) == len(OLD)
    os.close(fd)


def test_attributes_and_bytes_are_of_one_version_for_the_opener(live: LiveStore, current: Path) -> None:
    """Another process sees what is current."""
    before = current.stat()
    fd = os.open(current, os.O_RDONLY)
    rotate_past(live)
    after = os.fstat(fd)
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (
        before.st_mtime_ns,
        len(os.pread(fd, UP_TO, 0)),
        before.st_ino,
    )
    script = "import os, sys; print(os.stat(sys.argv[1]).st_mtime_ns)"
    seen = subprocess.run([sys.executable, "-c", script, current], check=True, stdout=subprocess.PIPE)
    assert int(seen.stdout) > before.st_mtime_ns
    os.close(fd)
    assert current.stat().st_mtime_ns == int(seen.stdout)


@pytest.mark.parametrize("read", ALL.values(), ids=ALL)
def test_readers_under_rotation_get_whole_versions(
    live: LiveStore, current: Path, read: Callable[[int], bytes]
) -> None:
    over, seen = threading.Event(), set()

    def read_all() -> None:
        while not over.is_set():
            fd = os.open(current, os.O_RDONLY)
            seen.add(read(fd))
            os.close(fd)

    reader = threading.Thread(target=read_all)
    reader.start()
    for done in range(100):
        if done >= 4 and len(seen) >= 2:  # a busy machine lets a reader miss some
            break
        live.make(LABEL, NEW)
        live.make(LABEL, OLD)
    over.set()
    reader.join()
    assert seen == {OLD, NEW}
