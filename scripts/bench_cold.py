"""What `bench cold` reads: keys in Redis whose sealed bytes the mount has never had, beside a plain script.

The script asks Redis with redis-py, opens the Secure Cell and reads a file on tmpfs; the mount is read by
open, read and close. Both turn to keys that nobody has read before.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import KEYFS, BenchError, mounted, read_once
from bench_redis import Store, fill, new_store

KEY_BYTES = 32
CLIENT = "client-{:06}"
# A program of its own, as somebody without keyfs would have it; only the Secure Cell is opened by our engine.
SCRIPT = Path(__file__).with_name("cold_script.py")


@dataclass(frozen=True)
class ColdStore:
    """A key store in Redis with many keys, of which each is read once."""

    store: Store
    scratch: Path
    keys: int

    def script_input(self, numbers: Sequence[int], threads: int) -> str:
        """What the plain script is told."""
        return json.dumps(
            {
                "socket": str(self.store.server.unix),
                "master_key": str(self.scratch / "master.key"),
                "file": str(self.scratch / "plain"),
                "clients": [CLIENT.format(number) for number in numbers],
                "threads": threads,
            }
        )


@contextmanager
def cold_store(scratch: Path, keys: int) -> Iterator[ColdStore]:
    """A Redis of its own with so many sealed keys."""
    (scratch / "plain").write_bytes(bytes(KEY_BYTES))
    with new_store(scratch) as store:
        fill(store, keys)
        yield ColdStore(store, scratch, keys)


@contextmanager
def cold_mount(cold: ColdStore, *options: str) -> Iterator[Path]:
    """The key store, mounted; nothing of it has been read."""
    place = cold.scratch / "mount"
    place.mkdir(exist_ok=True)
    with mounted(place, [KEYFS, "mount", *options], [KEYFS, "umount"], **cold.store.settings):
        yield place


def asking(cold: ColdStore) -> tuple[str, ...]:
    """The options with which the floor reads the same keys (`benchmarking/floor_program.py`)."""
    return ("--reads", str(cold.store.server.unix), "--master-key", str(cold.scratch / "master.key"))


def script_us(cold: ColdStore, numbers: Sequence[int], threads: int) -> float:
    """Microseconds per key of the plain script, which reads those keys with so many threads."""
    done = subprocess.run(
        [sys.executable, SCRIPT],
        input=cold.script_input(numbers, threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the plain script failed: {done.stderr.strip()}")
    return float(done.stdout) / len(numbers) * 1e6


def mount_us(place: Path, numbers: Sequence[int], readers: int) -> float:
    """Microseconds per key through the mount, which is read by so many processes at once."""
    paths = [place / "storage-sym" / CLIENT.format(number) / "current" for number in numbers]
    began, started = os.pipe()
    processes = [_reader(paths[part::readers], began) for part in range(readers)]
    time.sleep(0.05 + 0.005 * readers)  # until all of them wait for the start
    start = time.perf_counter()
    os.write(started, b"s" * readers)
    failed = [os.waitpid(process, 0)[1] for process in processes]
    took_s = time.perf_counter() - start
    os.close(began)
    os.close(started)
    if any(failed):
        raise BenchError("a reader of the mount failed")
    return took_s / len(numbers) * 1e6


def _reader(paths: Sequence[Path], began: int) -> int:
    """A process that reads those keys once it is told to begin."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.read(began, 1)
        status = int(any(len(read_once(path)) != KEY_BYTES for path in paths))
    finally:
        os._exit(status)
