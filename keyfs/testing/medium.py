"""`Medium`: what several `MemoryStore`s share, as several processes share a directory."""

import os
import threading
from itertools import count

from keyfs.store.base import Blob, BlobStat
from keyfs.store.watching import Changes


class Medium:
    """Blobs, locks and watches. Tests may look at all of it and change it, as other programs would."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.aside: list[Blob] = []
        self.beside: dict[str, bytes] = {}
        self.strays: dict[str, str] = {}
        self.is_gone = False
        self.guard = threading.RLock()  # makes each call one step
        self.writers = threading.Lock()
        self.foreign = threading.Lock()  # that of other programs
        self.watches: list[MemoryWatch] = []
        self._written = count(1)

    def put(self, name: str, data: bytes, mode: int = 0o600, mtime_ns: int | None = None) -> None:
        """Write one blob as a program does that knows nothing of keyfs: no lock, no archive."""
        identity = f"memory:{next(self._written)}"
        self.set(name, Blob(data, BlobStat(len(data), mtime_ns, mode, identity)))

    def set(self, name: str, blob: Blob | None) -> None:
        """Let *name* be this blob, or nothing, and tell every watch."""
        with self.guard:
            if blob is not None:
                self.blobs[name] = blob
            elif self.blobs.pop(name, None) is None:
                return
            for watch in self.watches:
                watch.note(name)


class MemoryWatch:
    """Collects names; None among them stands for events that were lost."""

    waits = True
    is_connected = True

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._names: set[str | None] = set()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        medium.watches.append(self)

    def fileno(self) -> int:
        """See `Watch.fileno`."""
        return self._fd

    def pending(self) -> bool:
        """See `Watch.pending`."""
        return bool(self._names)

    def take(self) -> Changes:
        """See `Watch.take`."""
        with self._medium.guard:
            names, self._names = self._names, set()
            if names:
                os.eventfd_read(self._fd)
        return Changes(frozenset(name for name in names if name is not None), None in names)

    def renew(self) -> None:
        """See `Watch.renew`; nothing is ever unwatched here."""

    def close(self) -> None:
        """See `Watch.close`."""
        if self in self._medium.watches:
            self._medium.watches.remove(self)
            os.close(self._fd)

    def note(self, name: str | None) -> None:
        """Have *name* to tell of."""
        with self._medium.guard:
            if not self._names:
                os.eventfd_write(self._fd, 1)
            self._names.add(name)
