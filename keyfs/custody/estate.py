"""`Estate`: what the workers of one mount leave to each other, in memory that their supervisor holds.

The supervisor has only the descriptor: it never maps the memory, and reads nothing of it.
"""

from hashlib import blake2b
from typing import Final

from keyfs.custody.area import map_area
from keyfs.custody.records import Record, Records

ESTATE_BYTES: Final = 2 << 20
_LEDGER_END: Final = 64 << 10
_SECRETS_END: Final = 128 << 10
_SECRET_BLOCK: Final = 128
_HANDLE_BLOCK: Final = 512  # a key's bytes, its path, and what `stat` shows of it


class Estate:
    """The memory, divided: a ledger of requests under way, secrets by name, open files by number."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._secrets = Records(memory[_LEDGER_END:_SECRETS_END], _SECRET_BLOCK)
        self.ledger = memory[:_LEDGER_END]

    @classmethod
    def inherited(cls, descriptor: int) -> "Estate":
        """The estate behind a descriptor.

        Raises:
            OSError: it cannot be mapped.
        """
        return cls(map_area(descriptor))

    def open_handles(self) -> Records:
        """What is open. To be called by the one worker that serves the mount, once it does."""
        return Records(self._memory[_SECRETS_END:], _HANDLE_BLOCK)

    def keep_secret(self, name: str, material: bytes | bytearray | memoryview) -> bool:
        """Keep *material* for later workers; False if there is no room."""
        text = name.encode("utf-8", "surrogateescape")
        number = int.from_bytes(blake2b(text, digest_size=8).digest(), "big")
        return self._secrets.put(number, text, material)

    def secrets(self, prefix: str) -> dict[str, memoryview]:
        """All secrets whose names begin with *prefix*, by the rest of the name. Views, not copies."""
        named = ((_name_of(record), record) for record in self._secrets.all())
        return {name.removeprefix(prefix): r.content for name, r in named if name.startswith(prefix)}


def _name_of(record: Record) -> str:
    return record.text.decode("utf-8", "surrogateescape")
