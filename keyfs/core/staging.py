"""`StagedWrite`: what one open file handle is about to make the next version.

The machine behind "exactly one version per finished write" (rules R3 to R5, R10 of the file semantics):
a flush commits only a value that was really written and is whole, and the same handle's later value amends
the version it made.
"""

from dataclasses import dataclass, field
from typing import Final

from keyfs.errors import InvalidMaterial

SIZE_LIMIT: Final = 64 * 1024


@dataclass(slots=True)
class StagedWrite:
    """Bytes collected by one handle.

    Args:
        limit: more bytes than this can never become a key.
        prefix: the first bytes that every key of the kind has; empty when any will do.
        base: identity of the version that `buffer` started from; empty when it started from nothing.
        buffer: the content to start from.
        never: bytes that no key of the kind holds.
    """

    limit: int
    prefix: bytes = b""
    base: str = ""
    buffer: bytearray = field(default_factory=bytearray, repr=False)
    is_dirty: bool = False
    is_refused: bool = False  # a write did not fit: what came before it must not become a key
    committed: str = ""  # identity of the version this handle made
    never: bytes = b""
    # Identity of what was current when a process that died meanwhile began to commit; None if none did.
    begun_on: str | None = None

    def write(self, offset: int, data: bytes) -> int:
        """Take *data* at *offset*; returns its length.

        Raises:
            InvalidMaterial: no key of this kind can begin like that, hold that or be that long. Many programs
                ignore the error of close(2), so this is the last one they see. What was taken before is kept.
        """
        end = offset + len(data)
        self.is_dirty = True
        if end > self.limit:
            self.is_refused = True
            raise InvalidMaterial(f"{end} bytes are more than a key here can have ({self.limit})")
        if self.never and len(data.translate(None, self.never)) != len(data):
            self.is_refused = True
            raise InvalidMaterial("a key here is text, without control characters")
        if offset > len(self.buffer):
            self.buffer.extend(bytes(offset - len(self.buffer)))
        self.buffer[offset:end] = data
        begin = bytes(self.buffer[: len(self.prefix)])
        if offset == 0 and not self.prefix.startswith(begin):
            raise InvalidMaterial(f"a key here begins with {self.prefix.decode('ascii', 'replace')}")
        return len(data)

    def truncate(self, size: int) -> None:
        """Cut or fill the buffer. Not a write: alone it makes no version.

        Cutting to nothing makes what follows a full overwrite, which no longer depends on its base.

        Raises:
            InvalidMaterial: *size* is more than a key here can have.
        """
        if size > self.limit:
            raise InvalidMaterial(f"{size} bytes are more than a key here can have ({self.limit})")
        if size == 0:
            self.base, self.is_refused, self.is_dirty = "", False, False
        if size <= len(self.buffer):
            del self.buffer[size:]
        else:
            self.buffer.extend(bytes(size - len(self.buffer)))

    def take(self) -> bytes | None:
        """What a flush now has to commit; None for nothing.

        Raises:
            InvalidMaterial: a write was refused, so that what is here is only a part.
        """
        if self.is_refused:
            raise InvalidMaterial("a write to this file was refused: nothing was changed")
        return bytes(self.buffer) if self.is_dirty and self.buffer else None

    def mark_committed(self, data: bytes, identity: str) -> None:
        """*data*, which `take` gave, became the version *identity*; further edits start from it."""
        self.mark_unchanged(data)
        self.committed = identity
        if self.base:
            self.base = identity

    def mark_unchanged(self, data: bytes) -> None:
        """*data*, which `take` gave, is current already: no version was made, so none may be amended."""
        # What was written while the commit ran is still to be committed.
        self.is_dirty = self.buffer != data
        self.begun_on = None

    def wipe(self) -> None:
        """Overwrite the buffer with zeros. Safe to call twice."""
        self.buffer[:] = bytes(len(self.buffer))
