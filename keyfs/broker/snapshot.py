"""What one open shows: bytes that never change, and the facts about exactly those bytes."""

from dataclasses import dataclass
from typing import NamedTuple

from keyfs.core.secret import Secret
from keyfs.core.tree import Facts
from keyfs.store.base import BlobStat


class Snapshot(NamedTuple):
    """The bytes of one open, and the facts about exactly those bytes."""

    content: Secret
    facts: Facts
    is_foretold: bool = False  # whether `stat`, which opens no seal, says the same length
    stat: BlobStat | None = None  # of the blob, where the bytes follow from it alone


@dataclass(slots=True)
class Standing:
    """A snapshot that can be opened again, and the state of the index in which it was last seen current."""

    snapshot: Snapshot  # its bytes are fetched from their seal when somebody looks
    generation: int
