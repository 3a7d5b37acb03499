"""Waiting for what has to come: never a fixed sleep, never without an end."""

import time
from collections.abc import Callable
from typing import Final

PAUSE_S: Final = 0.002


def wait_until(is_so: Callable[[], object], within_s: float = 10.0) -> float:
    """Ask again and again until it is so; returns after how many seconds.

    Raises:
        AssertionError: it is not so by then.
    """
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < within_s, f"not so within {within_s} s"  # noqa: S101 - a test's step
        time.sleep(PAUSE_S)
    return time.monotonic() - began
