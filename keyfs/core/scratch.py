"""Scratch files: what editors and copying programs make beside a key, in memory only (rule R9).

They would make them elsewhere if they were refused here: vim then writes its swap file, and the key in it, to
a disk. A scratch file belongs to the user who made it; nobody else sees it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from keyfs.core.names import KeyRef
from keyfs.core.tree import Kind, Node
from keyfs.errors import InvalidMaterial, KeyExists, KeyNotFound, QuotaExceeded

SIZE_LIMIT: Final = 1 << 20
FILES_LIMIT: Final = 64  # for each user
LIFE_S: Final = 600.0  # after the last close


@dataclass(slots=True, eq=False)
class Scratch:
    """One file in memory. *node* stays the same when it is renamed."""

    node: Node
    ref: KeyRef
    name: str
    uid: int
    gid: int
    mode: int
    mtime_ns: int
    used_s: float  # last opened, closed or renamed
    handles: int = 0
    buffer: bytearray = field(default_factory=bytearray, repr=False)

    def write(self, offset: int, data: bytes) -> int:
        """Take *data* at *offset*; returns its length.

        Raises:
            InvalidMaterial: the file would be longer than a scratch file may be.
        """
        end = offset + len(data)
        self._check(end)
        if offset > len(self.buffer):
            self.buffer.extend(bytes(offset - len(self.buffer)))
        self.buffer[offset:end] = data
        return len(data)

    def truncate(self, size: int) -> None:
        """Cut or fill to *size* bytes.

        Raises:
            InvalidMaterial: as `write`.
        """
        self._check(size)
        if size <= len(self.buffer):
            self.buffer[size:] = bytes(len(self.buffer) - size)
            del self.buffer[size:]
        else:
            self.buffer.extend(bytes(size - len(self.buffer)))

    def wipe(self) -> None:
        """Overwrite the content with zeros. Safe to call twice."""
        self.buffer[:] = bytes(len(self.buffer))

    def _check(self, size: int) -> None:
        if size > SIZE_LIMIT:
            raise InvalidMaterial(f"{size} bytes are more than a scratch file can have ({SIZE_LIMIT})")


class Scratches:
    """All scratch files of one mount, by place and user.

    Args:
        first: of the numbers that tell one file from the next; inode numbers follow from them, so it must be
            higher than any that an earlier process gave out.
    """

    def __init__(self, first: int = 1) -> None:
        self._files: dict[tuple[KeyRef, str, int], Scratch] = {}
        self._by_node: dict[Node, Scratch] = {}
        self._numbers = count(first)

    def __bool__(self) -> bool:
        """Whether there are any that have a name."""
        return bool(self._files)

    def make(self, scratch: Scratch) -> Scratch:
        """Add a file under its name.

        Raises:
            KeyExists: its user has one of that name there.
            QuotaExceeded: its user has too many.
        """
        place = _place(scratch)
        if place in self._files:
            raise KeyExists(f"{scratch.ref}/{scratch.name} is there already")
        if sum(1 for _, _, uid in self._files if uid == scratch.uid) >= FILES_LIMIT:
            raise QuotaExceeded(f"user {scratch.uid} has {FILES_LIMIT} scratch files: remove some")
        self._files[place] = self._by_node[scratch.node] = scratch
        return scratch

    def new_node(self, ref: KeyRef) -> Node:
        """A node for a file to be made beside a key; no other one ever has its path."""
        path = (ref.purpose.name, ref.client_label, f"scratch file {next(self._numbers)}")
        return Node(Kind.SCRATCH, path, ref.purpose, ref)

    def find(self, ref: KeyRef, name: str, uid: int) -> Scratch | None:
        """This user's file of that name beside that key."""
        return self._files.get((ref, name, uid))

    def of(self, node: Node) -> Scratch:
        """The file that is this node; also one that has no name any more but is open.

        Raises:
            KeyNotFound: it is gone.
        """
        scratch = self._by_node.get(node)
        if scratch is None:
            raise KeyNotFound(f"{node} is gone")
        return scratch

    def beside(self, ref: KeyRef, uid: int) -> Iterator[Scratch]:
        """This user's files beside a key, in the order of names."""
        found = [s for (where, _, whose), s in self._files.items() if (where, whose) == (ref, uid)]
        yield from sorted(found, key=lambda scratch: scratch.name)

    def rename(self, scratch: Scratch, name: str) -> None:
        """Give a file another name; one of that user's that has it is removed."""
        there = self.find(scratch.ref, name, scratch.uid)
        if there is scratch:
            return
        if there is not None:
            self.remove(there)
        self._files.pop(_place(scratch), None)
        scratch.name = name
        self._files[_place(scratch)] = scratch

    def remove(self, scratch: Scratch) -> None:
        """Take a file's name away; its bytes are wiped as soon as nobody has it open."""
        if self._files.get(_place(scratch)) is scratch:
            del self._files[_place(scratch)]
        if not scratch.handles:
            self._forget(scratch)

    def closed(self, scratch: Scratch, now_s: float) -> None:
        """One handle less."""
        scratch.handles -= 1
        scratch.used_s = now_s
        if not scratch.handles and self._files.get(_place(scratch)) is not scratch:
            self._forget(scratch)

    def expire(self, now_s: float) -> None:
        """Remove what nobody has had open for long."""
        for scratch in list(self._files.values()):
            if not scratch.handles and now_s - scratch.used_s > LIFE_S:
                self.remove(scratch)

    def _forget(self, scratch: Scratch) -> None:
        scratch.wipe()
        self._by_node.pop(scratch.node, None)


def _place(scratch: Scratch) -> tuple[KeyRef, str, int]:
    return scratch.ref, scratch.name, scratch.uid
