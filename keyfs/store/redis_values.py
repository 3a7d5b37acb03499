"""How Acra keeps a file in Redis: one plain string with the base64 of its bytes.

Standard alphabet with padding; line feeds and carriage returns are tolerated on read. (Acra key store v1
in Redis.)
"""

import re
from binascii import a2b_base64, b2a_base64
from hashlib import sha256
from typing import Final

from keyfs.errors import MaterialCorrupt
from keyfs.store.base import Blob, BlobStat

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_PADDINGS: Final = frozenset({0.0, 1.0, 2.0})
MODE: Final = 0o600  # Redis has no permission bits; Acra pretends these, too


def encode(data: bytes) -> bytes:
    """The value that holds *data*."""
    return b2a_base64(data, newline=False)


def decode(name: str, value: bytes) -> Blob:
    """The blob in *value*; its identity is that of its bytes.

    Raises:
        MaterialCorrupt: not base64.
    """
    data = _decoded(value)
    if data is None:
        raise MaterialCorrupt(f"{name} holds no base64 in Redis")
    return plain(data)


def facts(value: bytes) -> BlobStat:
    """The facts about the blob in *value*, or about the value itself where it is no base64."""
    data = _decoded(value)
    if data is None:
        return undecodable(value)
    return BlobStat(len(data), None, MODE, sha256(data).hexdigest()[:32])


def plain(data: bytes) -> Blob:
    """The blob in a value that Acra does not encode."""
    return Blob(data, BlobStat(len(data), None, MODE, sha256(data).hexdigest()[:32]))


def undecodable(value: bytes) -> BlobStat:
    """The facts about a value that is no base64: there is a blob, even if nobody can read it."""
    return BlobStat(len(value), None, MODE, "!" + sha256(value).hexdigest()[:32])


def _decoded(value: bytes) -> bytes | None:
    """The bytes; None for what is no base64 to Go, and so to Acra."""
    try:
        data = a2b_base64(value, strict_mode=True)
    except ValueError:
        return _decoded_lines(value)
    # Python takes `AAAA====`, and Go does not.
    padding = len(value) / 4 * 3 - len(data)
    return data if padding in _PADDINGS else None


def _decoded_lines(value: bytes) -> bytes | None:
    """As `_decoded`, where there may be ends of lines, which Go leaves out."""
    text = value.replace(b"\n", b"").replace(b"\r", b"")
    if len(text) % 4 or not _BASE64.fullmatch(text):  # Python would take `AAAA=`
        return None
    return a2b_base64(text)
