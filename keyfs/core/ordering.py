"""Sorting very many names in short steps: whoever serves others meanwhile looks after them in between."""

from bisect import bisect
from collections.abc import Generator, Iterable
from itertools import islice
from typing import Final, TypeVar

STEP: Final = 1 << 12
"""How many names a step touches: one or two milliseconds."""
_SAMPLES: Final = 8  # for each part
T = TypeVar("T")


def sorted_in_steps(names: Iterable[str]) -> Generator[None, None, list[str]]:
    """*names* in order; a step touches about `STEP` of them, and takes them from the iterator.

    They are parted by size first, at names that a sample puts at even distances; then each part is sorted.
    """
    found: list[str] = []
    taken = iter(names)
    while step := list(islice(taken, STEP)):
        found += step
        if len(step) == STEP:
            yield
    if len(found) <= STEP:
        return sorted(found)
    parts = -(-2 * len(found) // STEP)
    sample = sorted(found[:: max(1, len(found) // (parts * _SAMPLES))])
    bounds = sample[_SAMPLES::_SAMPLES]
    buckets: list[list[str]] = [[] for _ in range(len(bounds) + 1)]
    for start in range(0, len(found), STEP):
        for name in found[start : start + STEP]:
            buckets[bisect(bounds, name)].append(name)
        yield
    ordered: list[str] = []
    for bucket in buckets:
        ordered += sorted(bucket)
        yield
    return ordered


def at_once(steps: Generator[None, None, T]) -> T:
    """What the steps come to, when nobody waits meanwhile."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
