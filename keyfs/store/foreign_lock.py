"""The lock that Acra takes in a directory of layout v2, too: flock(2) on a file in it.

Acra opens the file, truncates it, and locks it shared to read, exclusively to write. It is never removed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keyfs.errors import StoreBusy
from keyfs.store.files import Owner
from keyfs.store.os_errors import translated

WAIT_S: Final = 4.0
PAUSE_S: Final = 0.005
MODE: Final = 0o644


class EndsLocks:
    """A medium on which the system ends every lock together with whoever holds it."""

    def stuck_locks(self, *_names: str) -> tuple[str, ...]:
        """See `Store.stuck_locks`: there are none."""
        return ()

    def break_lock(self, _lock: str) -> bool:
        """See `Store.break_lock`."""
        return False


class HeldFile:
    """A lock of the kernel's, which lasts until it is let go of."""

    def demand(self) -> None:
        """See `keyfs.store.ring_changes.ForeignLock`: nobody can take it away."""


@contextmanager
def file_lock(path: Path, owner: Owner | None, wait_s: float = WAIT_S) -> Iterator[HeldFile]:
    """Hold the lock of the file *path*, which is made if need be.

    Raises:
        StoreBusy: others held it for longer than *wait_s*.
        AccessDenied, ReadOnly, StoreFull, StoreUnavailable: as `translated`.
    """
    with translated(f"lock {path}"):
        fd = _opened(path, owner)
    try:
        give_up_at = time.monotonic() + wait_s
        while not _is_locked(fd, path):
            if time.monotonic() >= give_up_at:
                raise StoreBusy(f"another program holds {path} for more than {wait_s:g} s: retry")
            time.sleep(PAUSE_S)
        yield HeldFile()
    finally:
        os.close(fd)


def _opened(path: Path, owner: Owner | None) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_EXCL, MODE)
    except FileExistsError:
        return os.open(path, flags, MODE)
    os.fchmod(fd, MODE)
    if owner is not None:
        os.fchown(fd, owner.uid, owner.gid)
    return fd


def _is_locked(fd: int, path: Path) -> bool:
    with translated(f"lock {path}"):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
