"""The sealer that needs no libthemis: Secure Cell Seal on `cryptography` and the standard library."""

import hashlib
import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyfs.core.secret import Secret
from keyfs.custody import held
from keyfs.errors import InvalidMaterial, UnsealFailed
from keyfs.seal.cell import (
    ITERATIONS,
    IV_SIZE,
    REFUSAL,
    SALT_SIZE,
    Cell,
    Stretching,
    check_plaintext,
    format_key_cell,
    format_passphrase_cell,
    kdf_input,
    parse_key_cell,
    parse_passphrase_cell,
)

ENGINE: Final = "pure"


class PureSealer:
    """Secure Cell Seal, symmetric-key mode, always writing AES-256-GCM.

    It keeps a copy of the key, in memory of its own: wiping the key it was made from does not make it seal
    under zeros.
    """

    def __init__(self, key: Secret) -> None:
        """Make a sealer.

        Args:
            key: 1 byte or more; Acra's master keys have 32. Zero bytes appended, up to 64 in all, do not make
                another key: HMAC pads with zeros.

        Raises:
            InvalidMaterial: *key* is empty.
        """
        if not len(key):
            raise InvalidMaterial("the master key is empty")
        # Not a keyed state, which is cheaper to copy than to make anew: it is as good as the key, and lies in
        # ordinary memory.
        self._key = held(key.view())

    @property
    def engine(self) -> str:
        """The engine's name: "pure"."""
        return ENGINE

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        """The blob, 44 bytes longer, that opens to *plaintext* under the same key and *context*.

        Raises:
            InvalidMaterial: *plaintext* is empty or longer than `MAX_PLAINTEXT_SIZE`.
        """
        check_plaintext(plaintext)
        iv = os.urandom(IV_SIZE)
        key = self._message_key(len(plaintext), context)
        return format_key_cell(iv, AESGCM(key).encrypt(iv, plaintext.view(), context))

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        """What *blob* holds.

        Raises:
            UnsealFailed: wrong key, wrong context or damage; which of them is never said.
        """
        cell = parse_key_cell(blob)
        return _open(cell, self._message_key(cell.plaintext_size, context), context)

    def _message_key(self, size: int, context: bytes) -> bytes:
        # OpenSSL reads the key where it is, and wipes what it makes of it.
        return hmac.digest(self._key.view(), kdf_input(size, context), "sha256")


class PurePassphraseSealer:
    """Secure Cell Seal, passphrase mode, always writing AES-256-GCM, 314110 rounds and 16 bytes of salt.

    Acra does not use this mode. Every call costs a PBKDF2 run, which is the point of it.
    """

    def __init__(self, passphrase: bytes) -> None:
        """Make a sealer.

        Args:
            passphrase: 1 byte or more; Themis encodes text as UTF-8.

        Raises:
            InvalidMaterial: *passphrase* is empty.
        """
        if not passphrase:
            raise InvalidMaterial("the passphrase is empty")
        self._passphrase = Secret(passphrase)

    @property
    def engine(self) -> str:
        """The engine's name: "pure"."""
        return ENGINE

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        """The blob, 70 bytes longer, that opens to *plaintext* under the same passphrase and *context*.

        Raises:
            InvalidMaterial: *plaintext* is empty or longer than `MAX_PLAINTEXT_SIZE`.
        """
        check_plaintext(plaintext)
        iv = os.urandom(IV_SIZE)
        stretching = Stretching(ITERATIONS, os.urandom(SALT_SIZE))
        key = self._message_key(stretching, len(plaintext), context)
        return format_passphrase_cell(iv, AESGCM(key).encrypt(iv, plaintext.view(), context), stretching)

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        """What *blob* holds.

        Raises:
            UnsealFailed: wrong passphrase, wrong context or damage, or the blob asks for more than 10 million
                rounds; which of them is never said.
        """
        cell, stretching = parse_passphrase_cell(blob)
        return _open(cell, self._message_key(stretching, cell.plaintext_size, context), context)

    def _message_key(self, stretching: Stretching, size: int, context: bytes) -> bytes:
        passphrase = self._passphrase.view()
        prekey = hashlib.pbkdf2_hmac("sha256", passphrase, stretching.salt, stretching.iterations)
        return hmac.digest(prekey, kdf_input(size, context), "sha256")


def _open(cell: Cell, message_key: bytes, context: bytes) -> Secret:
    buffer = bytearray(cell.plaintext_size)
    try:
        AESGCM(message_key[: cell.key_size]).decrypt_into(cell.iv, cell.body, context, buffer)
    except InvalidTag as exc:
        buffer[:] = bytes(len(buffer))  # what was decrypted before the tag turned out wrong
        raise UnsealFailed(REFUSAL) from exc
    return Secret.adopt(buffer)
