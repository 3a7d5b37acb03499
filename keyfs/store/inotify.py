"""The directory driver's watch: inotify(7) on every directory of the store.

The kernel queues an event before the system call that caused it returns. So whoever takes all events
before answering a reader never answers with something older than a change that was complete before.
"""

import logging
import os
import select
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from inotify_simple import INotify, flags, parse_events

from keyfs.logs import event
from keyfs.store.base import STATES_BESIDE, STATES_CHANGED
from keyfs.store.os_errors import translated
from keyfs.store.watching import Changes

# While a directory cannot be watched, everything is listed again this often: late, but never wrong for good,
# and a large store is not listed for each request.
BLIND_S: Final = 1.0
_MASK: Final = (
    flags.CREATE
    | flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.ATTRIB
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
_LOST: Final = flags.Q_OVERFLOW | flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT
_NOTHING: Final = Changes(frozenset(), lost=False)
_READ_SIZE: Final = 1 << 16
_log = logging.getLogger(__name__)


class DirectoryWatch:
    """Watches directory trees down to *depth* parts of a name, those *apart* only where they are a root.

    The states of keys lie in *beside*, which may come any time: whoever asks whether something is pending
    looks which file it is. Nobody is woken for it.
    """

    waits = True
    is_connected = True

    def __init__(
        self, roots: Iterable[Path], depth: int, apart: Collection[Path] = (), beside: Path | None = None
    ) -> None:
        self._depth = depth
        self._apart = apart
        self._roots = tuple(roots)
        self._states = None if beside is None else str(beside / STATES_BESIDE)
        self._states_seen = self._states_now()
        self._directories: dict[int, tuple[Path, str]] = {}
        self._is_blind = False  # to a part of the store; see BLIND_S
        self._has_complained = False
        self._renewed_at = 0.0
        with translated("watch the key store"):
            self._inotify = INotify(nonblocking=True)
        self._poll = select.poll()
        self._poll.register(self._inotify.fileno(), select.POLLIN)
        self.renew()

    def fileno(self) -> int:
        """See `Watch.fileno`."""
        return int(self._inotify.fileno())

    def pending(self) -> bool:
        """See `Watch.pending`."""
        is_pending = bool(self._poll.poll(0)) or (self._is_blind and self._must_look())
        return is_pending or self._states_now() != self._states_seen

    def take(self) -> Changes:
        """See `Watch.take`."""
        names: set[str] = set()
        seen, self._states_seen = self._states_seen, self._states_now()  # before anybody reads it
        if self._states_seen != seen:
            names.add(STATES_CHANGED)
        lost = self._must_look()
        while True:
            try:
                data = os.read(self._inotify.fileno(), _READ_SIZE)
            except BlockingIOError:
                break
            for item in parse_events(data):
                lost |= self._record(item.wd, item.mask, item.name, names)
        return Changes(frozenset(names), lost) if names or lost else _NOTHING

    def renew(self) -> None:
        """See `Watch.renew`."""
        self._is_blind = False
        self._renewed_at = time.monotonic()
        for root in self._roots:
            for _ in self._follow(root, ""):
                pass

    def close(self) -> None:
        """See `Watch.close`."""
        self._inotify.close()

    def _record(self, wd: int, mask: int, label: str, names: set[str]) -> bool:
        """Note one event; True when it means that others were missed."""
        if mask & flags.IGNORED:
            self._directories.pop(wd, None)
            return False
        if mask & _LOST:
            is_top = wd == -1 or self._directories.get(wd, (None, ""))[1] == ""
            return bool(mask & flags.Q_OVERFLOW) or is_top
        root, directory = self._directories.get(wd, (None, ""))
        if root is None or not label:
            return False
        name = f"{directory}/{label}" if directory else label
        if not mask & flags.ISDIR:
            names.add(name)
            return False
        if mask & (flags.CREATE | flags.MOVED_TO):
            names.update(self._follow(root, name))
        return bool(mask & flags.MOVED_FROM)

    def _follow(self, root: Path, directory: str) -> Iterator[str]:
        """Watch a directory and those below it; yield the files that are there by now.

        The watch comes before the listing, so that a file made in between is told of at least once.
        """
        is_too_deep = directory.count("/") + bool(directory) >= self._depth
        if is_too_deep or (directory and root / directory in self._apart):
            return
        try:
            self._directories[self._inotify.add_watch(root / directory, _MASK)] = (root, directory)
            with os.scandir(root / directory) as entries:
                children = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            self._is_blind |= not directory  # a root that is gone may come back
            return
        except OSError as exc:
            self._complain(exc)
            return
        for label, is_directory in children:
            name = f"{directory}/{label}" if directory else label
            if is_directory:
                yield from self._follow(root, name)
            else:
                yield name

    def _states_now(self) -> tuple[int, int] | None:
        """What tells the file of states from the one before: it is only ever replaced whole."""
        # Asked first: most stores have none, and an error costs more than both calls.
        if self._states is None or not os.access(self._states, os.F_OK):
            return None
        try:
            facts = os.stat(self._states)
        except OSError:
            return None
        return facts.st_ino, facts.st_ctime_ns

    def _must_look(self) -> bool:
        return self._is_blind and time.monotonic() - self._renewed_at >= BLIND_S

    def _complain(self, exc: OSError) -> None:
        """Say once that a directory cannot be watched: what others do there is noticed late."""
        self._is_blind = True
        if not self._has_complained:
            reason = os.strerror(exc.errno or 0)
            remedy = "raise fs.inotify.max_user_watches"
            event(_log, logging.WARNING, "watch.incomplete", reason=reason, late_s=BLIND_S, remedy=remedy)
        self._has_complained = True
