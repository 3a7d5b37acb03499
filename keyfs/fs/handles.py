"""Open files: what each handle has to offer until it is closed."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, NamedTuple

import pyfuse3
from pyfuse3 import FUSEError

from keyfs.broker.snapshot import Snapshot
from keyfs.core.scratch import Scratch
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import Facts, Node, Path
from keyfs.errors import KeyNotFound
from keyfs.fs.pages import DIRECT, Admission

# How long after an open its process sees the attributes of what it opened: long enough for fstat(2) and the
# reads after it, too short to hide a rotation from a process that keeps the file open and polls (rule R2).
SEEN_S: Final = 2.0
_GENERATION_AT: Final = 40


class ReadHandle(NamedTuple):
    """An open for reading: bytes that never change."""

    node: Node
    inode: int
    pid: int
    snapshot: Snapshot
    opened_s: float
    admission: Admission = DIRECT


@dataclass(frozen=True, slots=True)
class WriteHandle:
    """An open for writing: a version in the making. *facts* is what `stat` shows if the file is new.

    *scratch* is the file that was opened, if that was renamed onto the key's. *inode* is the number of
    the file that `Pages` knows as being written, 0 for none.
    """

    node: Node
    staged: StagedWrite
    facts: Facts
    pid: int = 0
    scratch: Scratch | None = None
    inode: int = 0


@dataclass(frozen=True, slots=True)
class ScratchHandle:
    """An open scratch file, for reading, for writing or both."""

    scratch: Scratch


Entry = tuple[str, Node]


class Line(NamedTuple):
    """What a listing shows of an entry. *inode* has not been given out for it yet."""

    name: bytes
    node: Node
    inode: int
    facts: Facts


class Lines(NamedTuple):
    """Lines of a listing from one place on, None for what has vanished; good for one edition of the tree."""

    edition: object
    start: int
    lines: Sequence[Line | None]


@dataclass(slots=True)
class DirectoryHandle:
    """An open directory.

    Args:
        node: the directory.
        entries: as they were when it was opened; None until they are looked at, if that is soon.
        dots: the numbers of `.` and `..`.
        ahead: lines that were made before they were asked for.
    """

    node: Node
    entries: Sequence[Entry] | None
    dots: tuple[int, int]
    ahead: Lines | None = None


@dataclass(frozen=True, slots=True)
class NudgeHandle:
    """An open by our own nudging thread: what it writes is discarded."""


_WRITING: Final = (WriteHandle, ScratchHandle)
Handle = ReadHandle | WriteHandle | ScratchHandle | DirectoryHandle | NudgeHandle


class Handles:
    """Handles by number, and who holds what.

    Args:
        generation: how many processes served the mount before this one: no number ever comes twice.
    """

    def __init__(self, generation: int = 0) -> None:
        self._handles: dict[int, Handle] = {}
        self._numbers = count((generation << _GENERATION_AT) + 1)
        self._readers: dict[tuple[int, int], ReadHandle] = {}

    def add(self, handle: Handle) -> int:
        """The number under which the kernel will ask for *handle*."""
        # The last bit outlives us: who writes must hear of it when a later process does not know the rest.
        number = next(self._numbers) << 1 | isinstance(handle, _WRITING)
        self._handles[number] = handle
        if isinstance(handle, ReadHandle) and handle.pid:
            self._readers[handle.inode, handle.pid] = handle
        return number

    def get(self, number: int) -> Handle | None:
        """The handle of this number, whatever it is."""
        return self._handles.get(number)

    def reading(self, number: int) -> memoryview | bytearray:
        """The bytes that reads of this handle see."""
        handle = self._handles.get(number)
        if isinstance(handle, ReadHandle):
            return handle.snapshot.content.view()
        if isinstance(handle, ScratchHandle):
            return handle.scratch.buffer
        return self.writing(number).staged.buffer

    def opened(self, number: int) -> Facts | None:
        """The facts of what this handle was opened on, if it reads a snapshot."""
        handle = self._handles.get(number)
        return handle.snapshot.facts if isinstance(handle, ReadHandle) else None

    def writing(self, number: int) -> WriteHandle:
        """The write handle of this number.

        Raises:
            KeyNotFound: there is none.
            FUSEError: ESTALE: an earlier process opened it.
        """
        handle = self._handles.get(number)
        if not isinstance(handle, WriteHandle):
            raise self._missing(number, "is not open for writing")
        return handle

    def scratch(self, number: int) -> Scratch | None:
        """The scratch file that the handle of this number has open; None if it has something else."""
        handle = self._handles.get(number)
        return handle.scratch if isinstance(handle, ScratchHandle) else None

    def redirect(self, scratch: Scratch, handle: WriteHandle) -> None:
        """Whoever has *scratch* open writes with *handle* from now on; if nobody has, it is wiped."""
        for number, known in self._handles.items():
            if isinstance(known, ScratchHandle) and known.scratch is scratch:
                self._handles[number] = handle
        self._wipe(handle)

    def is_written_by(self, path: Path, pid: int) -> bool:
        """Whether this process has that file open for writing."""
        opened = (h for h in self._handles.values() if isinstance(h, WriteHandle))
        return any(handle.node.path == path and handle.pid == pid for handle in opened)

    def is_writing(self, number: int) -> bool:
        """Whether the handle of this number writes."""
        if number in self._handles:
            return isinstance(self._handles[number], WriteHandle)
        return bool(number & 1)  # an earlier process had it: what was written there is lost

    def is_nudge(self, number: int) -> bool:
        """Whether the handle of this number discards what is written."""
        return isinstance(self._handles.get(number), NudgeHandle)

    def directory(self, number: int) -> DirectoryHandle:
        """The directory handle of this number.

        Raises:
            KeyNotFound: there is none.
            FUSEError: ESTALE: an earlier process opened it.
        """
        handle = self._handles.get(number)
        if not isinstance(handle, DirectoryHandle):
            raise self._missing(number, "is no directory")
        return handle

    def remove(self, number: int) -> Handle | None:
        """Forget a handle and wipe what it held, but for the bytes of a scratch file."""
        handle = self._handles.pop(number, None)
        if isinstance(handle, ReadHandle):
            if self._readers.get((handle.inode, handle.pid)) is handle:
                del self._readers[handle.inode, handle.pid]
            handle.snapshot.content.wipe()
        elif isinstance(handle, WriteHandle):
            self._wipe(handle)
        return handle

    def _wipe(self, handle: WriteHandle) -> None:
        """Several opens of one scratch file share what they write once it is renamed onto a key."""
        if all(known is not handle for known in self._handles.values()):
            handle.staged.wipe()

    def _missing(self, number: int, reason: str) -> Exception:
        if number in self._handles:
            return KeyNotFound(f"handle {number} {reason}")
        return FUSEError(errno.ESTALE)

    def seen_by(self, inode: int, pid: int, now_s: float) -> Facts | None:
        """The facts of what this process has just opened, so that its fstat agrees with its reads."""
        handle = self._readers.get((inode, pid))
        is_recent = handle is not None and now_s - handle.opened_s < SEEN_S
        return handle.snapshot.facts if handle is not None and is_recent else None

    def facts_of(self, path: Path) -> Facts | None:
        """The facts of a file that is there only as long as it is open: new, or destroyed meanwhile."""
        opened = (h for h in self._handles.values() if isinstance(h, ReadHandle | WriteHandle))
        for handle in opened:
            if handle.node.path == path:
                return handle.snapshot.facts if isinstance(handle, ReadHandle) else handle.facts
        return None


def file_info(fh: int, admission: Admission = DIRECT) -> pyfuse3.FileInfo:
    """How the kernel reads and writes an open file; by direct I/O every read(2) and write(2) comes here."""
    # An open that does not keep the pages has the kernel drop them, whoever reads them.
    return pyfuse3.FileInfo(fh=fh, direct_io=not admission.is_kept, keep_cache=admission.keep)
