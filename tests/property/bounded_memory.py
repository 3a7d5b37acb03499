"""How much memory a short input may make us take."""

import tracemalloc
from collections.abc import Callable
from typing import Final

LYING: Final = 1 << 20  # bytes, at most, whatever lengths the input claims


def within_memory(work: Callable[[], object], most: int = LYING) -> None:
    """Do it, in so many bytes of memory."""
    tracemalloc.start()
    try:
        work()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < most
