"""All who have to do with a key while a program writes it: those who read it and those who watch it."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from hammering import Hammer, Readings
from inotify_simple import INotify, flags

from keyfs.testing.live import LiveStore
from keyfs.testing.watched import Watcher, watching

MARKER: Final = "hmac-sym/marker"  # a key that has to be there, and that nothing else uses
LOOK_MS: Final = 20


@dataclass(frozen=True, slots=True)
class Testimony:
    """What the witnesses of one program saw."""

    readings: list[Readings]  # of the path, and of a bind mount of the single file
    held: list[bytes | None]  # by those who read when they are told, by the file or the directory
    file: str  # what a watcher of the file was told
    directory: str  # what a watcher of the directory was told of the name `current`


class Reloader:
    """Reads *file* each time that inotify tells it to, as many servers do. Watches *watched*."""

    def __init__(self, watched: Path, file: Path) -> None:
        self._file = file
        self._held: bytes | None = None
        self._is_over = threading.Event()
        self._inotify = INotify()
        self._inotify.add_watch(watched, flags.CLOSE_WRITE | flags.MOVED_TO)
        self._thread = threading.Thread(target=self._reload, daemon=True)
        self._thread.start()

    def stop(self) -> bytes | None:
        """Take in all events that have come, and end; returns what was read last, None if nothing was.

        Safe to call twice.
        """
        self._is_over.set()
        self._thread.join(20)
        self._inotify.close()
        return self._held

    def _reload(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_over.is_set()
            if any(event.name in ("", self._file.name) for event in self._inotify.read(timeout=LOOK_MS)):
                self._held = self._file.read_bytes()


@contextmanager
def witnesses(live: LiveStore, current: Path, place: Path) -> Iterator[Callable[[], Testimony]]:
    """All of them, for the key *current*; what is yielded asks them, once all is over. Needs root."""
    directory, marker = current.parent, live.mountpoint / MARKER / "current"
    with ExitStack() as stack:
        second_name = stack.enter_context(_bound(current, place / "bound"))
        watcher = stack.enter_context(watching(current, directory, marker))
        _settle(live, watcher)
        watcher.forget()
        hammers = [Hammer(current), Hammer(second_name)]
        for hammer in hammers:
            stack.callback(hammer.stop)
        reloaders = [Reloader(current, current), Reloader(directory, current)]
        for reloader in reloaders:
            stack.callback(reloader.stop)

        def ask() -> Testimony:
            _settle(live, watcher)
            return Testimony(
                [hammer.stop() for hammer in hammers],
                [reloader.stop() for reloader in reloaders],
                _transcript(watcher.seen(current)),
                _transcript(watcher.seen(directory, current.name)),
            )

        yield ask


@contextmanager
def _bound(file: Path, place: Path) -> Iterator[Path]:
    """A bind mount of a single file, as containers get it."""
    place.touch()
    subprocess.run(["mount", "--bind", file, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def _settle(live: LiveStore, watcher: Watcher) -> None:
    """Until the watchers know all that they will be told of what was done until now.

    They are told in lots, one after the other, and each lot names a file once. So a second wake of one file
    is in a lot that began when all earlier ones had been told.
    """
    marker = live.mountpoint / MARKER / "current"
    before = watcher.seen(marker).count("CLOSE_WRITE")
    for number in (1, 2):
        live.make(MARKER)
        watcher.wait_for(marker, count=before + number)


def _transcript(told: list[str]) -> str:
    """Without what differs from run to run: attributes, and one thing several times in a row."""
    return " ".join(name for name, _ in groupby(name for name in told if name != "ATTRIB"))
