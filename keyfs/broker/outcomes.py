"""`Outcomes`: how the last changes of keys ended, for the many programs that ignore the error of close(2).

`.keyfs/rotations` shows the last ones, `user.keyfs.last_error` the one that failed last (rule R12).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from keyfs.core.names import KeyRef
from keyfs.core.stamps import rfc3339
from keyfs.errors import KeyfsError

KEPT: Final = 200
DONE: Final = "done"


class Outcomes:
    """The last changes, newest last.

    Args:
        clock: nanoseconds since 1970.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._errors: dict[KeyRef, str] = {}

    @contextmanager
    def refusals(self, ref: KeyRef | None, action: str) -> Iterator[None]:
        """Note it if what happens in the block is refused."""
        try:
            yield
        except KeyfsError as exc:
            if ref is not None:
                self._note(ref, action, f"refused: {exc}")
                self._errors[ref] = f"{rfc3339(self._clock())} {action}: {exc}"
            raise

    def done(self, ref: KeyRef, action: str) -> None:
        """A change of this key is in the store."""
        self._errors.pop(ref, None)
        self._note(ref, action, DONE)

    def last_error(self, ref: KeyRef) -> str:
        """Why the last change of this key failed, with the time; empty if it did not."""
        return self._errors.get(ref, "")

    def render(self) -> bytes:
        """A line for each change: time, key, what it was, and `done` or `refused:` and why; tabs between."""
        return "".join(self._lines).encode()

    def _note(self, ref: KeyRef, action: str, how: str) -> None:
        line = "\t".join((rfc3339(self._clock()), str(ref), action, " ".join(how.split())))
        self._lines.append(line + "\n")
