"""Folders for tests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where that can be had: kill -9 does not care for fsync, and a disk is slow."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder below it is made safely
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="keyfs-test-", dir=memory) as name:
        yield Path(name)
