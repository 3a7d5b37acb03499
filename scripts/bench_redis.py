"""Measures mounts over Redis: how soon a rotation on one is seen on another, and what 100,000 keys cost.

One machine, one Redis on a unix socket, without a network in between: add its round trip to what is shown.
"""

import argparse
import base64
import json
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarking.programs import KEYFS, TMPFS, BenchError, mounted, on_terminate, run
from benchmarking.reading import read_once
from benchmarking.report import machine

from keyfs.core.secret import Secret
from keyfs.seal.registry import open_sealer
from keyfs.testing.redis_servers import RedisServer, redis_server

KEY = "storage-sym/alice1/current"
PURPOSE = "storage-sym"
POLL_INTERVALS_S = (60, 300)
GIVE_UP_S = 10.0
PAUSE_S = (0.002, 0.02)
BATCH = 5000


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rotations: int
    keys: int


@dataclass(frozen=True)
class Delays:
    """From a rotation to the first open elsewhere that gives the new key, in milliseconds."""

    since_begun: list[float]
    since_acknowledged: list[float]


@dataclass(frozen=True)
class Store:
    """A key store in Redis, and the environment that names it."""

    server: RedisServer
    settings: Mapping[str, str]
    master_key: bytes


@contextmanager
def new_store(scratch: Path) -> Iterator[Store]:
    """An empty key store in a Redis of its own."""
    path = scratch / "master.key"
    path.touch(mode=0o600)
    path.write_text(run(KEYFS, "master-key", "generate"))
    with redis_server() as server:
        settings = {"KEYFS_STORE": server.unix_uri(), "KEYFS_MASTER_KEY": f"file:{path}"}
        yield Store(server, settings, base64.b64decode(path.read_text()))


@contextmanager
def mount_of(store: Store, place: Path) -> Iterator[Path]:
    """The key store, mounted at a new directory."""
    place.mkdir()
    with mounted(place, [KEYFS, "mount"], [KEYFS, "umount"], **store.settings):
        yield place


# --- propagation ---


def measure_propagation(scratch: Path, rotations: int) -> Delays:
    """Rotates on one mount and opens on another until the new key is there."""
    with ExitStack() as stack:
        store = stack.enter_context(new_store(scratch))
        run(KEYFS, "generate", "storage-sym/alice1", **store.settings)
        here, there = (stack.enter_context(mount_of(store, scratch / name)) / KEY for name in ("a", "b"))
        read_once(there)
        delays = Delays([], [])
        for _ in range(rotations):
            time.sleep(random.uniform(*PAUSE_S))
            rotate_once(here, there, delays)
        return delays


def rotate_once(here: Path, there: Path, delays: Delays) -> None:
    """Writes a key to one file, and reads the other until it has it.

    Raises:
        BenchError: it never had.
    """
    key = secrets.token_bytes(32)
    begun = time.perf_counter()
    here.write_bytes(key)
    acknowledged = time.perf_counter()
    while read_once(there) != key:
        if time.perf_counter() - acknowledged > GIVE_UP_S:
            raise BenchError(f"a rotation was not seen within {GIVE_UP_S} s")
    seen = time.perf_counter()
    delays.since_begun.append((seen - begun) * 1000)
    delays.since_acknowledged.append((seen - acknowledged) * 1000)


# --- many keys ---


def fill(store: Store, keys: int) -> None:
    """Puts so many symmetric keys of one purpose into Redis, as Acra does."""
    sealer = open_sealer(Secret(store.master_key))
    for start in range(0, keys, BATCH):
        values = {}
        for number in range(start, min(start + BATCH, keys)):
            client = f"client-{number:06}"
            blob = sealer.seal(Secret(secrets.token_bytes(32)), client.encode())
            values[f"ks/{client}_storage_sym"] = base64.b64encode(blob)
        store.server.admin.mset(values)


def measure_many(scratch: Path, keys: int) -> dict[str, float]:
    """Seconds and MiB for a mount of so many keys."""
    with ExitStack() as stack:
        store = stack.enter_context(new_store(scratch))
        fill(store, keys)
        found: dict[str, float] = {}
        began = time.perf_counter()
        place = stack.enter_context(mount_of(store, scratch / "many"))
        found["start to ready, s"] = time.perf_counter() - began
        daemon = int(json.loads((place / ".keyfs/status.json").read_bytes())["pid"])
        found["memory when ready, MiB"] = memory_mib(daemon)
        purpose = place / PURPOSE
        found["first cold read, ms"] = 1000 * timed(lambda: read_once(purpose / "client-000000" / "current"))
        found["first ls of the purpose, s"] = timed(lambda: count("ls", purpose, expected=keys))
        found["second ls of the purpose, s"] = timed(lambda: count("ls", purpose, expected=keys))
        found["memory after ls, MiB"] = memory_mib(daemon)
        files = ("find", purpose, "-type", "f", "-name", "current")
        found["find of all current keys, s"] = timed(lambda: count(*files, expected=keys))
        found["memory after find, MiB"] = memory_mib(daemon)
        return found


def timed(work: Callable[[], object]) -> float:
    """How many seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def count(*command: str | Path, expected: int) -> None:
    """Runs a program that has to print so many lines.

    Raises:
        BenchError: it does not.
    """
    lines = subprocess.run(command, check=True, capture_output=True).stdout.count(b"\n")
    if lines != expected:
        raise BenchError(f"{command[0]} shows {lines} names, not {expected}")


def memory_mib(pid: int) -> float:
    """The resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"process {pid} tells nothing of its memory")


# --- reporting ---


def percentile(figures: Sequence[float], share: float) -> float:
    """The figure below which this share of them lies."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def summary(figures: Sequence[float]) -> dict[str, float]:
    """Median, p99 and maximum."""
    return {"median": statistics.median(figures), "p99": percentile(figures, 0.99), "max": max(figures)}


def propagation_table(delays: Delays) -> str:
    """What was measured, beside what a polling agent can do at best."""
    lines = [f"{'seen elsewhere after':<34}{'median':>14}{'p99':>14}"]
    rows = {
        "keyfs, since the write returned": delays.since_acknowledged,
        "keyfs, since the write began": delays.since_begun,
    }
    for name, figures in rows.items():
        told = summary(figures)
        lines.append(f"{name:<34}{told['median']:>11.2f} ms{told['p99']:>11.2f} ms")
    for interval_s in POLL_INTERVALS_S:
        name = f"an agent that polls every {interval_s} s"
        lines.append(f"{name:<34}{interval_s / 2:>11.0f} s {interval_s * 0.99:>11.0f} s ")
    return "\n".join(lines)


def many_table(keys: int, found: Mapping[str, float]) -> str:
    """One line for each thing measured."""
    return "\n".join([f"{keys} keys", *(f"{name:<34}{figure:>14.2f}" for name, figure in found.items())])


def report(plan: Plan, delays: Delays, found: Mapping[str, float]) -> dict[str, Any]:
    """Everything that was found, and on what, for bench-redis.json."""
    return {
        "plan": asdict(plan),
        "machine": machine(redis=run("redis-server", "--version").split()[2].removeprefix("v=")),
        "propagation_ms": {name: {**summary(row), "all": row} for name, row in asdict(delays).items()},
        "polling_agent_s": {str(s): {"median": s / 2, "p99": s * 0.99} for s in POLL_INTERVALS_S},
        "many_keys": dict(found),
    }


def check_redis() -> None:
    """Raises: BenchError: there is no redis-server."""
    if shutil.which("redis-server") is None:
        raise BenchError("redis-server is missing; run scripts/setup --test")


def parse_arguments() -> tuple[Plan, Path]:
    """Returns how much to measure, and where to write it."""
    parser = argparse.ArgumentParser(prog="bench redis", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a little of each: shows that it runs, no more")
    parser.add_argument("--rotations", type=int, default=200)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=Path("bench-redis.json"))
    given = parser.parse_args()
    plan = Plan(20, 2000) if given.quick else Plan(given.rotations, given.keys)
    if plan.rotations < 1 or plan.keys < 1:
        parser.error("--rotations and --keys must be at least 1")
    return plan, given.output


def main() -> None:
    """Measures, writes the figures and prints them."""
    signal.signal(signal.SIGTERM, on_terminate)
    plan, output = parse_arguments()
    try:
        check_redis()
        with ExitStack() as stack:
            scratch, other = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=TMPFS)))
                for _ in range(2)
            )
            delays = measure_propagation(scratch, plan.rotations)
            found = measure_many(other, plan.keys)
        output.write_text(json.dumps(report(plan, delays, found), indent=2) + "\n")
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    print(f"{plan.rotations} rotations on one mount, first open on another that gives the new key\n")
    print(propagation_table(delays), end="\n\n")
    print(many_table(plan.keys, found), end="\n\n")
    print(f"all figures: {output}")


if __name__ == "__main__":
    main()
