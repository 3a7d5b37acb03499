"""Measures the memory that the index takes for each key, beyond the bytes of its names.

Each figure comes from a process of its own: what it grows by from before the index is filled until after it.
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence

from keyfs.broker.index import Index
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import Page
from keyfs.store.facts import pack_digest

MILLION = 1_000_000
PAGE_KEYS = 1000
NOON_NS = 1_795_488_385_000_000_000
SYMMETRIC_CELL = 76  # bytes of a sealed symmetric key
_MEDIA = ("redis", "directory")


def bytes_per_key(keys: int, medium: str = "redis", rotations: int = 0) -> float:
    """How much the memory of a process grows by for each key, without the bytes of the names.

    Args:
        keys: how many there are.
        medium: "redis" has no times; "directory" has.
        rotations: how many retired versions each key has.
    """
    return figures(keys, medium, rotations)["resident"]


def figures(
    keys: int, medium: str = "redis", rotations: int = 0, *, traced: bool = False
) -> dict[str, float]:
    """As `bytes_per_key`, and the most it ever grew by; if *traced*, only what Python's allocators say."""
    words = [sys.executable, __file__, "--in-process", "--keys", str(keys), "--medium", medium]
    words += ["--rotations", str(rotations), *(["--traced"] if traced else [])]
    ran = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def names_of(number: int, rotations: int) -> Iterator[str]:
    """The names of the blobs of one key."""
    current = f"client-{number:06d}_storage_sym"
    yield current
    for rotation in range(rotations):
        yield f"{current}.old/2026-11-24T02:{rotation // 60:02d}:{rotation % 60:02d}.{number + 1:09d}".rstrip(
            "0"
        )


def pages(keys: int, medium: str, rotations: int) -> Iterator[Page]:
    """A listing of a key store with so many keys, as a store makes it."""
    for first in range(0, keys, PAGE_KEYS):
        page = Page({}, {})
        for number in range(first, min(first + PAGE_KEYS, keys)):
            digest = hash_like(number)
            mtime_ns = NOON_NS + number if medium == "directory" else None
            for name in names_of(number, rotations):
                page.blobs[name] = pack_digest(SYMMETRIC_CELL, mtime_ns, 0o600, digest)
        yield page


def hash_like(number: int) -> bytes:
    """Sixteen bytes that differ from number to number."""
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)).to_bytes(16, "big")


def measure(keys: int, medium: str, rotations: int, *, traced: bool) -> dict[str, float]:
    """Fill an index in this process, and say what that took."""
    in_names = sum(len(name) for number in range(keys) for name in names_of(number, rotations))
    index = Index(LayoutV1(), lambda _name, _slots: None)
    gc.collect()
    if traced:
        tracemalloc.start()
    before = resident()
    index.load(pages(keys, medium, rotations))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    after = tracemalloc.get_traced_memory()[0] if traced else resident() - before
    if len(index) != keys:
        raise SystemExit(f"the index has {len(index)} keys, not {keys}")
    if traced:
        return {"traced": (after - in_names) / keys}
    return {"resident": (after - in_names) / keys, "peak": (peak - in_names) / keys}


def resident() -> int:
    """How many bytes of memory this process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures, one on a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=MILLION)
    parser.add_argument("--rotations", type=int, default=0, help="retired versions of each key")
    parser.add_argument("--medium", choices=_MEDIA, action="append", help="default: both")
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.in_process:
        print(json.dumps(measure(given.keys, given.medium[0], given.rotations, traced=given.traced)))
        return
    print(f"bytes per key beyond the names, {given.keys} keys with {given.rotations} retired versions each:")
    for medium in given.medium or _MEDIA:
        found = figures(given.keys, medium, given.rotations)
        found |= figures(given.keys, medium, given.rotations, traced=True)
        print(f"  {medium}: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
