"""A daemon and all that it started, as root sees them from outside."""

import contextlib
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The process itself and all below it."""
    children = [
        int(word)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for word in (task / "children").read_text().split()
    ]
    return [pid, *(below for child in children for below in descendants(child))]


def environments(pid: int) -> bytes:
    """The environments of all of them, as the kernel shows them."""
    found = b""
    for process in descendants(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found += Path(f"/proc/{process}/environ").read_bytes()
    return found
