"""Listing: `ls -lR` and `find` of very many keys, from cold caches."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from benchmarking import rivals, stores
from benchmarking.contest import Contest, Field, Row
from benchmarking.programs import Absent, BenchError
from benchmarking.workshop import Workshop

KEYS = 100_000
KEYFS, GOCRYPTFS, FLOOR, BY_ITSELF = "keyfs", "gocryptfs", "floor", "floor, as pyfuse3 waits"
COMMANDS = {
    "ls -lR": ("ls", "-lR"),
    "find": ("find", "-type", "f", "-name", "current"),
}
TITLES = {KEYFS: KEYFS, FLOOR: rivals.FLOOR, BY_ITSELF: f"{rivals.FLOOR}, as it waits by itself"}
LINE_OF = {"ls -lR": b" current\n", "find": b"/current\n"}


def seconds(mount: Callable[[], AbstractContextManager[Path]], what: str, keys: int) -> float:
    """Mounts anew, so that neither the kernel nor the daemon has anything in memory, and lists everything.

    Raises:
        BenchError: the listing has not all keys.
    """
    with mount() as place:
        return seconds_of(place, what, keys)


def seconds_of(place: Path, what: str, keys: int) -> float:
    """Lists everything in this mount.

    Raises:
        BenchError: the listing has not all keys.
    """
    began = time.perf_counter()
    ran = subprocess.run(COMMANDS[what], cwd=place / rivals.PURPOSE, check=False, capture_output=True)
    took = time.perf_counter() - began
    shown = ran.stdout.count(LINE_OF[what])
    if ran.returncode != 0 or shown != keys:
        raise BenchError(f"{what} shows {shown} keys, not {keys}: {ran.stderr.decode().strip()[:200]}")
    return took


@contextmanager
def prepare(workshop: Workshop) -> Iterator[Field]:
    """Fills both."""
    keys = workshop.effort.size(KEYS)
    field = Field(remarks=[f"{keys} keys, each in a directory of its own"])
    store, place = stores.in_directory(workshop, keys), workshop.new_place("keyfs")
    nowhere = workshop.new_place("floor")
    mounts: dict[str, Callable[[], AbstractContextManager[Path]]] = {
        KEYFS: lambda: store.mounted(place, "--read-only"),
        FLOOR: lambda: rivals.floor(nowhere, "--clients", str(keys)),
        BY_ITSELF: lambda: rivals.floor(nowhere, "--untaught", "--clients", str(keys)),
    }
    try:
        rival = rivals.Gocryptfs(workshop.new_place("gocryptfs"))
        with rival.mounted() as empty:
            rivals.plant(empty, [stores.client(number) for number in range(keys)])
        mounts[GOCRYPTFS] = rival.mounted
    except Absent as exc:
        field.absent |= {f"{GOCRYPTFS}, {what}": str(exc) for what in COMMANDS}
    for what in COMMANDS:
        for name, mount in mounts.items():
            field.measures[f"{name}, {what}"] = partial(seconds, mount, what, keys)
    yield field


CONTEST = Contest(
    name="ls",
    about="`ls -lR` and `find -type f -name current` of one purpose with 100,000 clients, each a directory"
    " with one key; each listing of a mount that was made for it: nothing is in the kernel's caches yet."
    " The floor answers the same requests, from nothing; it waits for them as keyfs does, or as pyfuse3 does"
    " by itself",
    unit="s",
    rows=tuple(
        Row(
            f"{what} of 100,000 keys",
            f"{name}, {what}",
            f"{GOCRYPTFS}, {what}",
            0.25 if name == KEYFS else None,
            GOCRYPTFS,
            title,
        )
        for what in COMMANDS
        for name, title in TITLES.items()
    ),
    rounds=3,
    prepare=prepare,
)
