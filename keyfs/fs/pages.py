"""The kernel's pages: which bytes of a file it keeps, and who may read them there.

1. Of one file, the pages that a plain read(2) can meet hold the bytes of one version: of the *kept* one. Who
   opens another version while the kept one is open reads by direct I/O; and so do all while somebody writes.
2. `FOPEN_KEEP_CACHE` is only said once a read of the kept version has arrived here: that read came after the
   kernel had dropped what was there before, and everything that is there since is of the kept version. Or
   once the kernel was given all its bytes while nobody had the file open: they replace what was there.

So no open ever depends on the kernel having been told to forget anything.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from keyfs.broker.snapshot import Snapshot, Standing
from keyfs.core.purposes import Shape
from keyfs.core.secret import Secret
from keyfs.core.tree import Facts, Kind, Node

VACATED_WITHIN_S: Final = 0.25


class Admission(NamedTuple):
    """How an open for reading reads. *digest* is that of its bytes; empty for what is never kept."""

    digest: bytes = b""
    is_kept: bool = False  # it reads the kernel's pages
    keep: bool = False  # those that are there stay
    is_cut: bool = False  # it made the kernel take the file for empty: it counts as a writer


DIRECT: Final = Admission()
CUT: Final = Admission(is_cut=True)


@dataclass(slots=True)
class _File:
    """One file of which something is open, or of which the kernel may hold pages."""

    digest: bytes = b""  # of the kept version; empty for none
    facts: Facts | None = None  # those of the kept version
    standing: Standing | None = None  # the kept version, for opens that need no seal
    is_proved: bool = False  # law 2
    again: Admission = DIRECT  # of opens that need no seal
    readers: int = 0  # opens that read the kernel's pages
    direct: dict[bytes, int] = field(default_factory=dict)  # opens that read by direct I/O, by digest
    writers: int = 0
    is_mixed: bool = False  # an earlier process let several versions in
    is_outdated: bool = False  # its pages are to be dropped when the last one has closed
    is_filled: bool = False  # a read has arrived here: else the kernel has no pages
    was_awaited: bool = False  # those who read the kept version do not close soon
    used_s: float = 0.0
    vacated: trio.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether anybody has it open."""
        return bool(self.readers or self.direct or self.writers)

    @property
    def has_strays(self) -> bool:
        """Whether somebody has another version open than the kept one."""
        return any(digest != self.digest for digest in self.direct)

    def keeps(self, digest: bytes) -> bool:
        """Whether the kernel's pages are, or can be from now on, those of this version."""
        if self.writers or self.is_mixed:
            return False
        if self.digest == digest:
            return True
        # sendfile(2) and mmap(2) fill the pages even with direct I/O: nobody else may be there.
        return not self.readers and all(other == digest for other in self.direct)


class Pages:
    """Decides how each open reads.

    Args:
        is_on: whether the kernel may keep pages at all.
        clock: seconds, monotonic.
    """

    def __init__(self, *, is_on: bool, clock: Callable[[], float] = trio.current_time) -> None:
        self.is_on = is_on
        self._clock = clock
        self._key = os.urandom(16)  # digests of keys mean nothing outside this process
        self._files: dict[int, _File] = {}

    def admit(self, inode: int, node: Node, snapshot: Snapshot) -> Admission | None:
        """How an open for reading is to read; `closed` must follow. None: await `vacated` first.

        Who opens another version than the kept one, and then uses sendfile(2) or mmap(2), fills pages that
        others read. So it waits until they have closed, once for each version that they hold open.
        """
        if not (self.is_on and snapshot.is_foretold and _never_changes_length(node)):
            return DIRECT
        file = self._files.get(inode)
        if file is None:
            file = self._files[inode] = _File()
        digest = self._digest(snapshot.content)
        if not file.keeps(digest):
            if file.readers and not file.was_awaited and not file.writers:
                return None
            file.direct[digest] = file.direct.get(digest, 0) + 1
            return Admission(digest)
        if file.digest != digest:
            file.digest, file.is_proved, file.was_awaited = digest, False, False
        file.facts, file.standing = snapshot.facts, None
        file.readers += 1
        file.used_s = self._clock()
        return Admission(digest, is_kept=True, keep=file.is_proved)

    def may_fill(self, inode: int, admission: Admission) -> bool:
        """Whether nobody else has open what was just admitted, so that no read of it is under way."""
        file = self._files.get(inode)
        return file is not None and admission.is_kept and file.readers == 1 and not file.direct

    def filled(self, inode: int) -> None:
        """The kernel was given the bytes of the kept version, in the place of what was there."""
        file = self._files[inode]
        file.is_filled = file.is_proved = True

    def stand(self, inode: int, standing: Standing | None) -> None:
        """What `admit` has just admitted can be opened again like this."""
        self._files[inode].standing = standing

    def standing(self, inode: int) -> Standing | None:
        """What the kernel certainly has of a file; None while somebody writes it, too."""
        file = self._files.get(inode)
        if file is None or not file.is_proved or file.writers or file.is_mixed:
            return None
        return file.standing

    def admit_again(self, inode: int, now_s: float) -> Admission:
        """As `admit`, for the very version that `standing` has just told."""
        file = self._files[inode]
        file.readers += 1
        file.used_s = now_s
        if file.again.digest != file.digest:
            file.again = Admission(file.digest, is_kept=True, keep=True)
        return file.again

    def was_read(self, inode: int, admission: Admission) -> None:
        """The kernel fetched bytes for an open."""
        file = self._files.get(inode)
        if file is None:
            return
        file.is_filled = True
        if admission.is_kept:
            file.is_proved = not file.is_mixed
        else:  # it may have filled the pages, see `_File.keeps`: the next open drops them, or the last close
            file.is_proved, file.is_outdated = False, True

    def closed(self, inode: int, admission: Admission) -> bool:
        """An open for reading ended; whether the pages are to be dropped now, because of `drop` before."""
        if admission.is_cut:
            return self.end_writing(inode)
        file = self._files.get(inode)
        if file is None or not admission.digest:
            return False
        if admission.is_kept:
            file.readers -= 1
            if not file.readers:
                self._vacate(file)
        else:
            file.direct[admission.digest] -= 1
            if not file.direct[admission.digest]:
                del file.direct[admission.digest]
        return self._tidy(inode, file)

    async def vacated(self, inode: int) -> None:
        """Return when nobody reads the pages of a file any more, or when that takes too long."""
        file = self._files.get(inode)
        if file is None or not file.readers:
            return
        if file.vacated is None:
            file.vacated = trio.Event()
        with trio.move_on_after(VACATED_WITHIN_S):
            await file.vacated.wait()
        file.was_awaited = True

    async def begin_writing(self, inode: int) -> None:
        """From now on nobody else opens the kernel's pages; `end_writing` must follow.

        A write changes the length that the kernel believes in, and so what those read who read its pages.
        Most of them close at once, and are waited for; who holds the file open is not.
        """
        if not self.is_on:
            return
        file = self._files.setdefault(inode, _File())
        file.writers += 1
        try:
            await self.vacated(inode)
        except BaseException:
            self.end_writing(inode)
            raise

    def end_writing(self, inode: int) -> bool:
        """A write handle was closed; else as `closed`."""
        file = self._files.get(inode)
        if file is None or not file.writers:
            return False
        file.writers -= 1
        return self._tidy(inode, file)

    def inherit_reader(self, inode: int, snapshot: Snapshot) -> Admission:
        """An earlier process let somebody read; nobody knows whether from the kernel's pages."""
        if not self.is_on:
            return DIRECT
        file = self._files.setdefault(inode, _File())
        digest = self._digest(snapshot.content)
        file.is_mixed |= file.digest not in (b"", digest)
        file.digest, file.facts, file.readers = digest, snapshot.facts, file.readers + 1
        file.is_filled = True
        return Admission(digest, is_kept=True)

    def inherit_writer(self, inode: int) -> None:
        """An earlier process let somebody write."""
        if self.is_on:
            file = self._files.setdefault(inode, _File())
            file.writers += 1
            file.is_filled = True

    def length(self, inode: int, facts: Facts) -> tuple[Facts, bool]:
        """What `stat` has to show instead of *facts*, and whether the kernel may keep that."""
        file = self._files.get(inode)
        if file is None:
            return facts, True
        if file.readers and file.facts is not None and file.facts != facts:
            # Else what is read from the kernel's pages would end where another version ends.
            return (facts if file.facts.size == facts.size else file.facts), False
        return facts, not (file.has_strays or file.writers)

    def is_open(self, inode: int) -> bool:
        """Whether anybody has a file open of which the kernel may have pages."""
        file = self._files.get(inode)
        return file is not None and file.is_open

    def drop(self, inode: int) -> bool:
        """What the kernel has of a file is outdated; whether there may be pages that can be dropped now."""
        file = self._files.get(inode)
        if file is None:
            return False
        file.is_proved = False
        if file.is_open:
            file.is_outdated = True
            return False
        del self._files[inode]
        return file.is_filled

    def unused_since(self, time_s: float) -> list[int]:
        """The files of which there may be pages, and which nobody has opened since then."""
        return [inode for inode, file in self._files.items() if file.digest and file.used_s <= time_s]

    def forgotten(self, inode: int) -> None:
        """The kernel does not refer to this file any more, and keeps nothing of it."""
        self._files.pop(inode, None)

    def _vacate(self, file: _File) -> None:
        if file.is_mixed:
            file.is_mixed, file.digest = False, b""
        if file.vacated is not None:
            file.vacated.set()
            file.vacated = None

    def _tidy(self, inode: int, file: _File) -> bool:
        """Forget a file of which there is nothing to remember; whether its pages are to be dropped."""
        if file.is_open:
            return False
        if not (file.is_filled and (file.digest or file.is_outdated)):
            self._files.pop(inode, None)
        return file.is_filled and file.is_outdated

    def _digest(self, content: Secret) -> bytes:
        return hashlib.blake2b(content.view(), key=self._key, digest_size=16).digest()


def _never_changes_length(node: Node) -> bool:
    """The kernel's idea of a file's length is one for all versions that are open."""
    return node.kind is Kind.KEY and node.purpose is not None and node.purpose.shape is not Shape.OWN
