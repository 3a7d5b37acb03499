"""An independent reader of Acra's key rings (layout v2), on asn1crypto and `cryptography` alone.

It shares no code with keyfs, and checks what the specification says sentence by sentence.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from asn1crypto import core
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK: Final = b"Acra Keystore v2"
ALGORITHM: Final = "2.16.840.1.101.3.4.2.1"


class Data(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields: ClassVar = [
        ("format", core.Integer),
        ("public", core.OctetString, {"implicit": 1, "optional": True}),
        ("private", core.OctetString, {"implicit": 2, "optional": True}),
        ("symmetric", core.OctetString, {"implicit": 3, "optional": True}),
    ]


class DataSet(core.SetOf):  # type: ignore[misc]  # as above
    _child_spec = Data


class Key(core.Sequence):  # type: ignore[misc]  # as above
    _fields: ClassVar = [
        ("seqnum", core.Integer),
        ("state", core.Integer),
        ("since", core.UTCTime),
        ("until", core.UTCTime),
        ("data", DataSet),
    ]


class Keys(core.SequenceOf):  # type: ignore[misc]  # as above
    _child_spec = Key


class RingBody(core.Sequence):  # type: ignore[misc]  # as above
    _fields: ClassVar = [("purpose", core.OctetString), ("keys", Keys), ("current", core.Integer)]


class Payload(core.Sequence):  # type: ignore[misc]  # as above
    _fields: ClassVar = [
        ("type", core.Integer),
        ("version", core.Integer),
        ("modified", core.UTCTime),
        ("data", RingBody),
    ]


class Signature(core.Sequence):  # type: ignore[misc]  # as above
    _fields: ClassVar = [("algorithm", core.ObjectIdentifier), ("signature", core.OctetString)]


class Signatures(core.SetOf):  # type: ignore[misc]  # as above
    _child_spec = Signature


class Container(core.Sequence):  # type: ignore[misc]  # as above
    _fields: ClassVar = [("payload", Payload), ("signatures", Signatures)]


@dataclass(frozen=True)
class ReadKey:
    seqnum: int
    state: int
    since: datetime
    until: datetime
    format: int | None
    public: bytes | None
    plain: bytes | None  # opened


@dataclass(frozen=True)
class ReadRing:
    purpose: bytes
    current: int
    modified: datetime
    keys: tuple[ReadKey, ...]


def read_ring(
    path: str, der: bytes, encryption: bytes, signature: bytes, *, is_zoned: bool = False
) -> ReadRing:
    """The ring, verified and opened. *is_zoned*: its times may have an offset, which is no DER.

    Raises:
        AssertionError, ValueError: it is not as the specification says.
    """
    container = Container.load(der, strict=True)
    assert is_zoned or container.dump(force=True) == der, "DER has one form only"
    payload = container["payload"]
    message = b"AKSv2 keystore: key ring signature: " + path.encode() + b": " + payload.dump()
    digest = hmac.new(signature, message, hashlib.sha256).digest()
    [signed] = container["signatures"]
    assert signed["algorithm"].dotted == ALGORITHM
    assert signed["signature"].native == digest
    assert (payload["type"].native, payload["version"].native) == (1, 2)
    body = payload["data"]
    keys = tuple(_key(path, key, encryption) for key in body["keys"])
    return ReadRing(body["purpose"].native, body["current"].native, payload["modified"].native, keys)


def _key(path: str, key: Any, encryption: bytes) -> ReadKey:
    seqnum, found = key["seqnum"].native, list(key["data"])
    dates = key["since"].native, key["until"].native
    if not found:
        return ReadKey(seqnum, key["state"].native, *dates, None, None, None)
    [data] = found
    private, symmetric = data["private"].native, data["symmetric"].native
    assert (private is None) != (symmetric is None)
    kind = "symmetric" if private is None else "private"
    context = f"AKSv2 keystore: key ring {path}: {kind} key {seqnum}".encode()
    plain = unseal(encryption, symmetric if private is None else private, context)
    public = data["public"].native
    return ReadKey(seqnum, key["state"].native, *dates, data["format"].native, public, plain)


def unseal(key: bytes, blob: bytes, context: bytes) -> bytes:
    """What a Secure Cell holds."""
    algorithm, iv_size, tag_size, size = struct.unpack_from("<4I", blob)
    assert (algorithm, iv_size, tag_size, len(blob)) == (0x40010100, 12, 16, 44 + size)
    label = b"\0\0\0\1Themis secure cell message key\0" + struct.pack("<I", size) + context
    derived = hmac.new(key, label, hashlib.sha256).digest()
    return AESGCM(derived).decrypt(blob[16:28], blob[44:] + blob[28:44], context)
