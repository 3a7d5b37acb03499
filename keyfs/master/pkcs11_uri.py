"""What follows `pkcs11:`: a token, a key in it, and behind `?` the module and the PIN (RFC 7512). Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from keyfs.errors import InvalidSettings

TOKEN_ATTRIBUTES: Final = ("token", "manufacturer", "serial", "model", "slot-id")
_PATH: Final = (*TOKEN_ATTRIBUTES, "object", "id", "type")
_QUERY: Final = ("module-path", "pin-source", "from")
_TYPE: Final = "secret-key"


@dataclass(frozen=True, slots=True)
class Pkcs11URI:
    """One key, and the way to it."""

    shown: str  # the URI without its options; holds no secret
    module: str  # path of the shared library
    pin_file: str | None  # None: no login
    token: Mapping[str, str]  # some of `TOKEN_ATTRIBUTES` and their values; any token that has them will do
    label: str | None
    key_id: bytes | None  # of label and id at least one

    @property
    def key_words(self) -> str:
        """The key in words, for messages."""
        words = [] if self.label is None else [repr(self.label)]
        return " ".join([*words, *([] if self.key_id is None else [f"with id {self.key_id.hex()}"])])


def parse_pkcs11_uri(rest: str) -> Pkcs11URI:
    """The key that `pkcs11:` and *rest* name.

    Raises:
        InvalidSettings: an attribute is unknown, malformed or there twice, or one that is needed is not
            there. Values are never repeated: one may be a PIN in the wrong place.
    """
    path, _, query = rest.partition("?")
    attributes = _pairs(path, ";", _PATH)
    options = {name: _text(name, value) for name, value in _pairs(query, "&", _QUERY).items()}
    if not {"object", "id"} & attributes.keys():
        raise InvalidSettings("'pkcs11:' needs the label of a key, object=LABEL, or its id, id=%01%02")
    if attributes.get("type", _TYPE) != _TYPE:
        raise InvalidSettings("'pkcs11:' takes AES keys only: type=secret-key")
    module = options.get("module-path", "")
    if not module.startswith("/"):
        raise InvalidSettings(
            "'pkcs11:' needs the absolute path of the token's PKCS#11 module: "
            "?module-path=/usr/lib/softhsm/libsofthsm2.so"
        )
    return Pkcs11URI(
        shown=f"pkcs11:{path}",
        module=module,
        pin_file=_pin_file(options.get("pin-source")),
        token={name: _text(name, attributes[name]) for name in TOKEN_ATTRIBUTES if name in attributes},
        label=_text("object", attributes["object"]) if "object" in attributes else None,
        key_id=unquote_to_bytes(attributes["id"]) if "id" in attributes else None,
    )


def _pairs(text: str, separator: str, known: Collection[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in text.split(separator) if text else ():
        name, mark, value = word.partition("=")
        if name == "pin-value":
            raise InvalidSettings(
                "'pkcs11:' takes no pin-value, which everybody sees in ps: put the PIN into a file, and name "
                "that with pin-source="
            )
        if name not in known:
            raise InvalidSettings(
                f"'pkcs11:' has no {name[:20]!r} before or behind '?'; it has {', '.join(_PATH)}, and behind "
                f"'?' {', '.join(_QUERY)}"
            )
        if not mark or not value or name in pairs or not value.isprintable():
            raise InvalidSettings(f"'pkcs11:' needs {name!r} once, with a value, percent-encoded")
        pairs[name] = value
    return pairs


def _text(name: str, value: str) -> str:
    try:
        text = unquote(value, errors="strict")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidSettings(f"'pkcs11:' needs {name!r} in percent-encoded UTF-8")
    return text


def _pin_file(source: str | None) -> str | None:
    """The path of the file with the PIN: RFC 7512 has it bare or as a `file:` URI."""
    if source is None:
        return None
    path = source.removeprefix("file:")
    if path.startswith("///"):
        path = path[2:]
    if not path.startswith("/"):
        raise InvalidSettings(
            "'pkcs11:' needs the absolute path of a file with the PIN: pin-source=/etc/keyfs/pin"
        )
    return path
