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
from keyfs.store.facts import identity_of_bytes, pack, pack_digest

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
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


def packed(value: bytes, *, is_plain: bool) -> bytes:
    """The facts about the blob in *value*; about the value itself where it is no base64."""
    data = value if is_plain else _decoded(value)
    if data is None:
        return pack(undecodable(value))
    return pack_digest(len(data), None, MODE, sha256(data).digest())


def plain(data: bytes) -> Blob:
    """The blob in a value that Acra does not encode."""
    return Blob(data, BlobStat(len(data), None, MODE, identity_of_bytes(data)))


def undecodable(value: bytes) -> BlobStat:
    """The facts about a value that is no base64: there is a blob, even if nobody can read it."""
    return BlobStat(len(value), None, MODE, "!" + sha256(value).hexdigest()[:32])


def _decoded(value: bytes) -> bytes | None:
    """The bytes; None for what is no base64 to Go, and so to Acra."""
    try:
        data = a2b_base64(value, strict_mode=True)
    except ValueError:
        return _decoded_lines(value)
    # Python takes `AAAA=` and `AAAA====`, too; Go does not.
    return None if len(value) % 4 or value.endswith(b"===") else data


def _decoded_lines(value: bytes) -> bytes | None:
    """As `_decoded`, where there may be ends of lines, which Go leaves out."""
    text = value.replace(b"\n", b"").replace(b"\r", b"")
    return a2b_base64(text) if len(text) % 4 == 0 and _BASE64.fullmatch(text) else None
