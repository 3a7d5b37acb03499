"""`awskms:[KEY]?…`: a key in AWS KMS that wraps master keys and stays there.

What is kept is base64 of KMS's ciphertext, as ACRA_MASTER_KEY holds it under Acra's
`kms_encrypted_master_key`. acra-keymaker writes the ciphertext itself to a file; that opens as well.
"""

import binascii
import string
from typing import Final

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, InvalidSettings, MasterKeyUnavailable
from keyfs.master.aws_calls import CIPHERTEXT_MAX, CIPHERTEXT_MIN, PLAINTEXT_MAX, decrypt, encrypt, make
from keyfs.master.aws_client import KMS
from keyfs.master.aws_settings import ALIAS, KEY_SCHEME, parse_key_uri
from keyfs.master.go_decoders import from_base64

_TEXT: Final = frozenset(string.printable.encode())


class AwsKey:
    """A symmetric key, by alias, id or ARN. Safe for threads; its one client is made on first use."""

    def __init__(self, rest: str) -> None:
        self._key, settings = parse_key_uri(rest)
        self._context = settings.context
        self._kms = KMS(settings)
        self._rest = rest

    def wrap(self, material: Secret) -> bytes:
        """See `KeyEncryptionKey.wrap`.

        Raises:
            InvalidMaterial: *material* is empty, or longer than KMS takes.
        """
        if not 0 < len(material) <= PLAINTEXT_MAX:
            raise InvalidMaterial(f"KMS wraps 1 to {PLAINTEXT_MAX} bytes, not {len(material)}")
        blob = encrypt(self._kms, self._key, material, self._context)
        if blob is None:
            raise self._kms.absent(self._key)
        return binascii.b2a_base64(blob, newline=False)

    def unwrap(self, text: bytes) -> Secret:
        """See `KeyEncryptionKey.unwrap`; *text* may be the ciphertext itself, too."""
        blob = _ciphertext(text)
        material = decrypt(self._kms, self._key, blob, self._context)
        if material is None:
            raise MasterKeyUnavailable(
                f"{self._key} in {self._kms.where} does not open the wrapped master key: it is damaged, or "
                f"another key's, or another context's"
            )
        return material

    def create(self) -> str:
        """See `KeyEncryptionKey.create`; only an alias can be made, ids are KMS's to choose."""
        if not self._key.startswith(ALIAS):
            raise InvalidSettings(f"only a key with an alias can be made: name it {KEY_SCHEME}:alias/NAME")
        there = f"{self._key} in {self._kms.where} is there already and was left as it is"
        if self._key in self._kms.aliases():
            return there
        arn = make(self._kms, self._key)
        return there if arn is None else f"made {self._key} in {self._kms.where} ({arn})"

    def describe(self) -> str:
        """The URI, which has no secret in it."""
        return f"{KEY_SCHEME}:{self._rest}"


def _ciphertext(text: bytes) -> bytes:
    """KMS's ciphertext in *text*: base64, or as it is.

    Raises:
        MasterKeyUnavailable: it is neither.
    """
    decoded = from_base64(text)
    if decoded is None and _TEXT.issuperset(text):
        raise MasterKeyUnavailable(
            "the wrapped master key is cut off or damaged: it is base64, with padding, of KMS's ciphertext"
        )
    blob = text if decoded is None else decoded.reveal()
    if not CIPHERTEXT_MIN <= len(blob) <= CIPHERTEXT_MAX:
        raise MasterKeyUnavailable(
            f"the wrapped master key is cut off, or none of KMS's: {len(blob)} bytes are no ciphertext"
        )
    return blob
