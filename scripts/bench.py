"""Measures hot reads: open, read and close of a 32-byte key, again and again, by one process.

All file systems are mounted at the same time and take turns within one run, in an order that reverses from
round to round: what the machine does meanwhile hits all alike. Only ratios of the same round are worth
comparing. Everything lies on tmpfs, so that no disk is measured.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

KEY_BYTES = 32
KEYFS = Path(sys.executable).with_name("keyfs")
TMPFS = Path("/dev/shm")
RATIOS = [
    ("keyfs-ro", "gocryptfs"),
    ("keyfs-rw", "gocryptfs"),
    ("keyfs-ro", "tmpfs"),
    ("keyfs-rw", "tmpfs"),
    ("gocryptfs", "tmpfs"),
]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    reads: int


@dataclass(frozen=True)
class Spread:
    """A row of figures, told by three."""

    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Reduces figures, at least one, to their spread."""
        return cls(min(figures), statistics.median(figures), max(figures))


class BenchError(Exception):
    """Something the benchmark needs is missing or failed; the message is for a human."""


def run(*command: str | Path, **environment: str) -> str:
    """Runs a program to its end and returns what it printed.

    Raises:
        BenchError: it failed; the message is its own.
    """
    # Into files: a daemon that keeps its standard error open would make a pipe wait for the daemon's end.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        ran = subprocess.run(command, env={**os.environ, **environment}, check=False, stdout=out, stderr=err)
        out.seek(0)
        err.seek(0)
        if ran.returncode != 0:
            raise BenchError(f"{command[0]} failed: {err.read().strip()}")
        return out.read()


@contextmanager
def mounted(
    place: Path, mount: Sequence[str | Path], unmount: Sequence[str | Path], **env: str
) -> Iterator[None]:
    """Mounts for a while, and takes the mount away whatever happens, by force if its own command does not."""
    try:
        run(*mount, place, **env)
        if not os.path.ismount(place):
            raise BenchError(f"nothing is mounted on {place}")
        yield
    finally:
        with suppress(BenchError):
            run(*unmount, place)
        if os.path.ismount(place):
            run("umount", "--lazy", place)


# --- what is measured: each gives a file of 32 bytes for as long as it is entered ---


@contextmanager
def tmpfs_file(scratch: Path) -> Iterator[Path]:
    """The floor: no user-space file system at all."""
    path = scratch / "plain"
    path.write_bytes(secrets.token_bytes(KEY_BYTES))
    yield path


@contextmanager
def gocryptfs_file(scratch: Path) -> Iterator[Path]:
    """A peer: gocryptfs with default options; only its password hash is cheap, which no read ever sees."""
    passfile, cipher, place = scratch / "passfile", scratch / "cipher", scratch / "gocryptfs"
    passfile.write_text(secrets.token_hex() + "\n")
    cipher.mkdir()
    place.mkdir()
    common = ("-q", "-nosyslog", "-passfile", passfile)
    run("gocryptfs", "-init", "-scryptn", "10", *common, cipher)
    with mounted(place, ["gocryptfs", *common, cipher], ["fusermount3", "-u"]):
        (place / "key").write_bytes(secrets.token_bytes(KEY_BYTES))
        yield place / "key"


@contextmanager
def keyfs_file(scratch: Path, settings: Mapping[str, str], name: str, *options: str) -> Iterator[Path]:
    """A key through keyfs."""
    place = scratch / name
    place.mkdir()
    with mounted(place, [KEYFS, "mount", *options], [KEYFS, "umount"], **settings):
        yield place / "storage-sym" / "alice1" / "current"


def make_key_store(scratch: Path) -> dict[str, str]:
    """Makes a key store with one key in it and returns the environment that names it."""
    master_key = scratch / "master.key"
    master_key.touch(mode=0o600)
    master_key.write_text(run(KEYFS, "master-key", "generate"))
    settings = {"KEYFS_STORE": f"dir:{scratch / 'store'}", "KEYFS_MASTER_KEY": f"file:{master_key}"}
    run(KEYFS, "init", **settings)
    run(KEYFS, "generate", "storage-sym/alice1", **settings)
    return settings


# --- measuring ---


def read_once(path: Path) -> bytes:
    """Does what is measured."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def microseconds_per_read(path: Path, reads: int) -> float:
    """Reads a file so many times, after a warm-up."""
    for _ in range(max(1, reads // 10)):
        read_once(path)
    gc.disable()
    start = time.perf_counter_ns()
    for _ in range(reads):
        read_once(path)
    took = time.perf_counter_ns() - start
    gc.enable()
    return took / reads / 1000


def measure(files: Mapping[str, Path], plan: Plan) -> dict[str, list[float]]:
    """Returns the microseconds per read of each file, one figure per round."""
    for name, path in files.items():
        if len(read_once(path)) != KEY_BYTES:
            raise BenchError(f"{name} does not hand out {KEY_BYTES} bytes")
    figures: dict[str, list[float]] = {name: [] for name in files}
    for number in range(plan.rounds):
        for name in sorted(files, reverse=number % 2 == 1):
            figures[name].append(microseconds_per_read(files[name], plan.reads))
    return figures


def ratios_of(figures: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Divides round by round: figures of different rounds were taken on a different machine, so to speak."""
    return {
        f"{one} / {other}": [a / b for a, b in zip(figures[one], figures[other], strict=True)]
        for one, other in RATIOS
    }


# --- reporting ---


def table(title: str, rows: Mapping[str, Sequence[float]]) -> str:
    """Returns one line per row with its spread."""
    lines = [f"{title:<28}{'min':>10}{'median':>10}{'max':>10}"]
    for name, row in rows.items():
        spread = Spread.of(row)
        lines.append(f"{name:<28}{spread.minimum:>10.2f}{spread.median:>10.2f}{spread.maximum:>10.2f}")
    return "\n".join(lines)


def report(figures: Mapping[str, Sequence[float]], plan: Plan) -> dict[str, object]:
    """Returns everything that was found, and on what, for bench.json."""
    return {
        "plan": asdict(plan),
        "machine": {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "keyfs": importlib.metadata.version("keyfs"),
            "gocryptfs": run("gocryptfs", "-version").partition(";")[0],
        },
        "microseconds_per_read": {
            name: {**asdict(Spread.of(row)), "rounds": list(row)} for name, row in figures.items()
        },
        "ratios": {
            name: {**asdict(Spread.of(row)), "rounds": row} for name, row in ratios_of(figures).items()
        },
    }


# --- the run ---


def check_machine() -> None:
    """Raises: BenchError: what the benchmark compares with, or lies on, is missing."""
    if shutil.which("gocryptfs") is None:
        raise BenchError("gocryptfs is missing; run scripts/setup --test")
    if not TMPFS.is_dir():
        raise BenchError(f"{TMPFS} is missing; mount a tmpfs there")


def benchmark(plan: Plan) -> dict[str, list[float]]:
    """Mounts everything, measures, and takes everything away again."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=TMPFS)))
        settings = make_key_store(scratch)
        files = {
            "keyfs-ro": keyfs_file(scratch, settings, "keyfs-ro", "--read-only"),
            "gocryptfs": gocryptfs_file(scratch),
            "keyfs-rw": keyfs_file(scratch, settings, "keyfs-rw"),
            "tmpfs": tmpfs_file(scratch),
        }
        return measure({name: stack.enter_context(file) for name, file in files.items()}, plan)


def parse_arguments() -> tuple[Plan, Path]:
    """Returns what to measure, and where to write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds: shows that it runs, no more")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--reads", type=int, default=5000, help="per round and file system")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    plan = Plan(2, 200) if given.quick else Plan(given.rounds, given.reads)
    if plan.rounds < 1 or plan.reads < 1:
        parser.error("--rounds and --reads must be at least 1")
    return plan, given.output


def on_terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Unwinds like an interrupt, so that nothing stays mounted."""
    sys.exit(128 + number)


def main() -> None:
    """Measures, writes the figures and prints them."""
    signal.signal(signal.SIGTERM, on_terminate)
    plan, output = parse_arguments()
    try:
        check_machine()
        figures = benchmark(plan)
        output.write_text(json.dumps(report(figures, plan), indent=2) + "\n")
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    print(f"{plan.rounds} rounds of {plan.reads} reads\n")
    print(table("microseconds per read", figures), end="\n\n")
    print(table("ratio within a round", ratios_of(figures)), end="\n\n")
    print(f"all figures: {output}")


if __name__ == "__main__":
    main()
