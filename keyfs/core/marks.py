"""`Marks`: what a process has just done to a file, for a few seconds.

Programs replace a file in several steps (remove the name, make it again, set its mode), and each step arrives
as if it had nothing to do with the last one. Only the process ties them together.
"""

from typing import Final

from keyfs.core.tree import Path

LIFE_S: Final = 5.0


class Marks:
    """Pairs of file and process, each for `LIFE_S` after it was set."""

    def __init__(self) -> None:
        self._until: dict[tuple[Path, int], float] = {}

    def set(self, path: Path, process: int, now_s: float) -> None:
        """From now on *process* is marked for *path*."""
        self._until = {mark: until for mark, until in self._until.items() if until > now_s}
        self._until[path, process] = now_s + LIFE_S

    def clear(self, path: Path, process: int) -> None:
        """Take a mark away."""
        self._until.pop((path, process), None)

    def has(self, path: Path, process: int, now_s: float) -> bool:
        """Whether *process* is marked for *path*."""
        return self._until.get((path, process), 0.0) > now_s

    def __bool__(self) -> bool:
        return bool(self._until)
