"""Format views: a key in another form, as a file beside it (`current.b64`). Names, sizes, and the text forms.

A view is one line, or PEM, and ends in exactly one newline. Its length follows from that of the key, so that
`stat` opens no seal.
"""

import binascii
from enum import Enum
from typing import Final

from keyfs.core.names import PUBLIC_SUFFIX, Half
from keyfs.core.own import OwnKind
from keyfs.core.purposes import Purpose
from keyfs.errors import InvalidSettings

ALL: Final = "all"
NONE: Final = "none"
# Of P-256 keys, the only ones that Acra has: all numbers in them have a fixed length.
PRIVATE_PEM_SIZE: Final = 241
PUBLIC_PEM_SIZE: Final = 178
FINGERPRINT_SIZE: Final = 65  # 64 digits and the newline


class View(Enum):
    """A form in which a key is shown; the value is the suffix of its file."""

    B64 = "b64"  # base64 of the key's bytes, in one line
    HEX = "hex"  # the key's bytes in lower-case hexadecimal
    PEM = "pem"  # of a private half PKCS#8, of a public half SubjectPublicKeyInfo
    FP = "fp"  # SHA-256 of the public half's SubjectPublicKeyInfo, in lower-case hexadecimal


Views = frozenset[View]
NO_VIEWS: Final[Views] = frozenset()
_BY_SUFFIX: Final = {view.value: view for view in View}
_TEXT: Final = (View.B64, View.HEX)
_OF_OWN: Final = {
    OwnKind.OPAQUE: _TEXT,
    OwnKind.SYMMETRIC: _TEXT,
    OwnKind.PEM: (View.FP,),
    OwnKind.PASSWORD: (View.B64,),
}


def parse_views(text: str) -> Views:
    """The views in a list such as `b64,hex`; `all`, or `none`, which nothing at all means too.

    Raises:
        InvalidSettings: there is no such view.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == [ALL]:
        return frozenset(View)
    if words == [NONE]:
        return NO_VIEWS
    for word in words:
        if word not in _BY_SUFFIX:
            raise InvalidSettings(f"there is no view {word!r}: use {', '.join(_BY_SUFFIX)}, or all or none")
    return frozenset(_BY_SUFFIX[word] for word in words)


def valid_views(purpose: Purpose, half: Half) -> tuple[View, ...]:
    """The views that this half of a key can have."""
    if purpose.is_pair:
        return (*_TEXT, View.PEM) if half is Half.SECRET else (*_TEXT, View.PEM, View.FP)
    if half is Half.PUBLIC:
        return ()
    return _TEXT if purpose.own is None else _OF_OWN[purpose.own.kind]


def fingerprint_half(purpose: Purpose) -> Half:
    """The half of which a fingerprint is a view: the public one, where there is one apart."""
    return Half.PUBLIC if purpose.is_pair else Half.SECRET


def view_label(version: str, half: Half, view: View) -> str:
    """The file's name: `current.hex`, `current.pub.hex`, but `current.fp`: there is one for both halves."""
    is_public_form = half is Half.PUBLIC and view is not View.FP
    return f"{version}{PUBLIC_SUFFIX if is_public_form else ''}.{view.value}"


def parse_view_label(label: str, purpose: Purpose) -> tuple[str, Half, View] | None:
    """Version, half and view that a name among the files of such a key means; None when it names no view."""
    stem, _, suffix = label.rpartition(".")
    view = _BY_SUFFIX.get(suffix)
    version = stem.removesuffix(PUBLIC_SUFFIX)
    if view is None or not version:
        return None
    half = Half.SECRET if version == stem else Half.PUBLIC
    if view is View.FP:
        half = fingerprint_half(purpose)
    is_name = view_label(version, half, view) == label and view in valid_views(purpose, half)
    return (version, half, view) if is_name else None


def view_size(view: View, half: Half, size: int) -> int:
    """How long the view of a half of *size* bytes is, in bytes."""
    if view is View.B64:
        return -(-size // 3) * 4 + 1
    if view is View.HEX:
        return 2 * size + 1
    if view is View.FP:
        return FINGERPRINT_SIZE
    return PRIVATE_PEM_SIZE if half is Half.SECRET else PUBLIC_PEM_SIZE


def as_base64(material: bytes | memoryview) -> bytes:
    """Base64 in one line, newline included."""
    return binascii.b2a_base64(material)


def as_hex(material: bytes | memoryview) -> bytes:
    """Lower-case hexadecimal in one line, newline included."""
    return binascii.hexlify(material) + b"\n"
