"""What a hot read is, and how long it takes: open, read and close, again and again."""

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarking.programs import BenchError

READY_WITHIN_S = 60.0
_FORK = multiprocessing.get_context("fork")


def read_once(path: Path | str) -> bytes:
    """Opens, reads and closes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def check(path: Path, size: int) -> None:
    """Raises: BenchError: what the file hands out has another size."""
    if len(read_once(path)) != size:
        raise BenchError(f"{path} does not hand out {size} bytes")


def microseconds_each(work: Callable[[], object], times: int) -> float:
    """Does it so many times, after a warm-up."""
    for _ in range(max(1, times // 10)):
        work()
    gc.disable()
    start = time.perf_counter_ns()
    for _ in range(times):
        work()
    took = time.perf_counter_ns() - start
    gc.enable()
    return took / times / 1000


def microseconds_per_read(path: Path, reads: int) -> float:
    """Of one reader."""
    # A string: making one of a Path takes as long as some of what is measured here.
    name = str(path)
    return microseconds_each(lambda: read_once(name), reads)


def microseconds_shared(path: Path, reads: int, readers: int) -> float:
    """Microseconds that pass for each read while so many processes read at once, each *reads* times.

    Raises:
        BenchError: one of them failed.
    """
    gate = _FORK.Barrier(readers + 1, timeout=READY_WITHIN_S)

    def work() -> None:
        name = str(path)
        for _ in range(max(1, reads // 10)):
            read_once(name)
        gate.wait()
        for _ in range(reads):
            read_once(name)
        gate.wait()

    processes = [_FORK.Process(target=work, daemon=True) for _ in range(readers)]
    try:
        for process in processes:
            process.start()
        gate.wait()
        start = time.perf_counter_ns()
        gate.wait()
        took = time.perf_counter_ns() - start
    except threading.BrokenBarrierError as exc:
        raise BenchError(f"a reader of {path} failed") from exc
    finally:
        for process in processes:
            process.join(1)
            process.kill()
    return took / reads / readers / 1000
