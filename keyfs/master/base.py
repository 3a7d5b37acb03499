"""The ports: where the key comes from that seals every other key, and who unwraps it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from keyfs.core.secret import Secret


@dataclass(frozen=True, slots=True)
class MasterKey:
    """What a key store needs to open its blobs. Its repr holds no key bytes."""

    encryption: Secret  # 32 bytes or more, used at full length
    signature: Secret | None  # 32 bytes or more in layout v2, None in layout v1
    warnings: tuple[str, ...] = field(default=(), compare=False)  # lines for the operator, no key bytes

    def wipe(self) -> None:
        """Overwrite both keys with zeros. Safe to call twice."""
        self.encryption.wipe()
        if self.signature is not None:
            self.signature.wipe()


class MasterKeyProvider(Protocol):
    """One place where a master key comes from, for one layout. Opening a provider reads nothing yet."""

    def fetch(self) -> MasterKey:
        """A copy of the key that is the caller's own: wiping it leaves every other copy whole.

        Raises:
            MasterKeyUnavailable: nothing is there, or it is not a master key of this layout. One line says
                what is wrong, where, and what to do; it never holds a part of the value.
            KeyServiceUnavailable: the service that has it does not answer; trying again may help.
            InsecurePermissions: others could read it there; the line holds the command that mends it.
            InvalidSettings: the URI lacks what the place turned out to need (a region, a login).
        """

    def describe(self) -> str:
        """The URI this provider was opened with, for status and logs. Holds no secret."""


class KeyEncryptionKey(Protocol):
    """A key in a KMS, in Vault or in an HSM that wraps master keys and never leaves there.

    Opening one asks nobody yet. What is wrapped is the raw master key of layout v1 or the JSON text of
    layout v2, as in Acra, not their base64.
    """

    def wrap(self, material: Secret) -> bytes:
        """One line of text, without its end, that `unwrap` opens to *material*.

        Raises:
            MasterKeyUnavailable: there is no such key (the line says which there are), or it may not be used.
            KeyServiceUnavailable: the service does not answer; trying again may help.
            InvalidSettings: the URI lacks what the service turned out to need.
        """

    def unwrap(self, text: bytes) -> Secret:
        """What was wrapped.

        Args:
            text: as `wrap` gave it, line breaks ignored.

        Raises:
            MasterKeyUnavailable: *text* is damaged or another key's, or the key must not be used.
            KeyServiceUnavailable, InvalidSettings: as `wrap`.
        """

    def create(self) -> str:
        """Make the key; returns what was made, in words. What is there already is left as it is.

        Raises:
            MasterKeyUnavailable: the service refuses.
            KeyServiceUnavailable, InvalidSettings: as `wrap`.
        """

    def describe(self) -> str:
        """The URI this key was opened with, for status and logs. Holds no secret."""


ReadBeside = Callable[[str], bytes | None]
"""What is kept under a name beside the key store (`STORE.keyfs/`), None for nothing."""
