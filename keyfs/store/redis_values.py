"""How Acra keeps a file in Redis: one plain string with the base64 of its bytes.

Standard alphabet with padding; line feeds and carriage returns are tolerated on read. (Acra key store v1
in Redis.)
"""

import base64
import hashlib
import re
from typing import Final

from keyfs.errors import MaterialCorrupt
from keyfs.store.base import Blob, BlobStat

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
MODE: Final = 0o600  # Redis has no permission bits; Acra pretends these, too


def encode(data: bytes) -> bytes:
    """The value that holds *data*."""
    return base64.b64encode(data)


def decode(name: str, value: bytes) -> Blob:
    """The blob in *value*; its identity is that of its bytes.

    Raises:
        MaterialCorrupt: not base64.
    """
    text = value.replace(b"\n", b"").replace(b"\r", b"")
    if len(text) % 4 or not _BASE64.fullmatch(text):  # Python would take `AAAA=`, and Go does not
        raise MaterialCorrupt(f"{name} holds no base64 in Redis")
    return plain(base64.b64decode(text))


def plain(data: bytes) -> Blob:
    """The blob in a value that Acra does not encode."""
    return Blob(data, BlobStat(len(data), None, MODE, hashlib.sha256(data).hexdigest()[:32]))


def undecodable(value: bytes) -> BlobStat:
    """The facts about a value that is no base64: there is a blob, even if nobody can read it."""
    return BlobStat(len(value), None, MODE, "!" + hashlib.sha256(value).hexdigest()[:32])
