"""Measures cold reads from Redis: a key whose sealed bytes the mount has never had, beside a plain script.

The script asks Redis with redis-py, opens the Secure Cell and reads a file on tmpfs; the mount is read by
open, read and close. Both turn to keys that nobody has read before, and take turns within one run, in an
order that reverses from round to round. Only ratios of the same round are worth comparing. Beside them stands
an empty pyfuse3 program, read in the same way: no program on pyfuse3 can do with less.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import KEYFS, TMPFS, BenchError, Spread, mounted, on_terminate, read_once
from bench_redis import Store, check_redis, fill, new_store
from benchmarking import rivals

KEY_BYTES = 32
MANY = 32
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


def new_floor(scratch: Path) -> Path:
    """Where the floor is mounted."""
    place = scratch / "floor"
    place.mkdir()
    return place


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


@dataclass(frozen=True)
class Plan:
    """How much is measured: each round reads so many keys, by one reader and by many."""

    rounds: int
    reads: int

    @property
    def keys(self) -> int:
        """How many keys that takes: the script does not mind reading what the mount reads, too."""
        return self.rounds * self.reads * 2 + self.reads


def measure(cold: ColdStore, place: Path, floor: Path, plan: Plan) -> dict[str, list[float]]:
    """Microseconds per key, one figure for each round."""
    figures: dict[str, list[float]] = {}
    taken = plan.reads
    mount_us(place, range(plan.reads), 1)  # a warm-up: of the daemon, not of what is measured
    for number in range(plan.rounds):
        for readers in (1, MANY):
            numbers = range(taken, taken + plan.reads)
            taken += plan.reads
            turns: list[tuple[str, Callable[[], float]]] = [
                (f"keyfs, {readers}", lambda n=numbers, r=readers: mount_us(place, n, r)),  # type: ignore[misc]  # mypy knows no type of a bound default
                (f"floor, {readers}", lambda n=numbers, r=readers: mount_us(floor, n, r)),  # type: ignore[misc]  # as above
                (f"script, {readers}", lambda n=numbers, r=readers: script_us(cold, n, r)),  # type: ignore[misc]  # as above
            ]
            for name, turn in reversed(turns) if number % 2 else turns:
                figures.setdefault(name, []).append(turn())
    return figures


def ratios_of(figures: dict[str, list[float]]) -> dict[str, list[float]]:
    """Round by round: the time of keyfs, and of an empty pyfuse3 program, as multiples of the script's."""
    return {
        f"{name}, {readers} reader{'s' * (readers > 1)}": [
            ours / theirs
            for ours, theirs in zip(figures[f"{name}, {readers}"], figures[f"script, {readers}"], strict=True)
        ]
        for name in ("keyfs", "floor")
        for readers in (1, MANY)
    }


def parse_arguments() -> tuple[Plan, tuple[str, ...]]:
    """How much to measure, and the options of the mount."""
    parser = argparse.ArgumentParser(prog="bench cold", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, no more")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reads", type=int, default=3200, help="per round and number of readers")
    parser.add_argument("--read-only", action="store_true", help="of the mount")
    given = parser.parse_args()
    plan = Plan(1, 320) if given.quick else Plan(given.rounds, given.reads)
    if plan.rounds < 1 or plan.reads < MANY:
        parser.error(f"--rounds must be at least 1 and --reads {MANY}")
    return plan, ("--read-only",) if given.read_only else ()


def main() -> None:
    """Measures and prints."""
    signal.signal(signal.SIGTERM, on_terminate)
    plan, options = parse_arguments()
    try:
        check_redis()
        with (
            tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=TMPFS) as scratch,
            cold_store(Path(scratch), plan.keys) as cold,
            cold_mount(cold, *options) as place,
            rivals.floor(new_floor(Path(scratch))) as floor,
        ):
            figures = measure(cold, place, floor, plan)
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    print(f"{plan.rounds} rounds of {plan.reads} cold keys\n")
    for title, rows in (("microseconds per key", figures), ("ratio to the script", ratios_of(figures))):
        print(f"{title:<28}{'min':>10}{'median':>10}{'max':>10}")
        for name, row in rows.items():
            spread = Spread.of(row)
            print(f"{name:<28}{spread.minimum:>10.2f}{spread.median:>10.2f}{spread.maximum:>10.2f}")
        print()


if __name__ == "__main__":
    main()
