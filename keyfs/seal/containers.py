"""Themis key containers: the bytes a private or a public key file holds once its seal is off.

    offset  size  field
    0       4     tag: `REC2` private, `UEC2` public, both on the curve P-256
    4       4     size of the whole container, big-endian
    8       4     CRC-32C of the whole container with these four bytes zero, little-endian
    12      ...   payload

The private payload is a zero octet and the 32-byte big-endian scalar: 45 bytes in all; 44 without the zero
octet are read too. The public payload is a SEC1 point: 33 bytes compressed, 45 in all, or 65 uncompressed, 77
in all.

keyfs asks for more than Themis, which checks tag, size and checksum only: the scalar must be in range and the
point on the curve. A key that fails this could only fail later. RSA, P-384 and P-521 keys have Themis
containers too, but are never keys of an Acra key store.
"""

import struct
from typing import Final

from keyfs.errors import MaterialCorrupt

CONTAINER_SIZE: Final = 45
"""Length in bytes of every container that keyfs and Acra write."""

CURVE_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of P-256's base point; a private scalar lies between 1 and n-1 (SEC 2, 2.4.2)."""

_CURVE_PRIME: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_CURVE_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

_PRIVATE: Final = b"REC2"
_PUBLIC: Final = b"UEC2"
_FOREIGN: Final = {
    b"REC3": "a P-384 private key",
    b"UEC3": "a P-384 public key",
    b"REC5": "a P-521 private key",
    b"UEC5": "a P-521 public key",
    b"RRA": "an RSA private key",
    b"URA": "an RSA public key",
}

_HEADER: Final = struct.Struct(">4sI4s")
_SCALAR_SIZE: Final = 32
_COMPRESSED_SIZE: Final = 33
_UNCOMPRESSED_SIZE: Final = 65


def parse_private(data: bytes | memoryview) -> int:
    """The scalar of a private key container, between 1 and n-1.

    Args:
        data: 45 bytes, or 44 without the zero octet.

    Raises:
        MaterialCorrupt: not an intact Themis container of a P-256 private key.
    """
    payload = _payload(data, _PRIVATE, "private")
    if len(payload) not in (_SCALAR_SIZE, _SCALAR_SIZE + 1):
        raise MaterialCorrupt("a Themis private key of the wrong length")
    scalar = int.from_bytes(payload, "big")
    if not 0 < scalar < CURVE_ORDER:
        raise MaterialCorrupt("a Themis private key whose scalar is out of range")
    return scalar


def parse_public(data: bytes | memoryview) -> bytes:
    """The SEC1 point of a public key container: 33 bytes compressed or 65 uncompressed, as it stands there.

    Args:
        data: 45 or 77 bytes.

    Raises:
        MaterialCorrupt: not an intact Themis container of a P-256 public key.
    """
    point = _payload(data, _PUBLIC, "public")
    if not _is_on_curve(point):
        raise MaterialCorrupt("a Themis public key that is no point of P-256")
    return point


def check_private(data: bytes | memoryview) -> None:
    """Refuse what is not a private key that Acra could use.

    Raises:
        MaterialCorrupt: see `parse_private`.
    """
    parse_private(data)


def check_public(data: bytes | memoryview) -> None:
    """Refuse what is not a public key that Acra could use.

    Raises:
        MaterialCorrupt: see `parse_public`.
    """
    parse_public(data)


def encode_private(scalar: int) -> bytearray:
    """The 45-byte container of a private key, in a buffer that `Secret.adopt` can take over.

    Raises:
        MaterialCorrupt: *scalar* is not between 1 and n-1.
    """
    if not 0 < scalar < CURVE_ORDER:
        raise MaterialCorrupt("a private scalar out of range")
    return _encode(_PRIVATE, scalar.to_bytes(_SCALAR_SIZE + 1, "big"))


def encode_public(point: bytes) -> bytes:
    """The container of a public key: 45 bytes for a compressed *point*, 77 for an uncompressed one.

    Args:
        point: SEC1 form, 33 or 65 bytes.

    Raises:
        MaterialCorrupt: *point* is no point of P-256.
    """
    if not _is_on_curve(point):
        raise MaterialCorrupt("no point of P-256")
    return bytes(_encode(_PUBLIC, point))


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The CRC-32C (Castagnoli: reflected, all ones in and out) of *data*."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _payload(data: bytes | memoryview, tag: bytes, half: str) -> bytes:
    if len(data) < _HEADER.size:
        raise MaterialCorrupt("too short to be a Themis key")
    found, size, checksum = _HEADER.unpack_from(data)
    if found != tag:
        raise MaterialCorrupt(f"not a Themis P-256 {half} key but {_describe_tag(found)}")
    if size != len(data):
        raise MaterialCorrupt(f"a Themis {half} key cut short or with bytes appended")
    payload = bytes(data[_HEADER.size :])
    if checksum != _checksum(tag, payload):
        raise MaterialCorrupt(f"a Themis {half} key with a wrong checksum")
    return payload


def _describe_tag(tag: bytes) -> str:
    # Only known tags are named: an unknown one may be key bytes that lie where a container was expected.
    if tag == _PRIVATE:
        return "a private key"
    if tag == _PUBLIC:
        return "a public key"
    return _FOREIGN.get(tag) or _FOREIGN.get(tag[:3]) or "something else"


def _encode(tag: bytes, payload: bytes) -> bytearray:
    size = _HEADER.size + len(payload)
    return bytearray(_HEADER.pack(tag, size, _checksum(tag, payload)) + payload)


def _checksum(tag: bytes, payload: bytes) -> bytes:
    blank = _HEADER.pack(tag, _HEADER.size + len(payload), bytes(4))
    return crc32c(blank + payload).to_bytes(4, "little")


def _is_on_curve(point: bytes) -> bool:
    x = int.from_bytes(point[1 : 1 + _SCALAR_SIZE], "big")
    y_squared = (x**3 - 3 * x + _CURVE_B) % _CURVE_PRIME
    if x >= _CURVE_PRIME:
        return False
    if len(point) == _COMPRESSED_SIZE and point[0] in (2, 3):
        # Euler's criterion: such an x belongs to a point exactly if the curve's right side is a square.
        return pow(y_squared, (_CURVE_PRIME - 1) // 2, _CURVE_PRIME) == 1
    if len(point) == _UNCOMPRESSED_SIZE and point[0] == 4:  # noqa: PLR2004 - SEC1's mark of this form
        y = int.from_bytes(point[1 + _SCALAR_SIZE :], "big")
        return y < _CURVE_PRIME and y * y % _CURVE_PRIME == y_squared
    return False


def _build_crc_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _build_crc_table()
