"""`awskms-per-client:?…`: every client's keys under a KMS key of the client's own (Acra's `kms_per_client`).

A blob is KMS's ciphertext, without encryption context, as Acra sends none: a blob of one kind opens as
another kind of the same client. Structurally a `keyfs.seal.protection.Protection`.
"""

import threading
from typing import Final

from keyfs.core.label import Label
from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, OperationRefused, UnsealFailed
from keyfs.master.aws_calls import CIPHERTEXT_MAX, CIPHERTEXT_MIN, PLAINTEXT_MAX, decrypt, encrypt, make
from keyfs.master.aws_client import KMS
from keyfs.master.aws_settings import ALIAS_SIZE_MAX, PER_CLIENT_SCHEME, alias_of, parse_per_client_uri


class AwsPerClient:
    """Seals with `alias/NAME`, NAME the label's `key_name`. Safe for threads; all share one client."""

    engine: Final = "awskms"
    is_local: Final = False

    def __init__(self, rest: str) -> None:
        settings, self.cache, self._may_create = parse_per_client_uri(rest)
        self._context = settings.context
        self._kms = KMS(settings)
        self._rest = rest
        self._making = threading.Lock()

    def seal(self, plaintext: Secret, label: Label) -> bytes:
        """See `Protection.seal`. With `create=yes` a missing key is made.

        Raises:
            InvalidMaterial: *plaintext* is empty or longer than KMS takes.
            OperationRefused: the label has no key in KMS, or none that AWS could have.
            MasterKeyUnavailable, KeyServiceUnavailable: KMS refuses, or does not answer now.
            InvalidSettings, InsecurePermissions: the way to KMS turns out to be wrong.
        """
        alias = _alias(label)
        if not 0 < len(plaintext) <= PLAINTEXT_MAX:
            raise InvalidMaterial(
                f"a key that KMS seals has 1 to {PLAINTEXT_MAX} bytes, not {len(plaintext)}"
            )
        blob = encrypt(self._kms, alias, plaintext, self._context)
        if blob is None and self._may_create:
            blob = self._make_and_seal(alias, plaintext)
        if blob is None:
            raise self._kms.absent(alias)
        return blob

    def unseal(self, blob: bytes, label: Label) -> Secret:
        """See `Protection.unseal`.

        Raises:
            UnsealFailed: KMS does not open it with this key; or it is nothing that KMS could have sealed.
            OperationRefused, MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings,
                InsecurePermissions: as `seal`.
        """
        alias = _alias(label)
        material = None
        if CIPHERTEXT_MIN <= len(blob) <= CIPHERTEXT_MAX:
            material = decrypt(self._kms, alias, blob, self._context)
        if material is None:
            raise UnsealFailed(f"the blob does not open with {alias}: wrong key, wrong context or damage")
        return material

    def renew(self) -> None:
        """Read settings, credentials and profiles again. KMS itself is not asked.

        Raises:
            InvalidSettings, InsecurePermissions, MasterKeyUnavailable, KeyServiceUnavailable: what is there
                does not do, or the service that gives out a role does not answer.
        """
        self._kms.forget()
        self._kms.ask("any key", lambda _client: {})

    def describe(self) -> str:
        """The URI, which has no secret in it."""
        return f"{PER_CLIENT_SCHEME}:{self._rest}"

    def _make_and_seal(self, alias: str, plaintext: Secret) -> bytes | None:
        with self._making:  # else each thread would make a key
            blob = encrypt(self._kms, alias, plaintext, self._context)
            if blob is not None:
                return blob
            arn = make(self._kms, alias)
        # A new alias takes some seconds to be known everywhere; the key behind it is meant in any case.
        return encrypt(self._kms, arn or alias, plaintext, self._context)


def _alias(label: Label) -> str:
    """The KeyId of the key for *label*.

    Raises:
        OperationRefused: there is none, or none that AWS could have.
    """
    if not label.key_name:
        raise OperationRefused(
            "a key of this kind has no key in a KMS: Acra keeps none with kms_per_client; "
            "only a master key that comes first in --master-key can seal it"
        )
    alias = alias_of(label.key_name)
    if alias is None:
        raise OperationRefused(
            f"no key in AWS KMS can be called {label.key_name!r}: an alias has letters, digits, '_', '-' and "
            f"'/', {ALIAS_SIZE_MAX} at most; use another client id"
        )
    return alias
