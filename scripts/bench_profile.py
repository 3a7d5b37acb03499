"""Shows in which functions of a mount the time goes: cProfile of the daemon's main thread.

Of hot reads, or with --list of `ls -lR`. A profiler slows down what makes many calls, so only shares mean
anything. How long requests take without it: `scripts/bench budget`.
"""

import argparse
import pstats
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import say
from benchmarking import listing, profiled, rivals, stores
from benchmarking.programs import BenchError, obey_signals, served
from benchmarking.reading import check, microseconds_per_read
from benchmarking.workshop import WHERE, Effort, Workshop

PROFILED = Path(profiled.__file__)


def reads(count: int, mount: Path) -> str:
    """Reads one key so many times."""
    check(stores.one_file(mount), rivals.KEY_BYTES)
    took = microseconds_per_read(stores.one_file(mount), count)
    return f"{count} hot reads, {took:.0f} µs each under the profiler"


def lists(keys: int, mount: Path) -> str:
    """Lists so many keys."""
    took = listing.seconds_of(mount, "ls -lR", keys)
    return f"ls -lR of {keys} keys, {took / keys * 1e6:.0f} µs each under the profiler"


def profile(workshop: Workshop, keys: int, work: Callable[[Path], str], options: list[str]) -> Path:
    """The profile of a daemon that served that work on a store of so many keys."""
    found = workshop.new_place("profile") / "daemon.prof"
    store, place = stores.in_directory(workshop, keys), workshop.new_place("keyfs")
    keyfs: list[str | Path] = [sys.executable, PROFILED, found, "mount", "--foreground", *options]
    with served(place, [*keyfs, place], **store.settings):
        said = work(place)
    if not found.exists():
        raise BenchError("the daemon left no profile")
    print(said)
    return found


def main() -> None:
    """Measures and prints."""
    obey_signals()
    parser = argparse.ArgumentParser(prog="bench profile", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few reads: shows that it runs, no more")
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--list", type=int, metavar="KEYS", help="list so many keys, and read none")
    parser.add_argument("--lines", type=int, default=30, help="how many functions are shown")
    given, options = parser.parse_known_args()  # all others are options of keyfs mount
    say(WHERE)
    try:
        with Workshop(Effort(given.quick)) as workshop:
            keys = 1 if given.list is None else workshop.effort.size(given.list)
            count = workshop.effort.reads(given.reads)
            work = partial(reads, count) if given.list is None else partial(lists, keys)
            found = profile(workshop, keys, work, options)
            pstats.Stats(str(found)).strip_dirs().sort_stats("tottime").print_stats(given.lines)
    except BenchError as exc:
        sys.exit(f"bench: {exc}")


if __name__ == "__main__":
    main()
