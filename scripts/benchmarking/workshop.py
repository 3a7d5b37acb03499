"""Where a run keeps what it makes: scratch directories, and stores that several contests share."""

import itertools
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from benchmarking.programs import DISK, TMPFS, BenchError

QUICK_ROUNDS = 1
PREFIX = f"keyfs-bench-{os.getpid()}-"
WHERE = f"everything lies in {PREFIX}*, in {TMPFS} and {DISK}"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    quick: bool = False
    chosen_rounds: int | None = None
    chosen_reads: int | None = None

    def rounds(self, usual: int) -> int:
        """The rounds of a contest that usually has *usual*."""
        return self.chosen_rounds or (QUICK_ROUNDS if self.quick else usual)

    def reads(self, usual: int) -> int:
        """The repetitions in one round."""
        return self.chosen_reads or (max(2, usual // 10) if self.quick else usual)

    def size(self, usual: int) -> int:
        """How many keys there are where a case asks for *usual*: hundreds, if it only has to work."""
        return min(usual, 200 + usual // 10_000) if self.quick else usual


class Workshop(AbstractContextManager["Workshop"]):
    """One run's things; all are taken away at its end, the last first."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self._stack = ExitStack()
        self._shared: dict[object, Any] = {}
        self._numbers = itertools.count()
        self._places: dict[Path, Path] = {}

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def new_place(self, name: str, medium: Path = TMPFS) -> Path:
        """A new directory, in memory unless told otherwise.

        Raises:
            BenchError: the medium is missing.
        """
        if medium not in self._places:
            if not medium.is_dir():
                raise BenchError(f"{medium} is missing")
            made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=medium)
            self._places[medium] = Path(self._stack.enter_context(made))
        place = self._places[medium] / f"{next(self._numbers)}-{name}"
        place.mkdir(mode=0o700)
        return place

    def new_disk_place(self, name: str) -> Path:
        """A new directory where fsync means something."""
        return self.new_place(name, DISK)

    def shared(self, key: object, make: Callable[[], AbstractContextManager[_T]]) -> _T:
        """What was made under this key before, or is made now and lives until the end of the run."""
        if key not in self._shared:
            self._shared[key] = self._stack.enter_context(make())
        found: _T = self._shared[key]
        return found
