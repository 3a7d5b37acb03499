"""A kernel with one file, as far as pages go: opens and closes that take effect late, and reads.

What it models (Linux, fs/fuse/file.c): an open that does not keep the pages drops them after its answer has
arrived, in the process that opened; a read of the pages ends at the length that the kernel believes in; an
open that cuts, and a write beyond the end, change that length; RELEASE comes some time after close(2).
"""

from dataclasses import dataclass, field

import trio

from keyfs.broker.snapshot import Snapshot, Standing
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import STORAGE_SYM
from keyfs.core.secret import Secret
from keyfs.core.tree import Facts, key_node
from keyfs.fs.pages import Admission, Pages

INODE = 7
LENGTH = 32
CURRENT_NODE = key_node(KeyRef(STORAGE_SYM, "alice1"), CURRENT, Half.SECRET)


@dataclass(eq=False)
class Opened:
    """An open file."""

    version: int
    admission: Admission
    has_arrived: bool = False


@dataclass
class PageKernel:
    """The kernel and the daemon's `Pages` of one file."""

    pages: Pages
    version: int = 0
    cached: int | None = None  # the version whose bytes the page has
    length: int = LENGTH
    opened: list[Opened] = field(default_factory=list)
    closing: list[Opened] = field(default_factory=list)
    writers: int = 0

    def rotate(self) -> None:
        """Somebody, somewhere. Sometimes back to what was there before."""
        self.version = (self.version + 1) % 5

    def forget(self) -> None:
        """The kernel is told to forget, and does."""
        if self.pages.drop(INODE):
            assert not self.opened
            self.cached = None
        elif not (self.opened or self.closing or self.writers):
            assert self.cached is None, "bytes of a key stay that were to be forgotten"

    def reclaim(self) -> None:
        """The kernel needs the memory."""
        self.cached = None

    @property
    def has_kept(self) -> bool:
        """Whether anybody reads the pages, as far as the daemon knows."""
        return any(file.admission.is_kept for file in (*self.opened, *self.closing))

    def open(self, *, gives: bool = False) -> None:
        """The daemon answers, the short way if it can; it *gives* the page if it may.

        The process goes on later.
        """
        standing = self.pages.standing(INODE)
        if standing is not None and standing.generation == self.version:
            self.opened.append(Opened(self.version, self.pages.admit_again(INODE, 0.0)))
            return
        facts = Facts(0o400, LENGTH, self.version)
        snapshot = Snapshot(Secret(bytes_of(self.version)), facts, is_foretold=True)
        admission = self.pages.admit(INODE, CURRENT_NODE, snapshot)
        if admission is None:  # it waits, and comes again
            return
        if admission.is_kept:
            self.pages.stand(INODE, Standing(snapshot, self.version))
        if gives and not admission.keep and self.pages.may_fill(INODE, admission):
            admission = self.give(admission)
        self.opened.append(Opened(self.version, admission))

    def give(self, admission: Admission) -> Admission:
        """The daemon puts the bytes into the page, which nobody may just be reading, and says so."""
        others = [*self.opened, *self.closing]
        assert not others, "who reads the page waits for the daemon"
        assert not self.writers, "who writes changes the length"
        self.cached, self.length = self.version, LENGTH
        self.pages.filled(INODE)
        return admission._replace(keep=True)

    def arrive(self, file: Opened) -> None:
        """The answer has reached the process that opened."""
        if not file.has_arrived and not file.admission.keep:
            self.cached = None
        file.has_arrived = True

    def read(self, file: Opened) -> bytes:
        """All of an open file, in the process that opened it."""
        self.arrive(file)
        if not file.admission.is_kept:
            self.pages.was_read(INODE, file.admission)
            return bytes_of(file.version)
        if self.cached is None:
            self.pages.was_read(INODE, file.admission)
            self.cached = file.version
        return bytes_of(self.cached)[: self.length]

    def close(self, file: Opened) -> None:
        """The process closes."""
        self.arrive(file)
        self.opened.remove(file)
        self.closing.append(file)

    def release(self) -> None:
        """The daemon hears of the close that came first."""
        if self.pages.closed(INODE, self.closing.pop(0).admission):
            self.forget()

    def cut(self) -> None:
        """Somebody opens for writing, and the kernel takes the file for empty."""
        trio.run(self.pages.begin_writing, INODE)
        self.writers += 1
        self.length = 0

    def written(self) -> None:
        """A writer has closed, and the kernel has asked for the length since."""
        if self.pages.end_writing(INODE):
            self.forget()
        self.writers -= 1
        self.length = 0 if self.writers else LENGTH


def bytes_of(version: int) -> bytes:
    """What a version holds."""
    return version.to_bytes(LENGTH, "big")
