"""The purposes: what kinds of key an Acra key store holds. One row each; nothing else lists them.

Names are those of Acra's v2 key rings, so a path reads the same for both layouts. Beside them there are those
that an operator declares (`declared_purposes`); they are handed on, never kept here.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from keyfs.core.own import Declaration, OwnSpec, check_own_name, own_spec
from keyfs.errors import InvalidSettings

SYMMETRIC_SIZE: Final = 32
PRIVATE_SIZES: Final = (44, 45)
"""A private key container; Themis writes the longer one, but a number may have a leading zero byte less."""


class Shape(Enum):
    """What the bytes of a key look like."""

    PAIR = "key pair"  # Themis containers: REC2 private, UEC2 public
    SYMMETRIC = "symmetric key"  # 32 random bytes
    PLAIN = "plain key"  # 32 bytes that Acra stores without a seal
    OWN = "own key"  # what its `OwnSpec` says; Acra knows nothing of it

    __hash__ = object.__hash__  # each is one object, and every look at a key asks for it


class Purpose(NamedTuple):
    """One kind of key."""

    name: str
    shape: Shape
    is_global: bool = False
    is_legacy: bool = False
    own: OwnSpec | None = None  # of a purpose that the operator declared

    @property
    def is_pair(self) -> bool:
        """Whether a version has a public half beside its private half."""
        return self.shape is Shape.PAIR

    def __str__(self) -> str:
        return self.name


STORAGE: Final = Purpose("storage", Shape.PAIR)
STORAGE_SYM: Final = Purpose("storage-sym", Shape.SYMMETRIC)
HMAC_SYM: Final = Purpose("hmac-sym", Shape.SYMMETRIC)
POISON_RECORD: Final = Purpose("poison-record", Shape.PAIR, is_global=True)
POISON_RECORD_SYM: Final = Purpose("poison-record-sym", Shape.SYMMETRIC, is_global=True)
AUDIT_LOG: Final = Purpose("audit-log", Shape.SYMMETRIC, is_global=True)
LEGACY_CONNECTOR: Final = Purpose("legacy-connector", Shape.PAIR, is_legacy=True)
LEGACY_SERVER: Final = Purpose("legacy-server", Shape.PAIR, is_legacy=True)
LEGACY_TRANSLATOR: Final = Purpose("legacy-translator", Shape.PAIR, is_legacy=True)
LEGACY_ZONE: Final = Purpose("legacy-zone", Shape.PAIR, is_legacy=True)
LEGACY_ZONE_SYM: Final = Purpose("legacy-zone-sym", Shape.SYMMETRIC, is_legacy=True)
LEGACY_AUTH: Final = Purpose("legacy-auth", Shape.PLAIN, is_global=True, is_legacy=True)

PURPOSES: Final[tuple[Purpose, ...]] = (
    STORAGE,
    STORAGE_SYM,
    HMAC_SYM,
    POISON_RECORD,
    POISON_RECORD_SYM,
    AUDIT_LOG,
    LEGACY_CONNECTOR,
    LEGACY_SERVER,
    LEGACY_TRANSLATOR,
    LEGACY_ZONE,
    LEGACY_ZONE_SYM,
    LEGACY_AUTH,
)


def declared_purposes(tables: Mapping[str, Declaration]) -> tuple[Purpose, ...]:
    """The purposes that an operator declared, in the order of names.

    Raises:
        InvalidSettings: a name or a declaration does not do; the message begins with `purpose NAME: `.
    """
    acra = {purpose.name for purpose in PURPOSES}
    found = []
    for name, said in sorted(tables.items()):
        try:
            check_own_name(name, acra)
            found.append(Purpose(name, Shape.OWN, bool(said.is_global), own=own_spec(said)))
        except InvalidSettings as exc:
            raise InvalidSettings(f"purpose {name!r}: {exc}") from exc
    return tuple(found)
