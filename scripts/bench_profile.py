"""Shows in which functions of a mount the time of hot reads goes: cProfile of the daemon's main thread.

A profiler slows down what makes many calls, so only shares mean anything. How long requests take without it:
`scripts/bench budget`.
"""

import argparse
import pstats
import sys
from pathlib import Path

from benchmarking import rivals, stores
from benchmarking.programs import BenchError, obey_signals, served
from benchmarking.reading import check, microseconds_per_read
from benchmarking.workshop import Effort, Workshop


def profile(workshop: Workshop, reads: int, options: list[str]) -> Path:
    """The profile of a daemon that was read so many times."""
    found = workshop.new_place("profile") / "daemon.prof"
    store, place = stores.in_directory(workshop, 1), workshop.new_place("keyfs")
    keyfs: list[str | Path] = [
        sys.executable,
        "-m",
        "cProfile",
        "-o",
        found,
        "-m",
        "keyfs",
        "mount",
        "--foreground",
        *options,
    ]
    with served(place, [*keyfs, place], **store.settings):
        check(stores.one_file(place), rivals.KEY_BYTES)
        took = microseconds_per_read(stores.one_file(place), reads)
    if not found.exists():
        raise BenchError("the daemon left no profile")
    print(f"{reads} hot reads, {took:.0f} µs each under the profiler")
    return found


def main() -> None:
    """Measures and prints."""
    obey_signals()
    parser = argparse.ArgumentParser(prog="bench profile", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few reads: shows that it runs, no more")
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--lines", type=int, default=30, help="how many functions are shown")
    given, options = parser.parse_known_args()  # all others are options of keyfs mount
    try:
        with Workshop(Effort(given.quick)) as workshop:
            found = profile(workshop, 200 if given.quick else given.reads, options)
            pstats.Stats(str(found)).strip_dirs().sort_stats("tottime").print_stats(given.lines)
    except BenchError as exc:
        sys.exit(f"bench: {exc}")


if __name__ == "__main__":
    main()
