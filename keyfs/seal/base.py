"""The port: a sealer turns plaintext into a Secure Cell blob and back."""

from typing import Protocol

from keyfs.core.secret import Secret


class Sealer(Protocol):
    """Secure Cell Seal under one key that the sealer holds."""

    @property
    def engine(self) -> str:
        """What does the work, for `keyfs doctor` and `keyfs status`. Holds no key bytes."""

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        """The blob that opens to *plaintext* under the same key and *context*.

        Args:
            plaintext: 1 byte to 2**31-1 bytes, far more than any key.
            context: associated data, authenticated but not stored; empty means none.

        Raises:
            InvalidMaterial: *plaintext* is empty.
        """

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        """What *blob* holds.

        Raises:
            UnsealFailed: wrong key, wrong context or damage; which of them is never said.
        """
