"""The sibling `D.keyfs/` of a key store `D`: lock, staging area, and what a repair set aside.

Nothing of keyfs ever lies inside the key store: one extra file there can stop Acra from starting.
Losing this directory never loses a key.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keyfs.errors import StoreBusy
from keyfs.store.files import Owner, make_directory, mount_id
from keyfs.store.os_errors import translated

LOCK_WAIT_S: Final = 4.0
LOCK_PAUSE_S: Final = 0.005


class Beside:
    """What keyfs keeps beside one directory."""

    def __init__(self, root: Path, owner: Owner | None) -> None:
        self.path = root.with_name(root.name + ".keyfs")
        self._root = root
        self._owner = owner

    @property
    def staging(self) -> Path:
        """Where new files are written before they are renamed into the store."""
        return self.path / "staging"

    def stage_path(self, target: Path) -> Path:
        """A new path from which rename(2) to *target* works, named NAME plus digits as Acra does.

        Outside the store, so that a crash leaves nothing there; beside *target* only where the store is a
        mount of its own.
        """
        digits = str(secrets.randbelow(10**10))
        same = mount_id(self.staging) == mount_id(target.parent)
        if not same:
            return target.with_name(target.name + digits)
        return self.staging / digits

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the writers' lock; whatever a dead writer left in the staging area is removed first.

        Raises:
            StoreBusy: another writer held it all the time that we waited.
            AccessDenied, ReadOnly, StoreFull: `D.keyfs/` cannot be written; the message names it.
        """
        with translated(f"lock the key store (needs to write in {self.path})"):
            make_directory(self.path, self._owner)
            make_directory(self.staging, self._owner)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._wait(fd)
            self._clear_staging()
            yield
        finally:
            os.close(fd)

    def set_aside(self, path: Path, name: str, step: Callable[[str], None]) -> Path:
        """Move *path* out of the store, keeping its bytes; returns where it is now.

        Raises:
            OSError: as rename(2).
        """
        folder = self.path / "set-aside"
        make_directory(folder, self._owner)
        target = folder / f"{time.time_ns()}-{name.replace('/', '%')}"
        step(f"set aside {name}")
        path.rename(target)
        return target

    def _wait(self, fd: int) -> None:
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise StoreBusy(
                        f"another writer holds {self.path / 'lock'} for more than {LOCK_WAIT_S:.0f} s: retry"
                    ) from None
                time.sleep(LOCK_PAUSE_S)
            else:
                return

    def _clear_staging(self) -> None:
        with translated(f"clear {self.staging}"), os.scandir(self.staging) as entries:
            for entry in entries:
                os.unlink(entry.path)
