"""Programs that a benchmark starts and stops, and mounts that it takes away again, whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

KEYFS = Path(sys.executable).with_name("keyfs")
TMPFS = Path("/dev/shm")
DISK = Path("/var/tmp")
UNMOUNT = ("fusermount3", "-u")
MOUNTED_WITHIN_S = 20.0


class BenchError(Exception):
    """Something the benchmark needs is missing or failed; the message is for a human."""


class Absent(Exception):
    """Somebody cannot take part here; the message says why. No failure: its rows say so, too."""


def run(*command: str | Path, **environment: str) -> str:
    """Runs a program to its end and returns what it printed.

    Raises:
        BenchError: it failed; the message is its own.
    """
    # Into files: a daemon that keeps its standard error open would make a pipe wait for the daemon's end.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        ran = subprocess.run(
            command,
            env={**os.environ, **environment},
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        out.seek(0)
        err.seek(0)
        if ran.returncode != 0:
            raise BenchError(f"{command[0]} failed: {err.read().strip()}")
        return out.read()


def demand(*programs: str) -> None:
    """Raises: Absent: one of the programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise Absent(f"{program} is not installed")


@contextmanager
def mounted(
    place: Path, mount: Sequence[str | Path], unmount: Sequence[str | Path] = UNMOUNT, **env: str
) -> Iterator[None]:
    """Mounts for a while, and takes the mount away whatever happens, by force if its own command does not.

    Raises:
        BenchError: it cannot be mounted.
    """
    try:
        run(*mount, place, **env)
        if not os.path.ismount(place):
            raise BenchError(f"nothing is mounted on {place}")
        yield
    finally:
        unmounted(place, unmount)


@contextmanager
def served(place: Path, command: Sequence[str | Path], **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The same for a program that stays in the foreground.

    Raises:
        BenchError: it does not mount anything in time.
    """
    with tempfile.TemporaryFile("w+b") as said:
        program = subprocess.Popen(
            command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            deadline = time.monotonic() + MOUNTED_WITHIN_S
            while not os.path.ismount(place):
                if program.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise BenchError(f"{command[0]} does not mount: {said.read().decode().strip()}")
                time.sleep(0.01)
            yield program
        finally:
            unmounted(place, UNMOUNT)
            with suppress(subprocess.TimeoutExpired):
                program.wait(10)
            program.kill()
            program.wait()


def unmounted(place: Path, unmount: Sequence[str | Path]) -> None:
    """Takes a mount away, by force if its own command does not."""
    with suppress(BenchError):
        run(*unmount, place)
    if os.path.ismount(place):
        run("umount", "--lazy", place)


_signalled: list[int] = []


def obey_signals() -> None:
    """From now on SIGTERM and SIGINT unwind, unless whoever started us had us ignore them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, on_terminate)


def on_terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Unwinds like an interrupt, so that nothing stays mounted; a second signal does not disturb that."""
    _signalled.append(number)
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def stop_if_signalled() -> None:
    """Unwinds if a signal's exception got lost: in what Python calls back, at a fork say, none is seen."""
    if _signalled:
        sys.exit(128 + _signalled[0])
