"""`Polls`: poll(2) on an open `current` wakes with POLLPRI when the key is rotated, as sysfs does."""

import select
from contextlib import suppress
from typing import Final

import pyfuse3

from keyfs.core.names import KeyRef

# A regular file can always be read and written.
READY: Final = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM
CHANGED: Final = select.POLLPRI


class Polls:
    """Who waits for which key, by the handle of the open file."""

    def __init__(self) -> None:
        self._waiting: dict[KeyRef, dict[int, pyfuse3.PollHandle]] = {}

    def wait(self, ref: KeyRef, fh: int, handle: pyfuse3.PollHandle) -> None:
        """Wake *handle* at the next change of this key; it takes the place of an earlier one of this file."""
        self._waiting.setdefault(ref, {})[fh] = handle

    def wake(self, ref: KeyRef) -> None:
        """A key has changed. Writes some bytes to the kernel and never waits."""
        for handle in self._waiting.pop(ref, {}).values():
            with suppress(OSError):  # the mount is ending: nobody waits any more
                handle.notify()

    def forget(self, fh: int) -> None:
        """An open file was closed."""
        if not self._waiting:
            return
        for ref, handles in list(self._waiting.items()):
            handles.pop(fh, None)
            if not handles:
                del self._waiting[ref]
