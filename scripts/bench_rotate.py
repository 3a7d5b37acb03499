"""Measures rotations: 32 new bytes written to `current`, until close(2) returns. Everything is synced.

Beside it, in turns, the same on the same medium by a plain script: the steps with which Acra writes a key
file (write beside, keep the old one by a hard link, rename), and an fsync for each promise that they make.
Only ratios of the same round are worth comparing. With several writers, each has keys of its own, which it
rotates in turn.
"""

import argparse
import itertools
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench_start import KEYFS, client, make_key_store, run

SEALED_BYTES = 76
KEY_BYTES = 32
KEYS_EACH = 20  # of a writer
Rotate = Callable[[], None]


def plain_rotation(directory: Path, name: str = "client0000000_storage_sym") -> Rotate:
    """Makes a key file in a directory, and returns what rotates it."""
    path, history = directory / name, directory / f"{name}.old"
    _write_synced(path)

    def rotate() -> None:
        new = directory / f"{name}{secrets.randbelow(10**10)}"
        _write_synced(new)
        history.mkdir(0o700, exist_ok=True)
        os.link(path, history / datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"))
        _sync(history)
        new.rename(path)
        _sync(directory)

    return rotate


def file_rotation(current: Path) -> Rotate:
    """Returns what rotates a key through a mount."""

    def rotate() -> None:
        with current.open("wb", buffering=0) as file:
            file.write(secrets.token_bytes(KEY_BYTES))

    return rotate


def in_turn(rotations: Sequence[Rotate]) -> Rotate:
    """Returns what rotates one key after the other."""
    turns = itertools.cycle(rotations)
    return lambda: next(turns)()  # noqa: PLW0108 - each time another one


def seconds_of(rotate: Rotate, count: int) -> float:
    """The seconds that one rotation takes, of so many one after the other."""
    started = time.perf_counter()
    for _ in range(count):
        rotate()
    return (time.perf_counter() - started) / count


def seconds_together(rotations: Sequence[Rotate], count: int) -> float:
    """The same where several rotate at once: the time that passes for each rotation."""
    threads = [threading.Thread(target=seconds_of, args=(rotate, count)) for rotate in rotations]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - started) / (count * len(rotations))


@contextmanager
def keyfs_rotations(scratch: Path, writers: int, store: str = "") -> Iterator[list[Rotate]]:
    """Mounts a key store; gives what each of so many writers does.

    *store* is its URI; without one it is a directory.
    """
    environment, place = make_key_store(scratch, writers * KEYS_EACH, store), scratch / "mount"
    place.mkdir()
    run([KEYFS, "mount", place], environment)
    try:
        yield [
            in_turn([file_rotation(place / "storage-sym" / client(key) / "current") for key in keys])
            for keys in _shares(writers)
        ]
    finally:
        run([KEYFS, "umount", place], environment)


def plain_rotations(scratch: Path, writers: int) -> list[Rotate]:
    """The same without any file system of ours."""
    plain = scratch / "plain"
    plain.mkdir()
    return [
        in_turn([plain_rotation(plain, f"{client(key)}_storage_sym") for key in keys])
        for keys in _shares(writers)
    ]


def compare(scratch: Path, writers: int, count: int, rounds: int) -> dict[str, list[float]]:
    """The seconds of each, one figure per round, taken alternately."""
    with keyfs_rotations(scratch, writers) as keyfs:
        sides = {"keyfs": keyfs, "plain": plain_rotations(scratch, writers)}
        figures: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds):
            for name in sorted(sides, reverse=number % 2 == 1):
                figures[name].append(seconds_together(sides[name], count))
        return figures


def redis_seconds(scratch: Path, uri: str, count: int, rounds: int) -> list[float]:
    """The seconds of a rotation in Redis, one figure per round."""
    with keyfs_rotations(scratch, 1, uri) as (rotate,):
        return [seconds_of(rotate, count) for _ in range(rounds)]


def _shares(writers: int) -> list[range]:
    return [range(writer * KEYS_EACH, (writer + 1) * KEYS_EACH) for writer in range(writers)]


def _write_synced(path: Path) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", 0) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(secrets.token_bytes(SEALED_BYTES))
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _report(figures: dict[str, list[float]]) -> None:
    for name, row in figures.items():
        low, middle, high = (1000 * figure for figure in (min(row), statistics.median(row), max(row)))
        print(f"{name:<16}{low:>8.2f}{middle:>8.2f}{high:>8.2f} ms for a rotation (least, median, most)")
    if "plain" in figures:
        ratios = [one / other for one, other in zip(figures["keyfs"], figures["plain"], strict=True)]
        print(f"{'keyfs / plain':<16}{min(ratios):>8.2f}{statistics.median(ratios):>8.2f}{max(ratios):>8.2f}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--directory", default="/var/tmp", help="where everything lies: a disk")
    parser.add_argument("--writers", type=int, default=1)
    parser.add_argument("--count", type=int, default=30, help="rotations of each writer in a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--redis", metavar="URI", help="measure a store there instead, with an empty prefix")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=given.directory) as place:
        scratch = Path(place)
        if given.redis:
            _report({"redis": redis_seconds(scratch, given.redis, given.count, given.rounds)})
        else:
            _report(compare(scratch, given.writers, given.count, given.rounds))


if __name__ == "__main__":
    main()
