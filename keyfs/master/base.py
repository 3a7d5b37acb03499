"""The port: a master key provider fetches the key that seals every other key."""

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
            InsecurePermissions: others could read it there; the line holds the command that mends it.
        """

    def describe(self) -> str:
        """The URI this provider was opened with, for status and logs. Holds no secret."""
