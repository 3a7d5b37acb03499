"""`Records`: numbered records in memory that outlives the process that writes them."""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEADER: Final = struct.Struct("<BxHIIQQ")  # state, blocks, bytes of text, bytes of content, number, sequence
_WHOLE: Final = 1
_TORN: Final = 2  # being written, or wiped: who finds it wipes it, by the number of blocks
_BLOCKS_MAX: Final = 0xFFFF
_USED: Final = b"\1"
_FREE: Final = b"\0"


@dataclass(frozen=True, slots=True)
class Record:
    """What was put under a number. *content* lies in the memory itself."""

    number: int
    text: bytes
    content: memoryview


class Records:
    """Records in a piece of shared memory. Whoever dies while writing one leaves it as it was, or whole.

    One process at a time may write.

    Args:
        memory: zeros, or what another process left.
        block_bytes: records take a multiple of it.
    """

    def __init__(self, memory: memoryview, block_bytes: int) -> None:
        self._memory = memory
        self._block_bytes = block_bytes
        self._blocks = bytearray(len(memory) // block_bytes)  # 1 for each that is used
        self._places: dict[int, tuple[int, int]] = {}  # by number: first block, and how many
        self._load()

    def put(self, number: int, text: bytes, content: bytes | bytearray | memoryview = b"") -> bool:
        """Keep *text* and *content* under *number*, in place of what was there; False if there is no room."""
        blocks = -(-(_HEADER.size + len(text) + len(content)) // self._block_bytes)
        start = self._blocks.find(_FREE * blocks)
        if start < 0 or blocks > _BLOCKS_MAX:
            return False
        at = start * self._block_bytes
        behind = at + _HEADER.size + len(text)
        sizes = (blocks, len(text), len(content))
        self._memory[at : at + _HEADER.size] = _HEADER.pack(0, *sizes, number, next(self._sequence))
        self._memory[at] = _TORN
        self._memory[at + _HEADER.size : behind] = text
        self._memory[behind : behind + len(content)] = content
        self._memory[at] = _WHOLE  # from here on it counts
        self._blocks[start : start + blocks] = _USED * blocks
        self.drop(number)
        self._places[number] = (start, blocks)
        return True

    def drop(self, number: int) -> None:
        """Wipe what is under *number*, if anything is."""
        place = self._places.pop(number, None)
        if place is not None:
            self._wipe(*place)

    def all(self) -> Iterator[Record]:
        """All records, in no order."""
        for start, _ in self._places.values():
            at = start * self._block_bytes
            _, _, text_bytes, content_bytes, number, _ = _HEADER.unpack_from(self._memory, at)
            behind = at + _HEADER.size + text_bytes
            text = bytes(self._memory[at + _HEADER.size : behind])
            yield Record(number, text, self._memory[behind : behind + content_bytes])

    def _load(self) -> None:
        latest: dict[int, int] = {}
        last, start = 0, 0
        while start < len(self._blocks):
            state, blocks, _, _, number, sequence = _HEADER.unpack_from(
                self._memory, start * self._block_bytes
            )
            if state != _WHOLE:
                blocks = blocks if state == _TORN else 1
                self._wipe(start, blocks)
                start += blocks
                continue
            self._blocks[start : start + blocks] = _USED * blocks
            last = max(last, sequence)
            if sequence > latest.get(number, 0):
                self.drop(number)
                latest[number] = sequence
                self._places[number] = (start, blocks)
            else:
                self._wipe(start, blocks)
            start += blocks
        self._sequence = itertools.count(last + 1)

    def _wipe(self, start: int, blocks: int) -> None:
        at, size = start * self._block_bytes, blocks * self._block_bytes
        self._memory[at] = _TORN
        self._memory[at + _HEADER.size : at + size] = bytes(size - _HEADER.size)
        self._memory[at : at + _HEADER.size] = bytes(_HEADER.size)
        self._blocks[start : start + blocks] = _FREE * blocks
