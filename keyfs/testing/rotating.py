"""A process that rotates keys until it is killed.

    python -m keyfs.testing.rotating STORE MASTER-KEY LOG SEED KEY…

Each acknowledged version is one line of LOG: the key, and the SHA-256 of its sealed private part (in Redis,
its identity). On standard input, a line lets it do one rotation; without standard input it does not wait.
"""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from keyfs import app
from keyfs.broker.writer import RingWriter
from keyfs.core.names import KeyRef, parse_key_ref
from keyfs.errors import KeyfsError
from keyfs.testing.mounted import keyfs_environment

READY: Final = b"ready\n"


@dataclass(frozen=True, slots=True)
class Rotator:
    """One such process. It ends when it is killed, or when its standard input ends."""

    process: subprocess.Popen[bytes]
    log: Path

    def rotate(self) -> None:
        """Let it do one rotation, and do not wait for it."""
        _pipe(self.process.stdin).write(b"\n")
        _pipe(self.process.stdin).flush()

    def wait(self) -> str:
        """What it says when it is ready, or has done a rotation: an error, or the version."""
        return _pipe(self.process.stdout).readline().decode().strip()

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def acknowledged(self) -> list[tuple[str, str]]:
        """Key and identity of each version that was acknowledged to it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(label, identity) for label, _, identity in (line.partition(" ") for line in lines)]


def start_rotator(
    uri: str, master_key: Path, log: Path, seed: int, labels: Sequence[str], *, by_command: bool = False
) -> Rotator:
    """A process that rotates *labels* in random order; *by_command* only when it is told to."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", __name__, uri, f"file:{master_key}", str(log), str(seed), *labels],
        env=keyfs_environment({}),
        stdin=subprocess.PIPE if by_command else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    return Rotator(process, log)


def main(uri: str, master_key: str, log: str, seed: str, *labels: str) -> None:
    """See the module."""
    refs = [parse_key_ref(label) for label in labels]
    pick = random.Random(int(seed))  # noqa: S311 - a seeded order, not a secret
    by_command = not os.path.samestat(os.fstat(0), os.stat(os.devnull))
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    keys, writer = app.open_keys(app.Access(uri, master_key))
    with closing(keys):
        keys.load()
        os.write(1, READY)
        while not by_command or sys.stdin.readline():
            said = _rotate(writer, pick.choice(refs), fd)
            if by_command:
                os.write(1, f"{said}\n".encode())


def _rotate(writer: RingWriter, ref: KeyRef, fd: int) -> str:
    try:
        version = writer.rotate(ref)
    except KeyfsError as exc:
        return f"{type(exc).__name__}: {exc}"
    assert version.secret is not None  # noqa: S101 - this is the test kit
    os.write(fd, f"{ref} {version.secret.stat.identity}\n".encode())
    return version.secret.stat.identity


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - as above
    return pipe


if __name__ == "__main__":
    main(*sys.argv[1:])
