"""Whatever odd thing a program asks for, the mount lives on, nothing is lost, and no handler failed on it."""

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import libc_calls as libc
import pytest
from odd_site import LABEL, odd_site, unharmed_key
from opened_files import HUGE, KEY, with_error

from keyfs.testing.live import LiveStore


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with odd_site(tmp_path_factory.mktemp("odd")) as store:
        yield store


@pytest.fixture
def key(live: LiveStore) -> Iterator[Path]:
    with unharmed_key(live) as directory:
        yield directory


# --- names ---

NAMES = {
    "255 bytes": b"n" * 255,
    "256 bytes": b"n" * 256,
    "257 bytes": b"n" * 257,
    "1024 bytes": b"n" * 1024,
    "1025 bytes": b"n" * 1025,
    "not UTF-8": b"\xff\xfe\x80",
    "not UTF-8, like a key": b"current\xff",
    "a newline": b"a\nb",
    "control characters": bytes(range(1, 32)),
    "a terminal's escape": b"\x1b]0;title\x07",
    "percent": b"%s%n%d",
    "blanks": b"   ",
    "backslash": b"..\\..\\current",
    "three dots": b"...",
    "surrogates": "\udcff\U0001f511".encode("utf-8", "surrogatepass"),
    "right to left": "\u202etnerruc".encode(),
    "like an option": b"-rf",
}
PLACES = {
    "root": ".",
    "purpose": "storage-sym",
    "client": LABEL,
    "global": "audit-log/@global",
    ".keyfs": ".keyfs",
}
NAME_CALLS: dict[str, Callable[[bytes], object]] = {
    "stat": os.stat,
    "create": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)),
    "rename": lambda path: os.rename(path, path + b"2"),
    "rename onto current": lambda path: os.rename(path, os.path.dirname(path) + b"/current"),
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "symlink": lambda path: os.symlink(path, path),
    "link": lambda path: os.link(os.path.dirname(path) + b"/current", path),
    "mknod": os.mknod,
    "getxattr": lambda path: os.getxattr(path, "user.keyfs.state"),
    "truncate": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_odd_name(live: LiveStore, key: Path, place: str, name: bytes) -> None:
    path = os.fsencode(live.mountpoint / place) + b"/" + name
    outcomes = {call: with_error(do, path) for call, do in NAME_CALLS.items()}
    assert set(outcomes.values()) <= {"ok", "ENOENT", "ENAMETOOLONG", "EACCES", "EPERM", "EEXIST", "EINVAL"}
    if outcomes["mkdir"] == "ok":  # blanks are a client id, as Acra has it
        assert outcomes["rmdir"] == "ok"
    listed = os.listdir(os.path.dirname(path))
    for left in {name, name + b"2"} & set(listed):
        os.unlink(os.path.dirname(path) + b"/" + left)


# --- numbers ---

OFFSETS = [-(1 << 63), -1, 0, 1, 4095, (1 << 31) - 1, 1 << 31, 1 << 32, HUGE, (1 << 63) - 1]


@pytest.mark.parametrize("name", ["current", "rotate", "scratch"])
def test_odd_offsets_and_sizes(key: Path, name: str) -> None:
    fd = os.open(key / name, os.O_RDWR | os.O_CREAT, 0o600)
    for offset in OFFSETS:
        calls: list[tuple[Callable[..., object], *tuple[object, ...]]] = [
            (os.pread, fd, 100, offset),
            (os.pwrite, fd, b"", offset),
            (os.lseek, fd, offset, os.SEEK_SET),
            (os.lseek, fd, offset, os.SEEK_DATA),
            (os.lseek, fd, offset, os.SEEK_HOLE),
            (libc.fallocate, fd, 0, offset, 1),
            (libc.fallocate, fd, 3, 0, offset),
            (os.posix_fadvise, fd, offset, offset, os.POSIX_FADV_DONTNEED),
        ]
        for call in calls:
            assert with_error(*call) in ("ok", "EINVAL", "EOVERFLOW", "ENXIO", "ENOTSUP", "EFBIG")
    for offset in OFFSETS[4:]:
        assert with_error(os.pwrite, fd, b"x" * 33, offset) in ("ok", "EINVAL", "EFBIG")
        assert with_error(os.ftruncate, fd, offset) in ("ok", "EINVAL", "EFBIG")
    os.ftruncate(fd, 0)  # nothing of it is to be committed
    os.close(fd)
    (key / "scratch").unlink(missing_ok=True)


def test_nothing_at_all(key: Path) -> None:
    """Empty buffers, empty names, empty attributes, empty vectors."""
    fd = os.open(key / "current", os.O_RDWR)
    assert os.read(fd, 0) == os.pread(fd, 0, HUGE) == b""
    assert os.write(fd, b"") == os.writev(fd, [b"", b""]) == os.readv(fd, [bytearray(0)]) == 0
    assert os.copy_file_range(fd, fd, 0) == 0
    os.close(fd)
    directory = os.open(key, os.O_RDONLY)
    for call in (
        lambda: os.stat(f"{key}/current/"),
        lambda: os.mkdir(""),
        lambda: os.setxattr(key / "current", "", b""),
        lambda: os.setxattr(key / "current", "user.", b""),
        lambda: os.getxattr(key / "current", "user."),
        lambda: os.removexattr(key / "current", "user."),
        lambda: mmap.mmap(directory, 0),
        lambda: mmap.mmap(directory, 1),
    ):
        assert with_error(call) in ("ENOENT", "ENOTDIR", "EINVAL", "ENODATA", "ENOTSUP", "ERANGE", "EACCES")
    os.close(directory)


@pytest.mark.parametrize("size", [0, 1, 255, 65536, 65537])
def test_attributes_of_all_sizes(key: Path, size: int) -> None:
    for name in ("user.x", "user." + "n" * 250, "user." + "n" * 251, "security.x", "trusted.x", "user.\nx"):
        for path in (key, key / "current"):
            said = with_error(os.setxattr, path, name, bytes(size))
            assert said in ("ENOTSUP", "ERANGE", "E2BIG")
            said = with_error(os.getxattr, path, name)
            assert said in ("ENODATA", "ENOTSUP", "ERANGE")


def test_a_directory_read_from_odd_places(live: LiveStore, key: Path) -> None:
    for directory in (live.mountpoint, live.mountpoint / "storage-sym", key, live.mountpoint / ".keyfs"):
        fd = os.open(directory, os.O_RDONLY)
        for place in (0, 1, 2, 3, 7, 1 << 20, 1 << 31, HUGE, (1 << 63) - 1):
            with_error(os.lseek, fd, place, os.SEEK_SET)
            names = os.listdir(fd)  # goes back to the beginning when it is done
            assert place == 0 or set(names) <= set(os.listdir(directory))
        os.close(fd)


def test_a_rename_onto_itself(key: Path) -> None:
    (key / "x").write_bytes(KEY)
    for name in ("current", "x", "rotate", "."):
        path = f"{key}/{name}"
        assert with_error(os.rename, path, path) in ("ok", "EBUSY")
    for flags in range(8):
        said = with_error(libc.renameat2, f"{key}/x", f"{key}/x", flags)
        assert said in ("ok", "EEXIST", "EINVAL")
    (key / "x").unlink()
