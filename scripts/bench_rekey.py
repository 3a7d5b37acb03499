"""Measures a change of the master key: 10,000 blobs in a directory and in Redis, under readers and a rotator.

The key store is mounted and read all the time; the change is killed (SIGKILL) 20 times at random points and
begun again. Everything is in memory (tmpfs), Redis on a unix socket: a disk adds its fsync, a network its
round trips. What is shown is the time from the first start to the end of the last run, deaths included.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_redis import check_redis
from benchmarking.programs import TMPFS, BenchError, on_terminate
from benchmarking.report import machine

from keyfs.testing.redis_servers import redis_server
from keyfs.testing.rekey_scenario import Outcome, Scenario, play

MEDIA = ("directory", "Redis")


@contextmanager
def medium(kind: str, folder: Path) -> Iterator[str]:
    """The URI of a place for a new key store."""
    if kind == "directory":
        yield f"dir:{folder / 'keys'}"
        return
    with redis_server() as server:
        yield server.unix_uri()


def measure(kind: str, blobs: int, kills: int) -> Outcome:
    """Plays the scenario once.

    Raises:
        BenchError: a read failed, or something was lost: then the figures are worth nothing.
    """
    with tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=TMPFS) as folder:
        place = Path(folder)
        with medium(kind, place) as uri:
            outcome = play(Scenario(uri, place, blobs, kills))
    if outcome.lost or outcome.left_old or outcome.moved:
        raise BenchError(
            f"{kind}: {outcome.lost} versions lost, {outcome.left_old} left, {outcome.moved} moved"
        )
    return outcome


def figures(outcome: Outcome, kills: int) -> dict[str, Any]:
    """What is told of one medium."""
    readings = outcome.readings
    return {
        "blobs": outcome.blobs,
        "time, s": round(outcome.seconds, 2),
        "blobs per s": round(outcome.blobs / outcome.seconds),
        "killed": kills,
        "reads meanwhile": readings.reads,
        "reads failed": sum(readings.errors.values()) + readings.wrong,
        "slowest read, ms": round(1000 * readings.slowest_s, 1),
        "rotations meanwhile": outcome.rotations,
        "versions lost": outcome.lost,
        "left under the old key": outcome.left_old,
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """A line for each figure, a column for each medium."""
    names = list(next(iter(found.values())))
    lines = [f"{'':<26}" + "".join(f"{kind:>14}" for kind in found)]
    lines += [f"{name:<26}" + "".join(f"{row[name]:>14}" for row in found.values()) for name in names]
    return "\n".join(lines)


def main() -> None:
    """Measures, writes the figures and prints them."""
    signal.signal(signal.SIGTERM, on_terminate)
    parser = argparse.ArgumentParser(prog="bench rekey", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a little of each: shows that it runs, no more")
    parser.add_argument("--blobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("bench-rekey.json"))
    given = parser.parse_args()
    blobs, kills = (200, 3) if given.quick else (given.blobs, given.kills)
    if blobs < 1 or kills < 0:
        parser.error("--blobs must be at least 1, --kills at least 0")
    try:
        check_redis()
        found = {kind: figures(measure(kind, blobs, kills), kills) for kind in MEDIA}
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    given.output.write_text(json.dumps({"machine": machine(), "media": found}, indent=2) + "\n")
    print(table(found), end="\n\n")
    print(f"all figures: {given.output}")


if __name__ == "__main__":
    main()
