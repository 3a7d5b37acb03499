"""What an inotify watcher of files under a mount is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inotify_simple import INotify, flags

from keyfs.testing.waiting import wait_until

# Everything but looking: the tests themselves open, read and close.
MASK: Final = (
    flags.MODIFY
    | flags.ATTRIB
    | flags.CLOSE_WRITE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.CREATE
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
)
QUIET_MS: Final = 500  # many times what a mount takes to gather changes
SAVED: Final = ["MODIFY", "CLOSE_WRITE"]  # what an editor's save looks like


class Watcher:
    """Watches some paths, each for itself."""

    def __init__(self, inotify: INotify, paths: tuple[Path, ...]) -> None:
        self._inotify = inotify
        self._paths = {inotify.add_watch(path, MASK): path for path in paths}
        self._seen: dict[Path, list[tuple[str, str]]] = {path: [] for path in paths}

    def seen(self, path: Path, entry: str | None = None) -> list[str]:
        """The names of all events of a path so far; those of a directory's entries count as its own.

        With *entry* only those that tell of this name in the directory.
        """
        for event in self._inotify.read(timeout=0):
            names = [flag.name for flag in flags.from_mask(event.mask) if flag.name not in ("ISDIR", None)]
            self._seen[self._paths[event.wd]] += [(event.name, name) for name in names if name is not None]
        return [name for of, name in self._seen[path] if entry in (None, of)]

    def wait_for(self, path: Path, name: str = "CLOSE_WRITE", count: int = 1) -> float:
        """Until so many events of this name have come; returns after how many seconds."""
        return wait_until(lambda: self.seen(path).count(name) >= count)

    def wait_for_quiet(self) -> None:
        """Until nothing has come for a while: changes are told some time after they are there."""
        while self._inotify.read(timeout=QUIET_MS):
            pass

    def forget(self) -> None:
        """Begin anew."""
        for path, seen in self._seen.items():
            self.seen(path)
            seen.clear()


@contextmanager
def watching(*paths: Path) -> Iterator[Watcher]:
    """A watcher of these paths, until the end of the block."""
    with INotify() as inotify:
        yield Watcher(inotify, paths)
