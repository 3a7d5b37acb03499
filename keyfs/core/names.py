"""The three path levels `purpose/client/version`, and the only parser of them."""

import re
from collections.abc import Collection
from enum import Enum
from typing import Final, NamedTuple

from keyfs.core.purposes import PURPOSES, Purpose
from keyfs.errors import InvalidName

GLOBAL: Final = "@global"
CURRENT: Final = "current"
PUBLIC_SUFFIX: Final = ".pub"
LEVELS: Final = 3  # purpose, client, version
CLIENT_ID_MIN: Final = 5
CLIENT_ID_MAX: Final = 256
_SHOWN_MAX: Final = 40  # characters of a wrong name that an error repeats
_CLIENT_ID = re.compile(rf"[A-Za-z0-9_\- ]{{{CLIENT_ID_MIN},{CLIENT_ID_MAX}}}", re.ASCII)
_OWN_CLIENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)


class Half(Enum):
    """Which part of a key version. Symmetric keys have only the secret part."""

    # The private half of a pair, or the whole symmetric key.
    SECRET = "private"  # noqa: S105 - a label
    PUBLIC = "public"

    __hash__ = object.__hash__  # each is one object, and every slot asks for it


class KeyRef(NamedTuple):
    """Names a key ring: one purpose of one client. `client` is None for global keys."""

    purpose: Purpose
    client: str | None

    @property
    def client_label(self) -> str:
        """The client as it stands in a path."""
        return GLOBAL if self.client is None else self.client

    def __str__(self) -> str:
        return f"{self.purpose.name}/{self.client_label}"


def is_client_id(text: str) -> bool:
    """Whether Acra accepts *text* as a client id: 5 to 256 of A-Z a-z 0-9 `_` `-` and space."""
    return _CLIENT_ID.fullmatch(text) is not None


def check_client_id(text: str) -> str:
    """*text*, if it is a client id.

    Raises:
        InvalidName: it is not.
    """
    if is_client_id(text):
        return text
    raise InvalidName(
        f"{_shown(text)!r} is not a client id: "
        f"{CLIENT_ID_MIN} to {CLIENT_ID_MAX} characters of A-Z a-z 0-9 _ - and space"
    )


def check_client(purpose: Purpose, text: str) -> str:
    """*text*, if keys of this purpose can belong to a client called so. Own purposes take host names, too.

    Raises:
        InvalidName: they cannot.
    """
    if purpose.own is None:
        return check_client_id(text)
    if _OWN_CLIENT.fullmatch(text) is None:
        raise InvalidName(
            f"{_shown(text)!r} cannot be a client of {purpose}: "
            f"1 to 128 characters of A-Z a-z 0-9 . _ -, the first of them neither . nor -"
        )
    return text


def parse_purpose(text: str, known: Collection[Purpose] = PURPOSES) -> Purpose:
    """The purpose called *text*, of those *known*.

    Raises:
        InvalidName: there is none; the message lists those there are.
    """
    for purpose in known:
        if purpose.name == text:
            return purpose
    names = ", ".join(p.name for p in known if not p.is_legacy)
    raise InvalidName(f"unknown purpose {_shown(text)!r}: use one of {names}")


def parse_key_ref(text: str, known: Collection[Purpose] = PURPOSES) -> KeyRef:
    """`PURPOSE/CLIENT`, or `PURPOSE` alone (or with `@global`) for a global key.

    Raises:
        InvalidName: unknown purpose, bad client id, missing or superfluous part.
    """
    purpose_text, _, client = text.partition("/")
    return key_ref_of(parse_purpose(purpose_text, known), client)


def key_ref_of(purpose: Purpose, client: str) -> KeyRef:
    """The key of a client; of no client, `@global` or nothing, where the purpose is a global one.

    Raises:
        InvalidName: bad client id, or there is one that is missing or superfluous.
    """
    if purpose.is_global:
        if client not in ("", GLOBAL):
            raise InvalidName(f"{purpose} has no clients: write {purpose} or {purpose}/{GLOBAL}")
        return KeyRef(purpose, None)
    if not client:
        raise InvalidName(f"{purpose} keys belong to a client: write {purpose}/CLIENT")
    return KeyRef(purpose, check_client(purpose, client))


def parse_version_path(text: str, known: Collection[Purpose] = PURPOSES) -> tuple[KeyRef, str]:
    """`PURPOSE[/CLIENT][/VERSION]`; the version is `current` when it is left out.

    Raises:
        InvalidName: as `parse_key_ref`; or too many parts, or an empty one.
    """
    parts = text.split("/")
    purpose = parse_purpose(parts[0], known)
    if purpose.is_global and len(parts) == LEVELS - 1 and parts[1] != GLOBAL:
        parts.insert(1, GLOBAL)
    ref = parse_key_ref("/".join(parts[:2]), known)
    version = parts[-1] if len(parts) >= LEVELS else CURRENT
    if len(parts) > LEVELS or not version:
        raise InvalidName(f"{_shown(text)!r} is not PURPOSE/CLIENT/VERSION")
    return ref, version


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
