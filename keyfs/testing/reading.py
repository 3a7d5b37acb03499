"""Readers that go on all the time while a test does something else, and what they got."""

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Readings:
    """What a loop of readers saw."""

    reads: int = 0
    wrong: int = 0  # bytes that were never the key's
    errors: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended, and after how long."""

    error: str  # `EAGAIN`; empty when there was none
    took_s: float


def outcome_of(call: Callable[[], object]) -> Outcome:
    """Make a call that may fail with an `OSError`."""
    began = time.monotonic()
    try:
        call()
    except OSError as exc:
        return Outcome(errno.errorcode[exc.errno or 0], time.monotonic() - began)
    return Outcome("", time.monotonic() - began)


@contextmanager
def reading_loop(files: Mapping[Path, set[bytes]], readers: int = 2) -> Iterator[Readings]:
    """Open, read and close all *files* again and again until the end of the block.

    Args:
        files: each with all bytes that are right for it.
        readers: how many threads.
    """
    readings = Readings()
    over = threading.Event()

    def read_all() -> None:
        while not over.is_set():
            for path, right in files.items():
                _read(path, right, readings)

    threads = [threading.Thread(target=read_all, daemon=True) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield readings
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def _read(path: Path, right: set[bytes], readings: Readings) -> None:
    began = time.monotonic()
    try:
        data = path.read_bytes()
    except OSError as exc:
        readings.errors[errno.errorcode[exc.errno or 0]] += 1
    else:
        readings.wrong += data not in right
    readings.reads += 1
    readings.slowest_s = max(readings.slowest_s, time.monotonic() - began)
