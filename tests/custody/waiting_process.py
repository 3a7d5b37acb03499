"""A process that has got a key somewhere, and waits to be looked at."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

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


def need_gcore() -> None:
    """Skip where nobody can look into a process that forbids it; fail where the tool is missing."""
    if shutil.which("gcore") is None:
        pytest.fail("gcore is missing: scripts/setup --test installs gdb")
    if os.geteuid() != 0:
        pytest.skip("needs root, to look into a process that forbids it")
