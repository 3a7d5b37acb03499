"""Open files: what each handle has to offer until it is closed."""

from dataclasses import dataclass
from itertools import count
from typing import Final

import pyfuse3

from keyfs.broker.broker import Snapshot
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import Facts, Node, Path
from keyfs.errors import KeyNotFound

# How long after an open its process sees the attributes of what it opened: long enough for fstat(2) and the
# reads after it, too short to hide a rotation from a process that keeps the file open and polls (rule R2).
SEEN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ReadHandle:
    """An open for reading: bytes that never change."""

    node: Node
    inode: int
    pid: int
    snapshot: Snapshot
    opened_s: float


@dataclass(frozen=True, slots=True)
class WriteHandle:
    """An open for writing: a version in the making. *facts* is what `stat` shows if the file is new."""

    node: Node
    staged: StagedWrite
    facts: Facts


@dataclass(frozen=True, slots=True)
class DirectoryHandle:
    """An open directory: its entries as they were when it was opened."""

    entries: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class NudgeHandle:
    """An open by our own nudging thread: what it writes is discarded."""


Handle = ReadHandle | WriteHandle | DirectoryHandle | NudgeHandle


class Handles:
    """Handles by number, and who holds what."""

    def __init__(self) -> None:
        self._handles: dict[int, Handle] = {}
        self._numbers = count(1)
        self._readers: dict[tuple[int, int], ReadHandle] = {}

    def add(self, handle: Handle) -> int:
        """The number under which the kernel will ask for *handle*."""
        number = next(self._numbers)
        self._handles[number] = handle
        if isinstance(handle, ReadHandle) and handle.pid:
            self._readers[handle.inode, handle.pid] = handle
        return number

    def reading(self, number: int) -> memoryview | bytearray:
        """The bytes that reads of this handle see."""
        handle = self._handles.get(number)
        if isinstance(handle, ReadHandle):
            return handle.snapshot.content.view()
        return self.writing(number).staged.buffer

    def writing(self, number: int) -> WriteHandle:
        """The write handle of this number.

        Raises:
            KeyNotFound: there is none.
        """
        handle = self._handles.get(number)
        if not isinstance(handle, WriteHandle):
            raise KeyNotFound(f"handle {number} is not open for writing")
        return handle

    def is_writing(self, number: int) -> bool:
        """Whether the handle of this number writes."""
        return isinstance(self._handles.get(number), WriteHandle)

    def is_nudge(self, number: int) -> bool:
        """Whether the handle of this number discards what is written."""
        return isinstance(self._handles.get(number), NudgeHandle)

    def directory(self, number: int) -> DirectoryHandle:
        """The directory handle of this number.

        Raises:
            KeyNotFound: there is none.
        """
        handle = self._handles.get(number)
        if not isinstance(handle, DirectoryHandle):
            raise KeyNotFound(f"handle {number} is no directory")
        return handle

    def remove(self, number: int) -> None:
        """Forget a handle and wipe what it held."""
        handle = self._handles.pop(number, None)
        if isinstance(handle, ReadHandle):
            if self._readers.get((handle.inode, handle.pid)) is handle:
                del self._readers[handle.inode, handle.pid]
            handle.snapshot.content.wipe()
        elif isinstance(handle, WriteHandle):
            handle.staged.wipe()

    def seen_by(self, inode: int, pid: int, now_s: float) -> Facts | None:
        """The facts of what this process has just opened, so that its fstat agrees with its reads."""
        handle = self._readers.get((inode, pid))
        is_recent = handle is not None and now_s - handle.opened_s < SEEN_S
        return handle.snapshot.facts if handle is not None and is_recent else None

    def being_written(self, path: Path) -> Facts | None:
        """The facts of a file that exists only as an open for writing so far."""
        opened = (h for h in self._handles.values() if isinstance(h, WriteHandle) and h.node.path == path)
        return next((handle.facts for handle in opened), None)


def file_info(fh: int) -> pyfuse3.FileInfo:
    """Direct I/O: every read comes here, and no plaintext stays in the page cache."""
    return pyfuse3.FileInfo(fh=fh, direct_io=True, keep_cache=False)
