"""The archive: retired versions that were taken out of the key store, sealed as they were. Its lines, parsed.

One line of JSON for each version, with all that is needed to put it back: names and bytes of its blobs, modes
and times. The bytes are those of the store: what is secret is sealed, under the master key of that time.
"""

import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from keyfs.errors import MaterialCorrupt

_Kind = TypeVar("_Kind")
NAME: Final = "archive.jsonl"
"""What it is called beside the key store."""


@dataclass(frozen=True, slots=True)
class ArchivedBlob:
    """One blob as it lay in the key store."""

    name: str
    data: bytes
    mode: int
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class Archived:
    """One version in the archive."""

    key: str  # `storage/alice`
    version: str
    archived_ns: int
    blobs: tuple[ArchivedBlob, ...]  # the secret part before the public one

    @property
    def label(self) -> str:
        """`PURPOSE/CLIENT/VERSION`."""
        return f"{self.key}/{self.version}"


def encode(archived: Archived) -> bytes:
    """Its line, without the end."""
    blobs = [
        {
            "name": blob.name,
            "data": binascii.b2a_base64(blob.data, newline=False).decode(),
            "mode": blob.mode,
            "mtime_ns": blob.mtime_ns,
        }
        for blob in archived.blobs
    ]
    facts = {"key": archived.key, "version": archived.version, "archived_ns": archived.archived_ns}
    return json.dumps({**facts, "blobs": blobs}).encode("ascii")


def decode(data: bytes | None) -> dict[str, Archived]:
    """The versions in the archive by their labels, in the order in which they came.

    What is there twice (somebody died between archiving and removing) counts once.

    Raises:
        MaterialCorrupt: a line is damaged.
    """
    found: dict[str, Archived] = {}
    for number, line in enumerate((data or b"").splitlines(), 1):
        try:
            archived = _decoded(json.loads(line))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise MaterialCorrupt(f"line {number} of {NAME} beside the key store is damaged") from None
        found.setdefault(archived.label, archived)
    return found


def as_lines(archived: Iterable[Archived]) -> bytes:
    """The whole archive."""
    return b"".join(encode(one) + b"\n" for one in archived)


def _decoded(line: dict[str, object]) -> Archived:
    blobs = line["blobs"]
    if not isinstance(blobs, list) or not blobs:
        raise ValueError
    return Archived(
        _typed(line["key"], str),
        _typed(line["version"], str),
        _typed(line["archived_ns"], int),
        tuple(_blob(blob) for blob in blobs),
    )


def _blob(said: dict[str, object]) -> ArchivedBlob:
    mtime_ns = said["mtime_ns"]
    return ArchivedBlob(
        _typed(said["name"], str),
        binascii.a2b_base64(_typed(said["data"], str), strict_mode=True),
        _typed(said["mode"], int),
        None if mtime_ns is None else _typed(mtime_ns, int),
    )


def _typed(value: object, kind: type[_Kind]) -> _Kind:
    if type(value) is not kind:
        raise TypeError
    return value
