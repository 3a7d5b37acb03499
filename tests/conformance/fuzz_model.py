"""What keyfs promises, without a file system: the model that the fuzz test compares a real mount with.

Only symmetric keys: any 32 bytes. Each method returns what the call has to answer, or raises `Refused`.
"""

from dataclasses import dataclass, field
from typing import Final

KEY_SIZE: Final = 32
KEY_LIMIT: Final = KEY_SIZE + 1  # with the newline that an import may bring
SCRATCH_LIMIT: Final = 1 << 20


class Refused(Exception):
    """The errno that is expected."""


@dataclass(slots=True, eq=False)
class Key:
    """All versions of a key, the current one last. *identity* is new whenever the current one is."""

    versions: list[bytes] = field(default_factory=list)
    identity: object = None
    scratches: dict[str, "Scratch"] = field(default_factory=dict)

    def accept(self, data: bytes, *, instead: bool = False) -> None:
        """*data* is current now; *instead* of the version before, which its own writer amends."""
        if instead:
            del self.versions[-1]
        self.versions.append(data)
        self.identity = object()


@dataclass(slots=True, eq=False)
class Scratch:
    """A file in memory."""

    buffer: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes, offset: int) -> None:
        if offset + len(data) > SCRATCH_LIMIT:
            raise Refused("EINVAL")
        overwrite(self.buffer, data, offset)

    def truncate(self, size: int) -> None:
        if size > SCRATCH_LIMIT:
            raise Refused("EINVAL")
        resize(self.buffer, size)


@dataclass(slots=True, eq=False)
class Staged:
    """The next version of a key, as one open file collects it."""

    key: Key
    buffer: bytearray = field(default_factory=bytearray)
    base: object = None
    is_dirty: bool = False
    is_refused: bool = False
    made: object = None

    def write(self, data: bytes, offset: int) -> None:
        if self.base is not None and self.base is not self.key.identity:
            raise Refused("ESTALE")
        self.is_dirty = True
        if offset + len(data) > KEY_LIMIT:
            self.is_refused = True
            raise Refused("EINVAL")
        overwrite(self.buffer, data, offset)

    def truncate(self, size: int) -> None:
        if size > KEY_LIMIT:
            raise Refused("EINVAL")
        if size == 0:
            self.base, self.is_dirty, self.is_refused = None, False, False
        resize(self.buffer, size)

    def commit(self) -> None:
        """What close(2) and fsync(2) do."""
        if self.is_refused:
            raise Refused("EINVAL")
        if not (self.is_dirty and self.buffer):
            return
        data = as_key(bytes(self.buffer))
        if self.key.versions[-1:] != [data]:
            if self.base is not None and self.base is not self.key.identity:
                raise Refused("ESTALE")
            amends = self.made is not None and self.made is self.key.identity
            self.key.accept(data, instead=amends)
            self.made = self.key.identity
            if self.base is not None:
                self.base = self.made
        self.is_dirty = False


@dataclass(slots=True, eq=False)
class Open:
    """An open file: *file* is what it has open; bytes are the version that it was opened on."""

    actor: int
    fd: int
    file: bytes | Scratch | Staged
    may_read: bool
    may_write: bool
    place: int

    @property
    def content(self) -> bytes:
        return self.file if isinstance(self.file, bytes) else bytes(self.file.buffer)

    def read(self, size: int, offset: int) -> bytes:
        if not self.may_read:
            raise Refused("EBADF")
        return self.content[offset : offset + size]

    def write(self, data: bytes, offset: int) -> None:
        if not self.may_write or isinstance(self.file, bytes):
            raise Refused("EBADF")
        if data:  # the kernel sends no empty write
            self.file.write(data, offset)

    def truncate(self, size: int) -> None:
        if not self.may_write or isinstance(self.file, bytes):
            raise Refused("EINVAL")
        self.file.truncate(size)

    def commit(self) -> None:
        if isinstance(self.file, Staged):
            self.file.commit()


def as_key(data: bytes) -> bytes:
    """What an import makes of some bytes."""
    if len(data) == KEY_LIMIT and data.endswith(b"\n"):
        data = data[:-1]
    if len(data) != KEY_SIZE:
        raise Refused("EINVAL")
    return data


def overwrite(buffer: bytearray, data: bytes, offset: int) -> None:
    resize(buffer, max(len(buffer), offset))
    buffer[offset : offset + len(data)] = data


def resize(buffer: bytearray, size: int) -> None:
    del buffer[size:]
    buffer.extend(bytes(size - len(buffer)))


def import_into(key: Key, data: bytes, refusal: str = "EINVAL") -> Staged:
    """One whole write, by whatever way."""
    staged = Staged(key)
    try:
        if data:
            staged.write(data, 0)
        staged.commit()
    except Refused:
        raise Refused(refusal) from None
    return staged
