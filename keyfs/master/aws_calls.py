"""What keyfs asks of a key in AWS KMS: encrypt, decrypt, make. Follows the public API reference of KMS."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import held, wipe_immutable
from keyfs.errors import KeyfsError
from keyfs.master.aws_client import KMS
from keyfs.master.aws_errors import ABSENT, EXISTS, UNOPENED
from keyfs.master.aws_settings import ALIAS

PLAINTEXT_MAX: Final = 4096
CIPHERTEXT_MAX: Final = 6144
CIPHERTEXT_MIN: Final = 29  # nonce and tag of AES-GCM, one byte; AWS's own are some 150 bytes
DELETION_DAYS: Final = 7  # the least that AWS takes


def encrypt(kms: KMS, key: str, material: Secret, context: Mapping[str, str]) -> bytes | None:
    """The ciphertext of *material*; None if there is no such key.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings, InsecurePermissions: as `KMS.ask`.
    """
    plaintext = bytearray(material.view())
    try:
        answer = kms.ask(
            key,
            lambda client: client.encrypt(KeyId=key, Plaintext=plaintext, EncryptionContext=dict(context)),
            ABSENT,
        )
    finally:
        plaintext[:] = bytes(len(plaintext))
    if answer.code:
        return None
    blob = answer.data.get("CiphertextBlob")
    if not isinstance(blob, bytes) or not blob:
        raise kms.odd(key)
    return blob


def decrypt(kms: KMS, key: str, blob: bytes, context: Mapping[str, str]) -> Secret | None:
    """What *blob* holds; None if this key, with this *context*, does not open it.

    The key is named, so that KMS refuses what another key sealed, and its answer is compared with that.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings, InsecurePermissions: as `KMS.ask`; or
            there is no such key.
    """
    answer = kms.ask(
        key,
        lambda client: client.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=dict(context)),
        ABSENT,
        *UNOPENED,
    )
    if answer.code:
        if answer.code == ABSENT:
            raise kms.absent(key)
        return None
    material = _taken(answer.data)
    if material is None:
        raise kms.odd(key)
    if not _may_be(key, str(answer.data.get("KeyId", ""))):
        material.wipe()
        return None
    return material


def make(kms: KMS, alias: str) -> str | None:
    """A new key under *alias*: its ARN, which works at once; None if somebody else made one meanwhile.

    Raises:
        MasterKeyUnavailable, KeyServiceUnavailable, InvalidSettings, InsecurePermissions: as `KMS.ask`. A key
            that got no alias is scheduled for deletion.
    """
    created = kms.ask(
        alias,
        lambda client: client.create_key(
            Description=f"made by keyfs for {alias}",
            KeyUsage="ENCRYPT_DECRYPT",
            KeySpec="SYMMETRIC_DEFAULT",
        ),
    )
    metadata = created.data.get("KeyMetadata", {})
    arn, key_id = str(metadata.get("Arn", "")), str(metadata.get("KeyId", ""))
    if not arn or not key_id:
        raise kms.odd(alias)
    is_named = False
    try:
        named = kms.ask(
            alias, lambda client: client.create_alias(AliasName=alias, TargetKeyId=key_id), EXISTS
        )
        is_named = not named.code
    finally:
        if not is_named:
            _schedule_deletion(kms, key_id)
    return arn if is_named else None


def _taken(data: dict[str, object]) -> Secret | None:
    plaintext = data.pop("Plaintext", None)
    if not isinstance(plaintext, bytes):
        return None
    material = held(plaintext)
    wipe_immutable(plaintext)
    return material


def _may_be(wanted: str, answered: str) -> bool:
    """Whether KMS answered with the key that was named; an alias says nothing about that."""
    kind_and_id = wanted.rpartition(":")[2]
    if kind_and_id.startswith(ALIAS):
        return True
    return answered.rpartition("/")[2] == kind_and_id.rpartition("/")[2]


def _schedule_deletion(kms: KMS, key_id: str) -> None:
    with suppress(KeyfsError):  # it costs a little each month, and opens nothing
        kms.ask(
            key_id,
            lambda client: client.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=DELETION_DAYS),
        )
