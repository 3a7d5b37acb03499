"""Measures from the mount command to the first byte of a key: keyfs and gocryptfs, which take turns.

Both mount a directory with as many files, and one of them is read as soon as the command has returned.
gocryptfs has its default settings: its password goes through scrypt at full cost. Only ratios of the same
round are worth comparing. `--commands` measures commands that mount nothing instead.
"""

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

KEYFS = Path(sys.executable).with_name("keyfs")
KEY_BYTES = 32
Measure = Callable[[], float]


@contextmanager
def keyfs_start(scratch: Path, keys: int, *options: str) -> Iterator[Measure]:
    """Makes a key store; each call of what it gives mounts it: the seconds to the first key read."""
    environment, place = make_key_store(scratch, keys), scratch / "keyfs"
    place.mkdir()
    key = place / "storage-sym" / client(keys // 2) / "current"
    mount: list[str | Path] = [KEYFS, "mount", *options, place]
    umount: list[str | Path] = [KEYFS, "umount", place]
    yield lambda: seconds_to_read(mount, umount, key, environment)


@contextmanager
def gocryptfs_start(scratch: Path, keys: int) -> Iterator[Measure]:
    """As `keyfs_start`, for the peer."""
    passfile, cipher, place = scratch / "passfile", scratch / "cipher", scratch / "gocryptfs"
    passfile.write_text(secrets.token_hex() + "\n")
    cipher.mkdir()
    place.mkdir()
    mount: list[str | Path] = ["gocryptfs", "-q", "-nosyslog", "-passfile", passfile, cipher, place]
    umount: list[str | Path] = ["fusermount3", "-u", place]
    run(["gocryptfs", "-init", "-q", "-nosyslog", "-passfile", passfile, cipher])
    run(mount)
    try:
        for number in range(keys):
            (place / client(number)).write_bytes(secrets.token_bytes(KEY_BYTES))
    finally:
        run(umount)
    yield lambda: seconds_to_read(mount, umount, place / client(keys // 2))


def seconds_to_read(
    mount: Sequence[str | Path],
    umount: Sequence[str | Path],
    key: Path,
    environment: dict[str, str] | None = None,
) -> float:
    """The time from the start of a mount command to the first read of a key. Unmounts afterwards."""
    started = time.perf_counter()
    run(mount, environment)
    try:
        with key.open("rb", buffering=0) as file:
            found = len(file.read(4096))
        took = time.perf_counter() - started
    finally:
        time.sleep(0.05)  # gocryptfs looks at its mount a moment after it is ready
        run(umount, environment)
    if found != KEY_BYTES:
        raise SystemExit(f"bench: {key} has {found} bytes")
    return took


def command_seconds(*words: str | Path, environment: dict[str, str] | None = None) -> float:
    """The time that a command takes which mounts nothing."""
    started = time.perf_counter()
    run([KEYFS, *words], environment)
    return time.perf_counter() - started


def make_key_store(scratch: Path, keys: int, uri: str = "") -> dict[str, str]:
    """Makes a key store with so many keys; returns the environment that names it. *uri*: else a directory."""
    from keyfs import app  # noqa: PLC0415 - what is measured are processes of their own
    from keyfs.core.names import parse_key_ref  # noqa: PLC0415 - as above

    master_key, store = scratch / "master.key", uri or f"dir:{scratch / 'store'}"
    master_key.touch(mode=0o600)
    master_key.write_text(run([KEYFS, "master-key", "generate"]))
    app.init_store(store, "v1")
    opened, writer = app.open_keys(app.Access(store, f"file:{master_key}"))
    for number in range(keys):
        writer.generate(parse_key_ref(f"storage-sym/{client(number)}"))
    opened.close()
    return {"PATH": os.environ["PATH"], "KEYFS_STORE": store, "KEYFS_MASTER_KEY": f"file:{master_key}"}


def client(number: int) -> str:
    """The name of one of the clients."""
    return f"client{number:07d}"


def run(words: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    """Runs a program to its end; returns what it printed."""
    # Into files: a daemon that keeps its standard error open would make a pipe wait for the daemon's end.
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+") as err:
        ran = subprocess.run(words, env=environment, check=False, stdout=out, stderr=err)
        out.seek(0)
        err.seek(0)
        if ran.returncode != 0:
            raise SystemExit(f"bench: {words[0]} failed: {err.read().strip()}")
        return out.read()


def compare(scratch: Path, keys: int, rounds: int) -> dict[str, list[float]]:
    """The seconds of each, one figure per round, taken alternately."""
    with keyfs_start(scratch, keys) as keyfs, gocryptfs_start(scratch, keys) as gocryptfs:
        measures = {"keyfs": keyfs, "gocryptfs": gocryptfs}
        figures: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(rounds + 1):
            for name in sorted(measures, reverse=number % 2 == 1):
                took = measures[name]()
                if number:  # the first one fills the page cache
                    figures[name].append(took)
        return figures


def compare_commands(scratch: Path, keys: int, rounds: int) -> dict[str, list[float]]:
    """The seconds of commands that mount nothing."""
    environment = make_key_store(scratch, keys)
    commands = {
        "keyfs --help": ["--help"],
        "keyfs read": ["read", f"storage-sym/{client(keys // 2)}"],
        "keyfs list": ["list"],
    }
    return {
        name: [command_seconds(*words, environment=environment) for _ in range(rounds)]
        for name, words in commands.items()
    }


def report(figures: dict[str, list[float]]) -> None:
    """Prints each row with its spread in milliseconds."""
    for name, row in figures.items():
        low, middle, high = (1000 * figure for figure in (min(row), statistics.median(row), max(row)))
        print(f"{name:<24}{low:>8.0f}{middle:>8.0f}{high:>8.0f} ms (least, median, most)")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--directory", default="/dev/shm", help="where the stores lie")
    parser.add_argument("--commands", action="store_true", help="commands that mount nothing instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyfs-bench-", dir=given.directory) as scratch:
        if given.commands:
            report(compare_commands(Path(scratch), given.keys, given.rounds))
            return
        figures = compare(Path(scratch), given.keys, given.rounds)
    report(figures)
    ratios = [one / other for one, other in zip(figures["keyfs"], figures["gocryptfs"], strict=True)]
    print(f"keyfs / gocryptfs{min(ratios):>15.2f}{statistics.median(ratios):>8.2f}{max(ratios):>8.2f}")


if __name__ == "__main__":
    main()
