"""Imports of own purposes: the newline policy, then the shape that was declared.

What was sealed once is handed out as it is: its seal proves who made it, and a declaration that is changed
later must not make a key unreadable.
"""

import unicodedata
from typing import Final

from keyfs.core.own import Newline, OwnKind, OwnSpec
from keyfs.core.purposes import Purpose
from keyfs.core.secret import Secret
from keyfs.core.staging import SIZE_LIMIT
from keyfs.errors import InvalidMaterial

NEWLINE: Final = b"\n"
_CONTROL: Final = "Cc"
_NEVER_IN_PASSWORD: Final = bytes(byte for byte in (*range(0x20), 0x7F) if byte != NEWLINE[0])


def normalise_own(purpose: Purpose, spec: OwnSpec, data: bytes) -> Secret:
    """The key in *data*, as an import brings it.

    Raises:
        InvalidMaterial: it has not the shape that was declared.
    """
    data = _without_newline(purpose, spec, data)
    if spec.size is not None and len(data) != spec.size:
        raise InvalidMaterial(f"a {purpose} key is {_bytes(spec.size)}, not {len(data)}: nothing was changed")
    if not 0 < len(data) <= SIZE_LIMIT:
        raise InvalidMaterial(
            f"a {purpose} key has 1 to {SIZE_LIMIT} bytes, not {len(data)}: nothing was changed"
        )
    try:
        if spec.kind is OwnKind.PEM:
            from keyfs.seal.pem import check_pem  # noqa: PLC0415 - parsers of certificates, which few need

            check_pem(data)
        elif spec.kind is OwnKind.PASSWORD:
            _check_password(data.removesuffix(NEWLINE) if spec.newline is Newline.RAW else data)
    except InvalidMaterial as exc:
        raise InvalidMaterial(f"not a {purpose} key: {exc}") from exc
    return Secret(data)


def own_size_limit(spec: OwnSpec) -> int:
    """The most bytes that `normalise_own` can accept, newline included."""
    return spec.size_max + (len(NEWLINE) if spec.newline is Newline.STRIP_ONE else 0)


def never_in(spec: OwnSpec) -> bytes:
    """The bytes that no such key holds, so that a write of them can be refused at once."""
    return _NEVER_IN_PASSWORD if spec.kind is OwnKind.PASSWORD else b""


def _without_newline(purpose: Purpose, spec: OwnSpec, data: bytes) -> bytes:
    """*data* by the newline policy. A symmetric key may end in such a byte: only its length tells."""
    is_ended = data.endswith(NEWLINE) and (spec.size is None or len(data) == spec.size + len(NEWLINE))
    if not is_ended or spec.newline is Newline.RAW:
        return data
    if spec.newline is Newline.REJECT:
        raise InvalidMaterial(f"a {purpose} key does not end in a newline: try printf instead of echo")
    return data[: -len(NEWLINE)]


def _check_password(data: bytes) -> None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None:  # outside the handler: the error holds the text
        raise InvalidMaterial("a password is UTF-8 text")
    if not text or any(unicodedata.category(character) == _CONTROL for character in text):
        raise InvalidMaterial("a password is one line of text, without control characters")


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"
