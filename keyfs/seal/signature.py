"""How Acra signs key rings and exports of layout v2: HMAC-SHA-256, bound to the place of what is signed.

Source: Acra key store v2, "Signature".
"""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from keyfs.core.rings import NO_SIGNATURE, WRONG_SIGNATURE
from keyfs.core.secret import Secret
from keyfs.custody import held
from keyfs.errors import RingInvalid

ALGORITHM: Final = "2.16.840.1.101.3.4.2.1"
"""The object identifier of plain SHA-256, which Acra writes for this HMAC."""
RING_CONTEXT: Final = b"AKSv2 keystore: key ring signature: "


@dataclass(frozen=True, slots=True)
class Signature:
    """One of the signatures of a container."""

    algorithm: str  # an object identifier, dotted
    value: bytes


class Signer:
    """Signs and verifies under one key, of which it keeps a copy in memory of its own."""

    def __init__(self, key: Secret) -> None:
        self._key = held(key.view())

    def sign(self, context: bytes, payload: bytes) -> Signature:
        """The signature of *payload*, which is DER, in this *context*."""
        return Signature(ALGORITHM, self._digest(context, payload))

    def verifies(self, context: bytes, payload: bytes, signatures: Collection[Signature]) -> bool:
        """Whether all signatures of a known kind are right. How long that takes tells nothing of the key."""
        digest = self._digest(context, payload)
        known = [item.value for item in signatures if item.algorithm == ALGORITHM]
        return all(hmac.compare_digest(digest, value) for value in known)

    def _digest(self, context: bytes, payload: bytes) -> bytes:
        return hmac.digest(self._key.view(), context + b": " + payload, "sha256")


def verify(
    signers: Collection[Signer], context: bytes, payload: bytes, signatures: Collection[Signature]
) -> None:
    """Nothing, if one of *signers* has signed *payload* so.

    Raises:
        RingInvalid: none has; or there is no signature of a known kind.
    """
    if not any(item.algorithm == ALGORITHM for item in signatures):
        raise RingInvalid(NO_SIGNATURE)
    if not any(signer.verifies(context, payload, signatures) for signer in signers):
        raise RingInvalid(f"{WRONG_SIGNATURE}: it was changed, moved here, or signed under another key")
