"""The Secure Cell format in pure bytes: what a blob looks like, which blobs are refused, how long they are.

Themis Secure Cell, Seal mode. All integers are little-endian. Symmetric-key mode, the only one Acra uses:

    offset  size  field               written
    0       4     algorithm id        0x40010100: AES-256-GCM, no passphrase derivation
    4       4     IV size             12
    8       4     tag size            16
    12      4     message size        length of the plaintext
    16      12    IV                  random
    28      16    tag                 before the ciphertext, unlike in most AES-GCM containers
    44      n     ciphertext          as long as the plaintext

Passphrase mode has a fifth size word (the derivation data's) and that data itself between tag and ciphertext:
iteration count (4), salt size (2), salt.

Which blobs are read follows Themis exactly: AES-128 and AES-192 too, longer IV and tag fields (the surplus
is skipped), and *bytes between tag and ciphertext that nobody reads*. The last leaves a blob's length, never
its content, open to change by others. It is accepted on purpose: a verdict that depends on which engine
happens to be installed would be worse.
"""

import struct
from typing import Final, NamedTuple

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, UnsealFailed

IV_SIZE: Final = 12
TAG_SIZE: Final = 16
SALT_SIZE: Final = 16

SEAL_OVERHEAD: Final = 44
"""What sealing in symmetric-key mode adds to the plaintext, in bytes."""

PASSPHRASE_OVERHEAD: Final = 70
"""What sealing in passphrase mode adds to the plaintext, in bytes."""

MAX_PLAINTEXT_SIZE: Final = 2**31 - 1 - PASSPHRASE_OVERHEAD
"""The longest plaintext, in bytes. The format allows 2**32-1; the engines count in signed 32 bits."""

ITERATIONS: Final = 314110
"""PBKDF2 rounds that Themis writes."""

MAX_ITERATIONS: Final = 10_000_000
"""PBKDF2 rounds that are still computed: the count comes from the blob, and 2**32-1 would take an hour."""

REFUSAL: Final = "the blob does not open: wrong key, wrong context or damage"
"""The one message of `UnsealFailed`. Telling the reasons apart would make every reader an oracle."""

_AES_256_GCM: Final = 0x40010100
_AES_256_GCM_PBKDF2: Final = 0x41010100

# Algorithm ids that are read, with the AES key size in bytes.
_KEY_MODE: Final = {_AES_256_GCM: 32, 0x400100C0: 24, 0x40010080: 16}
_PASSPHRASE_MODE: Final = {_AES_256_GCM_PBKDF2: 32, 0x410100C0: 24, 0x41010080: 16}

_KEY_HEADER: Final = struct.Struct("<4I")
_PASSPHRASE_HEADER: Final = struct.Struct("<5I")
_DERIVATION: Final = struct.Struct("<IH")
_WORD: Final = struct.Struct("<I")

# Counter, label and delimiter of Themis's key derivation.
_KDF_PREFIX: Final = b"\x00\x00\x00\x01Themis secure cell message key\x00"


class Cell(NamedTuple):
    """A blob that is well formed, taken apart; whether it opens is not known yet."""

    key_size: int  # of the AES key, in bytes
    iv: bytes
    body: bytes  # ciphertext, then tag: the order in which AES-GCM libraries take them

    @property
    def plaintext_size(self) -> int:
        """Length of the plaintext in bytes; at least 1."""
        return len(self.body) - TAG_SIZE


class Stretching(NamedTuple):
    """How a passphrase becomes a key: the PBKDF2-HMAC-SHA-256 parameters a blob carries."""

    iterations: int
    salt: bytes


def parse_key_cell(blob: bytes) -> Cell:
    """The parts of a blob of Secure Cell Seal, symmetric-key mode.

    Args:
        blob: any bytes at all; a well-formed blob has 45 or more.

    Raises:
        UnsealFailed: Themis would not read this header either, or the plaintext exceeds `MAX_PLAINTEXT_SIZE`.
    """
    if len(blob) < _KEY_HEADER.size:
        raise UnsealFailed(REFUSAL)
    algorithm, iv_size, tag_size, size = _KEY_HEADER.unpack_from(blob)
    key_size = _KEY_MODE.get(algorithm)
    tag_at = _KEY_HEADER.size + iv_size
    _check_sizes(iv_size, tag_size, size)
    if key_size is None or tag_at + tag_size > len(blob) - size:
        raise UnsealFailed(REFUSAL)
    return _cell(blob, key_size, _KEY_HEADER.size, tag_at, size)


def parse_passphrase_cell(blob: bytes) -> tuple[Cell, Stretching]:
    """The parts of a blob of Secure Cell Seal, passphrase mode.

    Args:
        blob: any bytes at all; a well-formed blob has 56 or more.

    Raises:
        UnsealFailed: Themis would not read this header either, the plaintext exceeds `MAX_PLAINTEXT_SIZE`, or
            the blob asks for more than `MAX_ITERATIONS` rounds.
    """
    if len(blob) < _PASSPHRASE_HEADER.size:
        raise UnsealFailed(REFUSAL)
    algorithm, iv_size, tag_size, size, derivation_size = _PASSPHRASE_HEADER.unpack_from(blob)
    key_size = _PASSPHRASE_MODE.get(algorithm)
    tag_at = _PASSPHRASE_HEADER.size + iv_size
    _check_sizes(iv_size, tag_size, size)
    if key_size is None or tag_at + tag_size + derivation_size > len(blob) - size:
        raise UnsealFailed(REFUSAL)
    stretching = _parse_stretching(blob, tag_at + tag_size, derivation_size)
    return _cell(blob, key_size, _PASSPHRASE_HEADER.size, tag_at, size), stretching


def format_key_cell(iv: bytes, body: bytes) -> bytes:
    """The blob of symmetric-key mode around what AES-256-GCM gave.

    Args:
        iv: 12 bytes.
        body: ciphertext, then the 16-byte tag.
    """
    size = len(body) - TAG_SIZE
    header = _KEY_HEADER.pack(_AES_256_GCM, IV_SIZE, TAG_SIZE, size)
    return b"".join((header, iv, body[size:], body[:size]))


def format_passphrase_cell(iv: bytes, body: bytes, stretching: Stretching) -> bytes:
    """The blob of passphrase mode around what AES-256-GCM gave.

    Args:
        iv: 12 bytes.
        body: ciphertext, then the 16-byte tag.
        stretching: how the key was made from the passphrase.
    """
    size = len(body) - TAG_SIZE
    derivation = _DERIVATION.pack(stretching.iterations, len(stretching.salt)) + stretching.salt
    header = _PASSPHRASE_HEADER.pack(_AES_256_GCM_PBKDF2, IV_SIZE, TAG_SIZE, size, len(derivation))
    return b"".join((header, iv, body[size:], derivation, body[:size]))


def kdf_input(plaintext_size: int, context: bytes) -> bytes:
    """What HMAC-SHA-256 under the master key turns into the key of one message.

    Counter, label, zero byte, plaintext size as four bytes, context. The digest is cut to the AES key size.
    """
    return _KDF_PREFIX + _WORD.pack(plaintext_size) + context


def check_plaintext(plaintext: Secret) -> None:
    """Refuse what cannot be sealed.

    Raises:
        InvalidMaterial: *plaintext* is empty or longer than `MAX_PLAINTEXT_SIZE`.
    """
    if not 0 < len(plaintext) <= MAX_PLAINTEXT_SIZE:
        raise InvalidMaterial("a key must have at least 1 byte and less than 2 GiB to be sealed")


def plaintext_size(sealed_size: int) -> int:
    """How long the plaintext of a blob of *sealed_size* bytes is, found without a key.

    True for every blob Themis or keyfs wrote in symmetric-key mode; 0 for anything too short to be one.
    """
    return max(0, sealed_size - SEAL_OVERHEAD)


def sealed_size(plaintext_size: int) -> int:
    """How long the symmetric-key mode blob of *plaintext_size* bytes will be."""
    return plaintext_size + SEAL_OVERHEAD


def _check_sizes(iv_size: int, tag_size: int, size: int) -> None:
    if iv_size < IV_SIZE or tag_size < TAG_SIZE or not 0 < size <= MAX_PLAINTEXT_SIZE:
        raise UnsealFailed(REFUSAL)


def _cell(blob: bytes, key_size: int, iv_at: int, tag_at: int, size: int) -> Cell:
    # The ciphertext is taken from the end: whatever stands between it and the tag is skipped, as Themis does.
    body = blob[len(blob) - size :] + blob[tag_at : tag_at + TAG_SIZE]
    return Cell(key_size, blob[iv_at : iv_at + IV_SIZE], body)


def _parse_stretching(blob: bytes, at: int, size: int) -> Stretching:
    if size < _DERIVATION.size:
        raise UnsealFailed(REFUSAL)
    iterations, salt_size = _DERIVATION.unpack_from(blob, at)
    if not 0 < iterations <= MAX_ITERATIONS or salt_size > size - _DERIVATION.size:
        raise UnsealFailed(REFUSAL)
    salt_at = at + _DERIVATION.size
    return Stretching(iterations, blob[salt_at : salt_at + salt_size])
