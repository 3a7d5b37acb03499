"""A second reader of Acra key stores v1, from the description of the format. Shares no code with keyfs.

It is stricter than Acra. What Acra passes over with a warning it collects in `Contents.ignored`; what Acra
refuses, or never writes, it refuses.
"""

import base64
import binascii
import hashlib
import hmac
import re
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?", re.ASCII)
CLIENT_ID = re.compile(r"[A-Za-z0-9_\- ]{5,256}", re.ASCII)
SUFFIXES = {
    "_storage_sym": "storage-sym",
    "_storage.pub": "storage",
    "_storage": "storage",
    "_hmac": "hmac-sym",
}
FIXED = {
    "secure_log_key": "audit-log",
    ".poison_key/poison_key": "poison-record",
    ".poison_key/poison_key.pub": "poison-record",
    ".poison_key/poison_key_sym": "poison-record-sym",
}
# What Acra's own lister knows by the end of a name, besides the names above.
LISTED_ENDS = re.compile(r"_(zone[^_]*|zone_sym|server[^_]*|translator[^_]*|log_key)\Z")


class StoreRefused(Exception):
    """Acra would refuse it, or would never have written it."""


@dataclass(frozen=True)
class Found:
    """One half of one version. *stamp* is None while the version is current."""

    purpose: str
    client: str | None
    half: str  # "private" (symmetric keys too) or "public"
    stamp: str | None
    plaintext: bytes = field(repr=False)
    path: Path

    @property
    def kind(self) -> str:
        return "current" if self.stamp is None else "retired"


@dataclass(frozen=True)
class Contents:
    """Everything in a key store, and the files that Acra would pass over with a warning."""

    keys: tuple[Found, ...]
    ignored: tuple[Path, ...]

    def by_label(self) -> dict[tuple[str, str | None, str, str], bytes]:
        """Plaintext by purpose, client, half and label; both halves have the private half's label."""
        labels: dict[tuple[str, str | None, str, str], bytes] = {}
        for ring in _rings(self.keys):
            private = [key.stamp for key in ring if key.half == "private"]
            for half in ("private", "public"):
                for rank, key in enumerate(k for k in ring if k.half == half):
                    labels[key.purpose, key.client, half, private[rank] or "current"] = key.plaintext
        return labels


def read_store(private: Path, public: Path | None, master_key: bytes) -> Contents:
    """Everything in the key store.

    Raises:
        StoreRefused: something is not as Acra writes it.
    """
    if _mode(private) != 0o700:
        raise StoreRefused(f"{private} has mode {_mode(private):o}")
    keys: list[Found] = []
    ignored: list[Path] = []
    for root in dict.fromkeys((private, public or private)):
        for name, path in _files(root):
            if public is not None and (".pub" in name) != (root == public):
                raise StoreRefused(f"{path}: in the wrong directory")
            key = _key_of(name.partition(".old/")[0])
            if key is None:
                ignored.append(path)
                continue
            wanted = 0o644 if key[2] == "public" else 0o600
            if _mode(path) != wanted:
                raise StoreRefused(f"{path} has mode {_mode(path):o}")
            keys.append(_found(key, name, path, path.read_bytes(), master_key))
    return _contents(keys, ignored)


def read_redis(dump: Mapping[str, str], prefix: str, master_key: bytes) -> Contents:
    """Everything in a key store in Redis, from all plain strings of the database by name.

    Raises:
        StoreRefused: something is not as Acra writes it.
    """
    keys: list[Found] = []
    ignored: list[Path] = []
    for redis_key, value in dump.items():
        name = redis_key.removeprefix(f"{prefix}/")
        if name == redis_key:
            continue
        _check_redis_name(name)
        key = _key_of(name.partition(".old/")[0])
        if key is None:
            ignored.append(Path(redis_key))
        else:
            keys.append(_found(key, name, Path(redis_key), _from_base64(redis_key, value), master_key))
    return _contents(keys, ignored)


def _contents(keys: list[Found], ignored: list[Path]) -> Contents:
    keys.sort(key=lambda key: (key.purpose, key.client or "", key.half, key.stamp is None, key.stamp or ""))
    for ring in _rings(keys):
        _check_pairs(ring)
    return Contents(tuple(keys), tuple(ignored))


def unseal(blob: bytes, master_key: bytes, context: bytes) -> bytes:
    """Secure Cell, seal mode, symmetric key, in the one form that Acra writes."""
    size = len(blob) - 44
    if size < 1 or blob[:16] != struct.pack("<IIII", 0x40010100, 12, 16, size):
        raise StoreRefused("not a Secure Cell of the form that Acra writes")
    label = b"Themis secure cell message key"
    derivation = b"\0\0\0\1" + label + b"\0" + struct.pack("<I", size) + context
    key = hmac.digest(master_key, derivation, hashlib.sha256)
    iv, tag, ciphertext = blob[16:28], blob[28:44], blob[44:]
    try:
        return AESGCM(key).decrypt(iv, ciphertext + tag, context)
    except InvalidTag as exc:
        raise StoreRefused("does not open") from exc


def container_payload(container: bytes, tag: bytes) -> bytes:
    """The payload of a Themis key container whose tag, size and checksum are right."""
    if len(container) != 45 or container[:4] != tag or container[4:8] != struct.pack(">I", 45):
        raise StoreRefused(f"not a {tag.decode()} container of 45 bytes")
    if container[8:12] != struct.pack("<I", crc32c(container[:8] + bytes(4) + container[12:])):
        raise StoreRefused("wrong checksum in a container")
    return container[12:]


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def public_of(private_container: bytes) -> bytes:
    """The public container that belongs to a private one."""
    payload = container_payload(private_container, b"REC2")
    if payload[0] != 0:
        raise StoreRefused("the first payload octet of a private key is not zero")
    key = ec.derive_private_key(int.from_bytes(payload[1:], "big"), ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = b"UEC2" + struct.pack(">I", 45)
    return head + struct.pack("<I", crc32c(head + bytes(4) + point)) + point


def check_listed(name: str) -> bool:
    """Whether Acra's lister takes this top-level name for a key; False where it only warns.

    Raises:
        StoreRefused: it aborts ("key purpose not recognized").
    """
    if "_" not in name:
        return False
    if name in FIXED or name.endswith(tuple(SUFFIXES)) or LISTED_ENDS.search(name):
        return True
    raise StoreRefused(f"Acra's lister does not recognise {name!r}")


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file by its relative name; directories are checked on the way."""
    folders = [root, *(path for path in root.glob(".poison_key") if path.is_dir())]
    for folder in folders:
        for path in sorted(folder.iterdir()):
            name = str(path.relative_to(root))
            if path.is_symlink():
                raise StoreRefused(f"{path} is a symbolic link")
            if path.is_dir():
                yield from _files_of_directory(root, path, name)
            elif name.endswith("old"):
                raise StoreRefused(f"{path} is no directory")
            else:
                yield name, path


def _files_of_directory(root: Path, path: Path, name: str) -> Iterator[tuple[str, Path]]:
    if path != root and _mode(path) != 0o700:
        raise StoreRefused(f"{path} has mode {_mode(path):o}")
    if name == ".poison_key":
        return
    if not name.endswith(".old"):
        raise StoreRefused(f"{path} is a directory that no key has")
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            raise StoreRefused(f"{entry} is no regular file")
        if not STAMP.fullmatch(entry.name):
            raise StoreRefused(f"{entry} is no rotation stamp")
        yield f"{name}/{entry.name}", entry


def _check_redis_name(name: str) -> None:
    """As far as a name with slashes would be checked on a file system."""
    current, slash, stamp = name.partition(".old/")
    if "/" in current.removeprefix(".poison_key/"):
        raise StoreRefused(f"{name} is in a directory that no key has")
    if slash and not STAMP.fullmatch(stamp):
        raise StoreRefused(f"{stamp!r} is no rotation stamp")
    if not slash and name.endswith("old"):
        raise StoreRefused(f"{name} is no directory")


def _from_base64(redis_key: str, value: str) -> bytes:
    """What a value holds, if it is in the one form that Acra writes."""
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error as exc:
        raise StoreRefused(f"{redis_key} holds no base64") from exc
    if base64.b64encode(data).decode() != value:
        raise StoreRefused(f"{redis_key} holds base64 of another form")
    return data


def _found(key: tuple[str, str | None, str], name: str, path: Path, data: bytes, master_key: bytes) -> Found:
    purpose, client, half = key
    current, slash, stamp = name.partition(".old/")
    plaintext = data if half == "public" else unseal(data, master_key, (client or current).encode())
    _check_material(purpose, half, plaintext)
    return Found(purpose, client, half, stamp if slash else None, plaintext, path)


def _key_of(name: str) -> tuple[str, str | None, str] | None:
    half = "public" if name.endswith(".pub") else "private"
    if name in FIXED:
        return FIXED[name], None, half
    if not check_listed(name):
        return None
    for suffix, purpose in SUFFIXES.items():
        client = name.removesuffix(suffix)
        if client != name:
            if not CLIENT_ID.fullmatch(client):
                raise StoreRefused(f"{client!r} is no client id")
            return purpose, client, half
    return None


def _check_material(purpose: str, half: str, plaintext: bytes) -> None:
    if purpose in ("storage", "poison-record"):
        container_payload(plaintext, b"UEC2" if half == "public" else b"REC2")
    elif len(plaintext) != 32:
        raise StoreRefused(f"a {purpose} key of {len(plaintext)} bytes")


def _rings(keys: list[Found] | tuple[Found, ...]) -> Iterator[list[Found]]:
    rings: dict[tuple[str, str | None], list[Found]] = {}
    for key in keys:
        rings.setdefault((key.purpose, key.client), []).append(key)
    yield from rings.values()


def _check_pairs(ring: list[Found]) -> None:
    private = [key for key in ring if key.half == "private"]
    public = [key for key in ring if key.half == "public"]
    if ring[0].purpose not in ("storage", "poison-record"):
        return
    if [key.kind for key in private] != [key.kind for key in public]:
        raise StoreRefused(f"{len(private)} private and {len(public)} public halves at {ring[0].path}")
    for one, other in zip(private, public, strict=True):
        if public_of(one.plaintext) != other.plaintext:
            raise StoreRefused(f"{other.path} is not the public half of {one.path}")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)
