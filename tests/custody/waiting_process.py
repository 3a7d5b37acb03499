"""A process that has got a key somewhere, and waits to be looked at."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from keyfs.testing.mounted import keyfs_environment

READY = "\nprint('ready', flush=True); sys.stdin.read()"


@contextmanager
def waiting(source: str, given: bytes = b"") -> Iterator[int]:
    """The number of a process that has run *source*; os.read(0, …) there gives *given*."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import os, sys\n{source}{READY}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=keyfs_environment({}),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(given)
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
