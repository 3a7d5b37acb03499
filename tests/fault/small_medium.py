"""A key store on a file system with hardly any room, that can be filled and turned read-only."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dying import MASTER_TEXT, Place, assert_clean, beside, mounted_tmpfs, new_place

from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.testing.mounted import mounted

PAIR = KeyRef(p.STORAGE, "alice")
POISON = KeyRef(p.POISON_RECORD, None)
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
SIZE = "size=64k,nr_inodes=64"
Facts = tuple[int, int, int, int, bytes]
ENVIRONMENT = {"ACRA_MASTER_KEY": MASTER_TEXT}


@dataclass(frozen=True)
class Small:
    """A key store on a file system with hardly any room."""

    place: Place
    ballast: Path
    remount: Callable[[str], None]

    def fill(self, *, spare: int = 0) -> None:
        """Take all inodes but *spare*."""
        self.ballast.mkdir(exist_ok=True)
        with suppress(OSError):
            for number in range(1000):
                (self.ballast / f"inode-{number}").touch(exist_ok=False)
        for path in sorted(self.ballast.iterdir())[:spare]:
            path.unlink()

    def fill_bytes(self) -> None:
        """Take every page; inodes stay free."""
        self.ballast.mkdir(exist_ok=True)
        with suppress(OSError), (self.ballast / "pages").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Give all back."""
        for path in self.ballast.iterdir() if self.ballast.exists() else ():
            path.unlink()


@contextmanager
def small_store(tmp_path: Path, *, is_mount: bool, history: int = 2, layout: str = "v1") -> Iterator[Small]:
    """The file system lies on the key store itself, or on its parent, with all that keyfs keeps beside it."""
    parent = tmp_path / "parent"
    root = parent / "keys"
    parent.mkdir()
    if is_mount:
        root.mkdir()
    with mounted_tmpfs(root if is_mount else parent, SIZE) as remount:
        place = new_place(root, layout)
        _, writer = place.open()
        for ref in (PAIR, SYMMETRIC):
            writer.generate(ref)
            for _ in range(history - 1):
                writer.rotate(ref)
        # In the key store the ballast must have a name that Acra passes over.
        yield Small(place, (root if is_mount else parent) / "ballast.old", remount)


def tree(root: Path) -> dict[str, Facts]:
    """Every name in the key store with all that a change would show in."""
    found = {}
    for path in root.rglob("*"):
        if "ballast.old" not in path.parts:
            facts = path.stat()
            times = (facts.st_nlink, facts.st_mtime_ns) if path.is_file() else (0, 0)
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(root))] = (facts.st_mode, facts.st_ino, *times, content)
    return found


def staged(place: Place) -> list[Path]:
    return list((beside(place) / "staging").iterdir())


@contextmanager
def mounted_at(tmp_path: Path, small: Small) -> Iterator[Path]:
    environment = small.place.environment
    log = tmp_path / "daemon.log"
    with mounted(tmp_path / "mount", "--log-file", str(log), environment=environment) as keys:
        yield keys
        assert_clean(small.place)
    assert " error " not in log.read_text()


def write(path: Path, data: bytes) -> None:
    """Like a careful program: an error of close(2) is an error."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def copy(key_file: Path, target: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["cp", key_file, target],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.returncode, done.stderr
