"""The seal around a backup bundle: which format a file has, and what is inside.

A bundle of keyfs is one line of text that says what it is, then a Secure Cell with that line as associated
data: under 32 random bytes that lie in a file of their own, or under a passphrase (Secure Cell's passphrase
mode: PBKDF2-HMAC-SHA-256, 314110 rounds). Acra's v1 bundle is a Secure Cell without associated data, under 32
bytes. Its v2 bundle is a DER structure.
"""

import base64
import binascii
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Final

from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, LayoutUnsupported, MaterialCorrupt, UnsealFailed
from keyfs.seal.exports import new_secret, open_export, seal_export
from keyfs.seal.registry import open_passphrase_sealer, open_sealer

KEY_SIZE: Final = 32
_UNDER_KEY: Final = b"keyfs bundle 1 under a key\n"
_UNDER_PASSPHRASE: Final = b"keyfs bundle 1 under a passphrase\n"
_LATER: Final = b"keyfs bundle "
_CELL: Final = b"\x00\x01\x01\x40"  # how a Secure Cell begins that Acra made
_DER_SEQUENCE: Final = b"\x30"


class Format(Enum):
    """What a bundle is."""

    KEYFS = "keyfs"
    ACRA_V1 = "acra-v1"
    ACRA_V2 = "acra-v2"


@dataclass(frozen=True, slots=True)
class Lock:
    """What opens a bundle: the content of its key file, or a passphrase."""

    material: Secret
    is_passphrase: bool = False


def new_key(form: Format) -> Secret:
    """The content of the key file of a new bundle of this format."""
    return new_secret() if form is Format.ACRA_V2 else Secret(secrets.token_bytes(KEY_SIZE))


def recognise(data: bytes) -> Format:
    """Which format a file has, told from its first bytes.

    Raises:
        LayoutUnsupported: that of a later keyfs.
        MaterialCorrupt: none that is known; or what acra-backup leaves instead of a backup.
    """
    if data.startswith((_UNDER_KEY, _UNDER_PASSPHRASE)):
        return Format.KEYFS
    if data.startswith(_LATER):
        raise LayoutUnsupported("it is a bundle of a later keyfs: use that to read it")
    if not data:
        raise MaterialCorrupt("it is empty, and no backup")
    if not data.strip(b"\0"):
        raise MaterialCorrupt(
            f"it holds {len(data)} zero bytes and no backup: acra-backup wipes what it should write and "
            f"writes that; make another one from the key store, with keyfs export"
        )
    if data.startswith(_CELL):
        return Format.ACRA_V1
    if data.startswith(_DER_SEQUENCE):
        return Format.ACRA_V2
    raise MaterialCorrupt("it is no backup bundle, neither one of keyfs nor one of Acra")


def is_under_passphrase(data: bytes) -> bool:
    """Whether a passphrase opens it, and not a key file."""
    return data.startswith(_UNDER_PASSPHRASE)


def seal_bundle(payload: Secret, lock: Lock, form: Format, now_ns: int) -> bytes:
    """The bundle, in the form of keyfs or of Acra, made at this time.

    Raises:
        InvalidSettings: Acra knows no passphrases.
        InvalidMaterial: an empty passphrase.
    """
    if form is not Format.KEYFS:
        if lock.is_passphrase:
            raise InvalidSettings("Acra opens no bundle with a passphrase: leave out --passphrase-from")
        if form is Format.ACRA_V2:
            return seal_export(payload, lock.material, now_ns)
        return open_sealer(lock.material).seal(payload, b"")
    if lock.is_passphrase:
        sealed = open_passphrase_sealer(lock.material).seal(payload, _UNDER_PASSPHRASE)
        return _UNDER_PASSPHRASE + sealed
    return _UNDER_KEY + open_sealer(lock.material).seal(payload, _UNDER_KEY)


def open_bundle(data: bytes, lock: Lock) -> Secret:
    """What is inside a bundle of keyfs or of Acra.

    Raises:
        InvalidSettings: it wants a passphrase and got a key, or the other way; or the key is none.
        UnsealFailed: wrong key, wrong passphrase or damage.
        MaterialCorrupt: as `recognise`.
    """
    form = recognise(data)
    if form is Format.ACRA_V2 and not lock.is_passphrase:
        return open_export(data, lock.material)
    if lock.is_passphrase != is_under_passphrase(data):
        wanted = (
            "under a passphrase: give --passphrase-from"
            if not lock.is_passphrase
            else "under a key: give --key-file"
        )
        raise InvalidSettings(f"the bundle is sealed {wanted}")
    try:
        if lock.is_passphrase:
            head = _UNDER_PASSPHRASE
            return open_passphrase_sealer(lock.material).unseal(data[len(head) :], head)
        with _key(lock.material) as key:
            head = _UNDER_KEY if form is Format.KEYFS else b""
            return open_sealer(key).unseal(data[len(head) :], head)
    except UnsealFailed:
        word = "passphrase" if lock.is_passphrase else "key"
        raise UnsealFailed(
            f"the bundle does not open: it is damaged, or sealed under another {word}"
        ) from None


def _key(content: Secret) -> Secret:
    """The key in a key file: its 32 bytes, or their base64, as acra-backup prints it.

    Raises:
        InvalidSettings: it is neither.
    """
    if len(content) == KEY_SIZE:
        return Secret(content.view())
    try:
        decoded = base64.b64decode(content.reveal().strip(), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != KEY_SIZE:
        raise InvalidSettings(f"the key file of this bundle has {KEY_SIZE} bytes, not {len(content)}")
    return Secret(decoded)
