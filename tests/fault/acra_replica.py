"""An independent Acra v1: seals, opens, rotates and lists as Acra's own tools do. Shares no code with keyfs.

Source: the Acra key store v1, "Rotation and history", "Reading order", "Listing and name parsing", and Themis
Secure Cell, Seal mode.
"""

import hashlib
import hmac
import os
import re
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?")
_KNOWN_ENDS = {"hmac", "storage", "storage.pub"}
_KNOWN_PAIRS = {"storage_sym", "zone_sym", "log_key"}
_POISON = {"poison_key", "poison_key.pub", "poison_key_sym"}


def seal(master: bytes, plaintext: bytes, context: bytes) -> bytes:
    """A Secure Cell Seal blob."""
    iv = os.urandom(12)
    body = AESGCM(_message_key(master, len(plaintext), context)).encrypt(iv, plaintext, context)
    header = struct.pack("<4I", 0x40010100, 12, 16, len(plaintext))
    return header + iv + body[len(plaintext) :] + body[: len(plaintext)]


def unseal(master: bytes, blob: bytes, context: bytes) -> bytes:
    """What a blob holds; InvalidTag or ValueError if it does not open."""
    algorithm, iv_size, tag_size, size = struct.unpack_from("<4I", blob)
    if (algorithm, iv_size, tag_size, len(blob)) != (0x40010100, 12, 16, 44 + size):
        raise ValueError(f"no blob as Acra writes it: {len(blob)} bytes")
    key = _message_key(master, size, context)
    return AESGCM(key).decrypt(blob[16:28], blob[44:] + blob[28:44], context)


def public_container_fits(private: bytes, public: bytes) -> bool:
    """Whether the public container holds the point of the private container's scalar."""
    key = ec.derive_private_key(int.from_bytes(private[12:], "big"), ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return public[:4] == b"UEC2" and public[12:] == point


def write_key_file(path: Path, content: bytes, mode: int) -> None:
    """Rotate one file with Acra's system calls: temporary beside it, hard link to history, rename."""
    temporary = path.with_name(path.name + str(int.from_bytes(os.urandom(4), "big")))
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, mode)
    os.write(fd, content)
    os.close(fd)
    if path.exists():
        history = path.with_name(path.name + ".old")
        history.mkdir(0o700, exist_ok=True)
        os.link(path, history / _now())
    temporary.rename(path)


def write_pair(root: Path, client: str, sealed_private: bytes, public: bytes) -> None:
    """Rotate a storage key pair: private first, then public."""
    write_key_file(root / f"{client}_storage", sealed_private, 0o600)
    write_key_file(root / f"{client}_storage.pub", public, 0o644)


def all_versions(path: Path) -> list[bytes]:
    """What Acra reads as all versions of one file, the newest first; FileNotFoundError without a current."""
    history = path.with_name(path.name + ".old")
    old = sorted(history.iterdir(), reverse=True) if history.is_dir() else []
    return [path.read_bytes(), *(file.read_bytes() for file in old if file.is_file())]


def refused_by_lister(root: Path) -> list[str]:
    """The names that make `acra-keys list`, and with it a server's start, fail."""
    refused = []
    for path in sorted(root.iterdir()):
        if path.name == ".poison_key" and path.is_dir():
            refused += [str(p) for p in path.iterdir() if not _is_skipped(p.name) and p.name not in _POISON]
        elif not _is_skipped(path.name) and not _is_known(path.name):
            refused.append(str(path))
    for history in root.rglob("*.old"):
        refused += [str(path) for path in history.iterdir() if not _STAMP.fullmatch(path.name)]
    return refused


def _is_skipped(name: str) -> bool:
    return name.endswith("old") or "_" not in name


def _is_known(name: str) -> bool:
    parts = name.split("_")
    return parts[-1] in _KNOWN_ENDS or "_".join(parts[-2:]) in _KNOWN_PAIRS or name in _POISON


def _message_key(master: bytes, size: int, context: bytes) -> bytes:
    prefix = b"\0\0\0\1Themis secure cell message key\0"
    return hmac.digest(master, prefix + struct.pack("<I", size) + context, hashlib.sha256)


def _now() -> str:
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09d}".rstrip("0")
    return f"{whole}.{digits}" if digits else whole
