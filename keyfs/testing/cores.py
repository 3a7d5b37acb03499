"""Core dumps made on purpose, and the search for a key in them."""

import mmap
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_WINDOW: Final = 8  # bytes; chance makes none of them
_STRIDE: Final = 4  # so that whatever has 11 bytes of a key in a row has a whole window


def need_gcore() -> None:
    """Skip where nobody can look into a process that forbids it; fail where the tool is missing."""
    if shutil.which("gcore") is None:
        pytest.fail("gcore is missing: scripts/setup --test installs gdb")
    if os.geteuid() != 0:
        pytest.skip("needs root, to look into a process that forbids it")


def found_in_core_of(pid: int, secret: bytes, folder: Path, *, whole: bool = False) -> dict[str, int]:
    """How often parts of *secret* stand in a core of a running process, as root can make one of any.

    Args:
        pid: of the process. It is stopped meanwhile, not ended.
        secret: 16 bytes or more.
        folder: for the core, which is removed again.
        whole: also what is marked as not to be dumped, as far as the debugger can read it.

    Raises:
        AssertionError: there is no core.
    """
    prefix = folder / "core"
    command = ["gcore", *(["-a"] if whole else []), "-o", str(prefix), str(pid)]
    done = subprocess.run(command, check=False, capture_output=True, timeout=120)  # noqa: S603 - a fixed command
    core = folder / f"core.{pid}"
    try:
        assert core.exists(), done.stderr.decode()  # noqa: S101 - this is the test kit
        return _found_in(core, secret)
    finally:
        core.unlink(missing_ok=True)


def windows(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Every pattern that stands for a part of *secret*, with what it is."""
    for at in range(0, len(secret) - _WINDOW + 1, _STRIDE):
        part = secret[at : at + _WINDOW]
        yield f"raw bytes at {at}", part
        yield f"raw bytes at {at}, backwards", part[::-1]
        yield f"hex at {at}", part.hex().encode()
        yield f"capital hex at {at}", part.hex().upper().encode()
    for shift in range(3):  # where in a group of three bytes the key begins
        text = b64encode(bytes(shift) + secret)[4:-4]
        for at in range(0, len(text) - 11, _STRIDE):
            yield f"base64 at {at}, shifted by {shift}", text[at : at + 12]


def _found_in(core: Path, secret: bytes) -> dict[str, int]:
    descriptor = os.open(core, os.O_RDONLY)
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
            counted = {name: _count(content, pattern) for name, pattern in windows(secret)}
    finally:
        os.close(descriptor)
    return {name: count for name, count in counted.items() if count}


def _count(content: mmap.mmap, pattern: bytes) -> int:
    count, at = 0, content.find(pattern)
    while at >= 0:
        count, at = count + 1, content.find(pattern, at + 1)
    return count
