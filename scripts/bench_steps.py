"""Shows in which steps of a rotation in a directory its time goes, beside a plain script; without a mount.

Each step is timed without those inside it. What a mount adds: `scripts/bench rotate`.
"""

import argparse
import os
import secrets
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ParamSpec, TypeVar

from bench import say
from benchmarking import stores
from benchmarking.plain_rotation import rotate_file
from benchmarking.programs import BenchError, obey_signals
from benchmarking.rivals import KEY_BYTES, ONE_CLIENT
from benchmarking.workshop import WHERE, Effort, Workshop

from keyfs.app import Access, open_keys
from keyfs.broker import writer as writers
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import parse_key_ref
from keyfs.core.secret import Secret
from keyfs.seal.registry import open_sealer
from keyfs.store import directory
from keyfs.store.beside import Beside

P = ParamSpec("P")
T = TypeVar("T")
SYNC = "fsync(2), three times"
STEPS: tuple[tuple[Any, str, str], ...] = (
    (os, "fsync", SYNC),
    (Beside, "_acquire", "take both locks"),
    (Beside, "_clear_staging", "clear what dead writers left, before and after"),
    (Beside, "stage_path", "find a place outside the store"),
    (KeyStore, "relist", "look what is there, before and after"),
    (KeyStore, "refresh", "take in what the watch tells of it"),
    (RingWriter, "_is_current", "open what is current: are these its bytes?"),
    (writers, "sealed", "seal, and prove that it opens"),
    (directory, "write_new", "write the new file"),
    (directory.DirectoryStore, "_archive", "give the old one its second name"),
    (directory.DirectoryStore, "supersede", "switch"),
    (RingWriter, "import_material", "all else"),
)


class Stopwatch:
    """Sums up the time of steps, each without the steps that it is made of."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self._within: list[float] = []

    def timed(self, step: Callable[P, T], title: str) -> Callable[P, T]:
        """The same, with its time taken."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            began = time.perf_counter()
            self._within.append(0.0)
            try:
                return step(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.taken[title] += took - self._within.pop()  # type: ignore[assignment]  # a Counter counts anything that adds up
                if self._within:
                    self._within[-1] += took

        return run


@contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    """All steps are timed until the end of the block."""
    before = [(where, name, getattr(where, name)) for where, name, _ in STEPS]
    try:
        for where, name, title in STEPS:
            setattr(where, name, stopwatch.timed(getattr(where, name), title))
        yield
    finally:
        for where, name, step in before:
            setattr(where, name, step)


def measure(workshop: Workshop, times: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Microseconds of the steps of keyfs, and of the script's, one figure for each rotation."""
    ours, plain = (stores.in_directory(workshop, 1, on_disk=True) for _ in range(2))
    keys, writer = open_keys(Access(ours.settings["KEYFS_STORE"], ours.settings["KEYFS_MASTER_KEY"]))
    folder = plain.settings["KEYFS_STORE"].removeprefix("dir:")
    sealer = open_sealer(Secret(plain.master_key))
    script = partial(rotate_file, Path(folder, f"{ONE_CLIENT}_storage_sym"), ONE_CLIENT, sealer)
    ref = parse_key_ref(f"storage-sym/{ONE_CLIENT}")
    rotations: tuple[Callable[[bytes], object], ...] = (partial(writer.import_material, ref), script)
    figures: tuple[dict[str, list[float]], ...] = (defaultdict(list), defaultdict(list))
    keys.watch()
    try:
        for _ in range(times):
            for rotate, found in zip(rotations, figures, strict=True):
                stopwatch = Stopwatch()
                with watched(stopwatch):
                    stopwatch.timed(rotate, STEPS[-1][2])(secrets.token_bytes(KEY_BYTES))
                for title, took in stopwatch.taken.items():
                    found[title].append(took * 1e6)
    finally:
        keys.close()
    return figures[0], figures[1]


def main() -> None:
    """Measures and prints."""
    obey_signals()
    parser = argparse.ArgumentParser(prog="bench steps", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rotations: shows that it runs, no more")
    parser.add_argument("--rotations", type=int, default=200)
    given = parser.parse_args()
    say(WHERE)
    try:
        with Workshop(Effort(given.quick)) as workshop:
            ours, plain = measure(workshop, 10 if given.quick else given.rotations)
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    print(f"{'microseconds, medians':<50}{'keyfs':>8}{'script':>8}")
    for title in sorted(ours, key=lambda title: -median(ours[title])):
        theirs = f"{median(plain[title]):.0f}" if title in plain else "-"
        print(f"{title:<50}{median(ours[title]):>8.0f}{theirs:>8}")
    print(f"{'in all':<50}{_total(ours):>8.0f}{_total(plain):>8.0f}")


def _total(figures: dict[str, list[float]]) -> float:
    return sum(median(steps) for steps in figures.values())


if __name__ == "__main__":
    main()
