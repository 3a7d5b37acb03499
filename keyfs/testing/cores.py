"""Core dumps made on purpose, and the search for a key in them."""

import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

_WINDOW: Final = 8  # bytes; chance makes none of them
_STRIDE: Final = 4  # so that whatever has 11 bytes of a key in a row has a whole window
_EMPTY: Final = bytes(4096)


def need_gcore() -> None:
    """Skip where nobody can look into a process that forbids it; fail where the tool is missing."""
    if shutil.which("gcore") is None:
        pytest.fail("gcore is missing: scripts/setup --test installs gdb")
    if os.geteuid() != 0:
        pytest.skip("needs root, to look into a process that forbids it")


def found_in_core_of(pid: int, folder: Path, *secrets: bytes, whole: bool = False) -> dict[str, int]:
    """How often parts of *secrets* stand in a core of a running process, as root can make one of any.

    Args:
        pid: of the process. It is stopped meanwhile, not ended.
        folder: for the core, which is removed again.
        secrets: 16 bytes or more of each. What is found of the second and on is told with its number.
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
        return _found_in(core, secrets)
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


def _found_in(core: Path, secrets: Sequence[bytes]) -> dict[str, int]:
    content = _without_empty_pages(core)
    counted = {
        f"{name} of secret {number}" if number else name: content.count(pattern)
        for number, secret in enumerate(secrets)
        for name, pattern in windows(secret)
    }
    return {name: count for name, count in counted.items() if count}


def _without_empty_pages(core: Path) -> bytes:
    """Each run of empty pages made one: most of a core is empty, and no pattern is as long as a page."""
    kept = [_EMPTY]
    with core.open("rb") as file:
        while page := file.read(len(_EMPTY)):
            if page != _EMPTY or kept[-1] is not _EMPTY:
                kept.append(_EMPTY if page == _EMPTY else page)
    return b"".join(kept)
