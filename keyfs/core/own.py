"""Own purposes: what an operator may declare beyond Acra's kinds of key, and the rules for a declaration."""

import re
from collections.abc import Collection
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeVar

from keyfs.core.staging import SIZE_LIMIT
from keyfs.errors import InvalidSettings

SYMMETRIC_MAX: Final = 4096
PASSWORD_LENGTHS: Final = (8, 1024)
HISTORY_MAX: Final = 10_000
PEM_ALGORITHMS: Final = ("ec-p256", "ed25519", "rsa-3072")
_SHOWN_MAX: Final = 40  # characters of a wrong value that an error repeats
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


_Choice = TypeVar("_Choice", bound=Enum)


class OwnKind(Enum):
    """What the bytes of an own key are."""

    OPAQUE = "opaque"  # anything
    PEM = "pem"  # text with at least one PEM block
    SYMMETRIC = "symmetric"  # so many bytes
    PASSWORD = "password"  # noqa: S105 - UTF-8 text of one line


class Newline(Enum):
    """What happens to one trailing newline of an import."""

    RAW = "raw"  # it is a part of the key
    STRIP_ONE = "strip-one"
    REJECT = "reject"  # with it the import is refused


class OwnSpec(NamedTuple):
    """What was declared. *generate* is a number of bytes or characters, or a PEM algorithm."""

    kind: OwnKind
    newline: Newline = Newline.RAW
    history: int | None = None  # how many retired versions are kept; None for all
    generate: str | int | None = None  # None: nothing can be generated
    size: int | None = None  # of a symmetric key, in bytes

    @property
    def size_max(self) -> int:
        """The most bytes that such a key has."""
        return SIZE_LIMIT if self.size is None else self.size


class Declaration(Protocol):
    """One table of the configuration file; None where it says nothing."""

    @property
    def kind(self) -> str | None:
        """The value of an `OwnKind`."""

    @property
    def newline(self) -> str | None:
        """The value of a `Newline`."""

    @property
    def history(self) -> int | None:
        """How many retired versions are kept."""

    @property
    def generate(self) -> str | int | None:
        """See `OwnSpec`."""

    @property
    def size(self) -> int | None:
        """Of a symmetric key, in bytes."""

    @property
    def is_global(self) -> bool | None:
        """Whether it has no clients."""


def is_own_name(text: str) -> bool:
    """Whether an own purpose can be called so; of Acra's purposes it does not know."""
    return _NAME.fullmatch(text) is not None


def check_own_name(text: str, taken: Collection[str]) -> str:
    """*text*, if an own purpose can be called so.

    Raises:
        InvalidSettings: it cannot, or it is one of those *taken*.
    """
    if text in taken:
        raise InvalidSettings("this is one of Acra's own purposes: use another name")
    if not is_own_name(text):
        raise InvalidSettings("a purpose is called with 1 to 32 of a-z 0-9 -, and begins with a letter")
    return text


def own_spec(said: Declaration) -> OwnSpec:
    """What *said* declares, defaults filled in.

    Raises:
        InvalidSettings: something is missing, out of range, or means nothing for this kind.
    """
    kind = _one_of(OwnKind, "kind", said.kind)
    default = Newline.STRIP_ONE if kind is OwnKind.PASSWORD else Newline.RAW
    newline = default if said.newline is None else _one_of(Newline, "newline", said.newline)
    _demand_range("history", said.history, 0, HISTORY_MAX)
    return OwnSpec(kind, newline, said.history, _generator(kind, said), _size(kind, said.size))


def _one_of(values: type[_Choice], key: str, text: str | None) -> _Choice:
    known = {str(value.value): value for value in values}
    if text not in known:
        wrong = "is missing" if text is None else f"cannot be {_shown(text)}"
        raise InvalidSettings(f"{key} {wrong}: use one of {', '.join(known)}")
    return known[text]


def _size(kind: OwnKind, size: int | None) -> int | None:
    if kind is OwnKind.SYMMETRIC:
        if size is None:
            raise InvalidSettings(f"size is missing: a symmetric key has 1 to {SYMMETRIC_MAX} bytes")
        _demand_range("size", size, 1, SYMMETRIC_MAX)
    elif size is not None:
        raise InvalidSettings(f"size is for symmetric keys only, and this kind is {kind.value}")
    return size


def _generator(kind: OwnKind, said: Declaration) -> str | int | None:
    generate = said.generate
    if kind is OwnKind.SYMMETRIC:
        if generate is not None:
            raise InvalidSettings("generate is not for symmetric keys, which are always made of random bytes")
        return said.size
    if generate is None:
        return None
    if kind is OwnKind.PEM:
        if generate not in PEM_ALGORITHMS:
            raise InvalidSettings(
                f"generate cannot be {_shown(generate)}: a pem is one of {', '.join(PEM_ALGORITHMS)}"
            )
        return generate
    if isinstance(generate, str):
        raise InvalidSettings(f"generate is a number for kind {kind.value}, not {_shown(generate)}")
    _demand_range("generate", generate, *(PASSWORD_LENGTHS if kind is OwnKind.PASSWORD else (1, SIZE_LIMIT)))
    return generate


def _demand_range(key: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidSettings(f"{key} is a number from {least} to {most}, not {value}")


def _shown(value: str | int) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
