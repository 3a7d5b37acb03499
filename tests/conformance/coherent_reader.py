"""Opens and reads one key again and again, and checks each time that it is not older than acknowledged.

    python coherent_reader.py FILE SHARED READS exact|derived

A key is its number, as `coherence_probes.key` makes it. SHARED holds the last number that was acknowledged.
Prints what was wrong, nothing if nothing was; and the times that were seen, for comparison.
"""

import json
import mmap
import os
import struct
import sys


def acknowledged(shared: mmap.mmap) -> int:
    """The number of the newest version that a rotator has heard the end of."""
    return int(struct.unpack_from("<Q", shared)[0])


def check(path: str, shared: mmap.mmap, times: dict[int, int], *, is_exact: bool) -> str:
    """One open; returns what was wrong with it. Times are compared if the medium keeps them."""
    least = acknowledged(shared)
    fd = os.open(path, os.O_RDONLY)
    try:
        before = os.fstat(fd)
        first, rest = os.read(fd, 11), os.read(fd, 4096)
    finally:
        os.close(fd)
    number = int.from_bytes(first + rest, "big")
    if len(first + rest) != before.st_size or number >= 1 << 40:
        return f"torn: {first + rest!r} of {before.st_size} bytes"
    if number < least:
        return f"old: {number}, when {least} was acknowledged"
    if times.setdefault(number, before.st_mtime_ns) != before.st_mtime_ns and is_exact:
        return f"the time of {number} was {times[number]}, and is {before.st_mtime_ns} now"
    return ""


def main(path: str, shared_file: str, reads: int, *, is_exact: bool) -> None:
    """Read so often, stop at the first thing that is wrong."""
    times: dict[int, int] = {}
    wrong = ""
    with open(shared_file, "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        for _ in range(reads):
            wrong = wrong or check(path, shared, times, is_exact=is_exact)
    sys.stdout.write(json.dumps({"wrong": wrong, "times": times}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), is_exact=sys.argv[4] == "exact")
