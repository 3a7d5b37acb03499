"""What was made of rows lately, each with the very row it was made from."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from keyfs.core.names import KeyRef
from keyfs.layout.base import KeyRing

# In both generations together about 32 MiB: a blob of a ring takes about 1 KiB.
BLOBS_KEPT: Final = 1 << 14
Value = TypeVar("Value")


def weight_of_ring(ring: KeyRing) -> int:
    """How many blobs it has, at most."""
    return 2 * len(ring.versions) + len(ring.orphans)


class RowCache(Generic[Value]):
    """Keeps what is used; takes no lock.

    There are two generations. What is found in the old one moves to the young one; when that is full it
    becomes the old one, and what nobody asked for meanwhile is dropped. So a hit costs one look into a dict.
    Threads that meet here lose at worst an entry, or keep a few too many for a while.

    Args:
        weigh: says what counts for a value.
        limit: the weight of one generation.
    """

    def __init__(self, weigh: Callable[[Value], int], limit: int = BLOBS_KEPT) -> None:
        self._weigh = weigh
        self._limit = limit
        self._young: dict[KeyRef, tuple[bytes, Value]] = {}
        self._old: dict[KeyRef, tuple[bytes, Value]] = {}
        self._weight = 0

    def get(self, ref: KeyRef, row: bytes) -> Value | None:
        """What was made from this very row, not from one that is equal to it."""
        kept = self._young.get(ref)
        if kept is not None:
            return kept[1] if kept[0] is row else None
        kept = self._old.get(ref)
        if kept is None or kept[0] is not row:
            return None
        self.put(ref, row, kept[1])
        return kept[1]

    def put(self, ref: KeyRef, row: bytes, value: Value) -> None:
        """Keep what was made from *row*."""
        if self._weight >= self._limit:
            self._old, self._young, self._weight = self._young, {}, 0
        self._young[ref] = (row, value)
        self._weight += self._weigh(value) or 1

    def drop(self, ref: KeyRef) -> None:
        """Forget what was made of one key's row."""
        self._young.pop(ref, None)
        self._old.pop(ref, None)

    def clear(self) -> None:
        """Forget all."""
        self._young, self._old, self._weight = {}, {}, 0
