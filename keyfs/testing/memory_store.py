"""`MemoryStore`: a verified fake. It passes the suite that every driver passes, and needs no medium."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from keyfs.errors import KeyfsError, KeyNotFound, StoreUnavailable
from keyfs.store.base import (
    STATES_BESIDE,
    STATES_CHANGED,
    Blob,
    BlobStat,
    Listing,
    Page,
    Pages,
    Replacement,
    beside_name,
    parent,
    parts_are_safe,
)
from keyfs.store.facts import pack, whole
from keyfs.store.foreign_lock import EndsLocks, HeldFile
from keyfs.testing.medium import Medium, MemoryWatch


class MemoryStore(EndsLocks):
    """Blobs in a dict."""

    name_limit: int | None = None
    lists_directories = True

    def __init__(self, medium: Medium | None = None) -> None:
        self.medium = medium or Medium()

    def now_ns(self) -> int:
        """See `Store.now_ns`: this host's clock."""
        return time.time_ns()

    def describe(self) -> str:
        """`memory:`."""
        return "memory:"

    def list_pages(self) -> Pages:
        """See `Store.list_pages`: three blobs in each part, so that tests see several."""
        with self._at() as blobs:
            found = iter([(name, pack(blob.stat)) for name, blob in blobs.items()])
            strays = dict(self.medium.strays)
        yield Page({}, strays)
        while part := dict(islice(found, 3)):
            yield Page(part, {})

    def list_all(self) -> Listing:
        """See `Store.list_all`."""
        return whole(self.list_pages())

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`."""
        with self._at(directory) as blobs:
            return {name: blob.stat for name, blob in blobs.items() if parent(name) == directory}

    def mark(self, directory: str) -> None:
        """See `Store.mark`: nothing tells."""

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`."""
        with self._at(name) as blobs:
            return blobs[name].stat if name in blobs else None

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`."""
        return {name: facts for name in names if (facts := self.stat(name)) is not None}

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`."""
        found: dict[str, Blob | KeyfsError] = {}
        for name in names:
            try:
                found[name] = self.get(name)
            except KeyNotFound as exc:
                found[name] = exc
        return found

    def channel(self) -> None:
        """See `Store.channel`: there is none."""

    def get(self, name: str) -> Blob:
        """See `Store.get`."""
        with self._at(name) as blobs:
            if name not in blobs:
                raise KeyNotFound(f"no blob {name}")
            return blobs[name]

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`: everything is looked at before anything is changed."""
        plan = tuple(replacements)
        archives = [(item.archive, item.name) for item in plan if item.archive is not None]
        with self._at(*(item.name for item in plan), *(archive for archive, _ in archives)) as blobs:
            old = {archive: blobs[name] for archive, name in archives if name in blobs}
            taken = [archive for archive, blob in old.items() if blobs.get(archive, blob) is not blob]
            if taken:
                raise StoreUnavailable(f"{taken[0]} is taken")
            for archive, blob in old.items():
                self.medium.set(archive, blob)
            for item in plan:
                self.medium.put(item.name, item.data, item.mode, item.mtime_ns)

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """See `Store.rewrite`."""
        with self._at(*names) as blobs:
            if not all(name in blobs and blobs[name].data in (expected, data) for name in names):
                return False
            done = {_face(blobs[name]): name for name in names if blobs[name].data == data}
            for name in [name for name in names if blobs[name].data != data]:
                old = blobs[name]
                if _face(old) in done:
                    self.medium.set(name, blobs[done[_face(old)]])
                else:
                    self.medium.put(name, data, old.stat.mode, old.stat.mtime_ns)
                    done[_face(old)] = name
        return True

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`."""
        for name in names:
            with self._at(name):
                self.medium.set(name, None)

    def set_aside(self, name: str) -> str:
        """See `Store.set_aside`: to `Medium.aside`."""
        with self._at(name):
            self.medium.aside.append(self.get(name))
            self.medium.set(name, None)
            return f"memory:aside/{len(self.medium.aside)}"

    def read_beside(self, name: str) -> bytes | None:
        """See `Store.read_beside`."""
        return self.medium.beside.get(beside_name(name))

    def write_beside(self, name: str, data: bytes, *, is_locked: bool = False) -> None:
        """See `Store.write_beside`."""
        with self.medium.guard:
            self.medium.beside[beside_name(name)] = data
            for watch in self.medium.watches if name == STATES_BESIDE else ():
                watch.note(STATES_CHANGED)

    def append_beside(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`."""
        with self.medium.guard:
            self.write_beside(name, (self.read_beside(name) or b"") + line + b"\n")

    @contextmanager
    def lock(self, name: str = "") -> Iterator[None]:
        """See `Store.lock`. Waits for ever: in one process a stuck writer is a bug to be seen."""
        with self.medium.writers:
            yield

    @contextmanager
    def foreign_lock(self, name: str) -> Iterator[HeldFile]:
        """See `keyfs.store.ring_changes.RingMedium.foreign_lock`: one lock, whatever its name."""
        with self.medium.foreign:
            yield HeldFile()

    def watch(self) -> MemoryWatch:
        """See `Store.watch`."""
        return MemoryWatch(self.medium)

    def close(self) -> None:
        """Nothing is held open between calls."""

    @contextmanager
    def _at(self, *names: str) -> Iterator[dict[str, Blob]]:
        """One step on the medium, with names that can exist."""
        if not all(map(parts_are_safe, names)):
            raise KeyNotFound(f"not the names of blobs: {names}")
        with self.medium.guard:
            if self.medium.is_gone:
                raise StoreUnavailable("the memory store is gone")
            yield self.medium.blobs


def _face(blob: Blob) -> tuple[int, int | None]:
    """What stays as it is when a blob is rewritten."""
    return blob.stat.mode, blob.stat.mtime_ns
