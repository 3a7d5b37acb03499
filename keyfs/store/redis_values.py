"""How Acra keeps a file in Redis: one plain string with the base64 of its bytes.

Standard alphabet with padding; line feeds and carriage returns are tolerated on read. (Acra key store v1
in Redis.)
"""

import base64
import binascii
import hashlib
from typing import Final

from keyfs.errors import MaterialCorrupt
from keyfs.store.base import Blob, BlobStat

MODE: Final = 0o600  # Redis has no permission bits; Acra pretends these, too
_TAIL: Final = 2  # padding is at most this many characters


def encode(data: bytes) -> bytes:
    """The value that holds *data*."""
    return base64.b64encode(data)


def decode(name: str, value: bytes) -> Blob:
    """The blob in *value*; its identity is that of its bytes.

    Raises:
        MaterialCorrupt: not base64.
    """
    try:
        data = base64.b64decode(value.replace(b"\n", b"").replace(b"\r", b""), validate=True)
    except binascii.Error as exc:
        raise MaterialCorrupt(f"{name} holds no base64 in Redis") from exc
    return Blob(data, BlobStat(len(data), None, MODE, hashlib.sha256(data).hexdigest()[:32]))


def stat_from_length(length: int, tail: bytes, identity: str) -> BlobStat:
    """The facts that a value's length and its last two characters tell, with an identity of the caller's."""
    size = length // 4 * 3 - tail[-_TAIL:].count(b"=")
    return BlobStat(max(size, 0), None, MODE, identity)
