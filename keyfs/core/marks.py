"""`Marks`: what a process has just done to a file, for a few seconds.

Programs replace a file in several steps (remove the name, make it again, set its mode), and each step arrives
as if it had nothing to do with the last one. Only the process ties them together.
"""

from collections.abc import Callable
from typing import Final

from keyfs.core.tree import Path

LIFE_S: Final = 5.0


class Marks:
    """Pairs of file and process, each for `LIFE_S` after it was set."""

    def __init__(self) -> None:
        self._until: dict[Path, dict[int, float]] = {}

    def __bool__(self) -> bool:
        """Whether there are any, old ones perhaps."""
        return bool(self._until)

    def set(self, path: Path, process: int, now_s: float) -> None:
        """From now on *process* is marked for *path*."""
        self._until = {marked: whose for marked, whose in self._until.items() if max(whose.values()) > now_s}
        self._until.setdefault(path, {})[process] = now_s + LIFE_S

    def clear(self, path: Path, process: int) -> None:
        """Take a mark away."""
        whose = self._until.get(path, {})
        whose.pop(process, None)
        if not whose:
            self._until.pop(path, None)

    def has(self, path: Path, process: Callable[[], int], now_s: float) -> bool:
        """Whether the process is marked for *path*. Who it is, is asked only where somebody is."""
        whose = self._until.get(path)
        if whose is None or max(whose.values()) <= now_s:
            return False
        return whose.get(process(), 0.0) > now_s
