"""A process that opens, reads and closes one file all the time, and what it was given.

A process of its own: keyfs answers `fstat` by who asks, and no lock of Python may hold up the reading.
"""

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Readings:
    """What such a process saw, from the first read to one that began after it was told to stop."""

    reads: int
    contents: list[bytes]  # in the order of time; each differs from the one before
    complaints: list[str]  # a file that was missing or empty, or whose sizes and bytes did not agree


class Hammer:
    """Reads *path* until `stop`. At the return of the constructor it has read once."""

    def __init__(self, path: Path) -> None:
        self._seen: Readings | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert _pipe(self._process.stdout).readline() == b"reading\n"

    def stop(self) -> Readings:
        """Let it read once more, and end it. Safe to call twice."""
        if self._seen is None:
            said, _ = self._process.communicate(timeout=20)
            assert self._process.returncode == 0
            seen = json.loads(said)
            contents = [bytes.fromhex(data) for data in seen["contents"]]
            self._seen = Readings(seen["reads"], contents, seen["complaints"])
        return self._seen


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


# --- in the process ---


def main(path: str) -> None:
    contents: list[bytes] = []
    complaints: list[str] = []
    reads, is_last = 0, False
    while not is_last:
        is_last = reads > 0 and bool(select.select([0], [], [], 0)[0])  # the pipe was closed
        try:
            _read(path, contents, complaints)
        except OSError as exc:
            complaints.append(f"{type(exc).__name__}: {exc.strerror}")
        reads += 1
        if reads == 1:
            os.write(1, b"reading\n")
    report = {"reads": reads, "contents": [data.hex() for data in contents], "complaints": complaints[:20]}
    os.write(1, json.dumps(report).encode())


def _read(path: str, contents: list[bytes], complaints: list[str]) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        promised = os.fstat(fd).st_size
        data = b""
        while more := os.read(fd, 17):
            data += more
        sizes = (promised, len(data), os.fstat(fd).st_size, os.stat(path).st_size)
    finally:
        os.close(fd)
    if len(set(sizes)) > 1:
        complaints.append(f"fstat, bytes read, fstat again, stat: {sizes}")
    if not data:
        complaints.append("empty")
    if contents[-1:] != [data]:
        contents.append(data)


if __name__ == "__main__":
    main(sys.argv[1])
