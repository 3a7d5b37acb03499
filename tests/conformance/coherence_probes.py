"""Short stories about one key on one mount; each fails if the kernel serves what it should have forgotten."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyfs.testing.live import LiveStore
from keyfs.testing.waiting import wait_until

LABEL = "storage-sym/alice"
UP_TO = 4096
SOON_S = 3.0


def key(number: int) -> bytes:
    """The key of that number."""
    return number.to_bytes(32, "big")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """An open file, closed whatever happens: a mount that is in use cannot be ended."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def fetch(path: Path) -> bytes:
    """What one open reads at once."""
    with opened(path) as fd:
        return os.read(fd, UP_TO)


def warmed(live: LiveStore, number: int) -> Path:
    """The file of a key that the kernel keeps: its pages, its attributes and its name."""
    current = live.make(LABEL, key(number)) / "current"
    wait_until(lambda: fetch(current) == key(number))
    for _ in range(3):
        assert fetch(current) == key(number)
        current.stat()
        current.parent.stat()
    return current


def elsewhere(script: str, *arguments: Path) -> None:
    """What another process does."""
    subprocess.run(["sh", "-c", script, "sh", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


# --- rotations ---


def a_write_is_read_once_it_is_acknowledged(live: LiveStore) -> None:
    current = warmed(live, 1)
    for number in range(2, 6):
        before = current.stat().st_mtime_ns
        current.write_bytes(key(number))
        assert fetch(current) == key(number)
        assert current.stat().st_mtime_ns > before


def a_generated_version_is_seen_once_it_is_acknowledged(live: LiveStore) -> None:
    current = warmed(live, 1)
    before, above = current.stat().st_mtime_ns, current.parent.stat().st_mtime_ns
    (current.parent / "rotate").write_bytes(b"\n")
    assert current.stat().st_mtime_ns > before
    assert current.parent.stat().st_mtime_ns > above
    assert fetch(current) != key(1)


def an_open_agrees_with_its_attributes(live: LiveStore) -> None:
    current = warmed(live, 1)
    before = current.stat().st_mtime_ns
    live.make(LABEL, key(2))
    with opened(current) as fd:
        assert os.fstat(fd).st_mtime_ns > before
        assert os.read(fd, UP_TO) == key(2)


def an_open_follows_a_change_of_the_very_moment(live: LiveStore) -> None:
    current = warmed(live, 1)
    later = current.stat().st_mtime_ns + 1_000_000_000
    os.utime(live.root / "alice_storage_sym", ns=(later, later))
    with opened(current) as fd:
        assert os.fstat(fd).st_mtime_ns == later


def what_changed_elsewhere_is_soon_seen_by_stat(live: LiveStore) -> None:
    current = warmed(live, 1)
    before, above = current.stat().st_mtime_ns, current.parent.stat().st_mtime_ns
    live.make(LABEL, key(2))
    wait_until(lambda: current.stat().st_mtime_ns > before, SOON_S)
    wait_until(lambda: current.parent.stat().st_mtime_ns > above, SOON_S)


def a_file_that_is_held_keeps_its_bytes(live: LiveStore) -> None:
    current = warmed(live, 1)
    with opened(current) as held:
        assert os.read(held, 10) == key(1)[:10]
        live.make(LABEL, key(2))
        assert [fetch(current) for _ in range(3)] == [key(2)] * 3
        assert os.read(held, UP_TO) == key(1)[10:]
    assert [fetch(current) for _ in range(3)] == [key(2)] * 3


# --- names ---


def a_key_renamed_away_is_a_copy(live: LiveStore) -> None:
    current = warmed(live, 1)
    elsewhere('cd "$1" && mv current saved && printf %032d 7 > current && cat saved', current.parent)
    assert (current.parent / "saved").read_bytes() == key(1)
    (current.parent / "saved").unlink()


def a_name_removed_here_is_hidden_here_alone(live: LiveStore) -> None:
    current = warmed(live, 1)
    current.unlink()
    elsewhere('cat "$1" && cat "$1"', current)
    assert not current.exists()
    elsewhere('cat "$1"', current)
    assert not current.exists()
    current.write_bytes(key(2))
    assert fetch(current) == key(2)
