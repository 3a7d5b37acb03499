"""From a master key URI to its provider: the one place that knows the schemes."""

import importlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from keyfs.errors import InvalidSettings, LayoutUnsupported
from keyfs.master.base import KeyEncryptionKey, MasterKeyProvider, ReadBeside
from keyfs.master.env import ACRA_VARIABLE
from keyfs.master.uri import split_options
from keyfs.master.wrapped import FROM, Ciphertext, WrappedMasterKey

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

DEFAULT_URI: Final = f"env:{ACRA_VARIABLE}"
ENTRY_POINT_GROUP: Final = "keyfs.master_keys"
LAYOUTS: Final = ("v1", "v2")

Factory = Callable[[str, str], MasterKeyProvider]
"""What an entry point names: called with what follows `scheme:` and the layout."""

KeyFactory = Callable[[str], KeyEncryptionKey]
"""What makes a key encryption key: called with what follows `scheme:`."""


class _Home(NamedTuple):
    """Where the class of a scheme is. It is imported only by who names the scheme."""

    module: str
    name: str
    package: str = ""  # what it needs that may be missing
    extra: str = ""  # the extra of keyfs that brings it; empty for a regular dependency


_PROVIDERS: Final = {
    "env": _Home("keyfs.master.env", "EnvironmentMasterKey"),
    "file": _Home("keyfs.master.file", "FileMasterKey"),
    "credential": _Home("keyfs.master.credential", "CredentialMasterKey"),
    "fd": _Home("keyfs.master.descriptor", "DescriptorMasterKey"),
    "command": _Home("keyfs.master.command", "CommandMasterKey"),
    "vault": _Home("keyfs.master.vault", "VaultMasterKey", "hvac", "vault"),
}
_KEYS: Final = {
    "awskms": _Home("keyfs.master.aws_key", "AwsKey", "boto3"),
    "vault-transit": _Home("keyfs.master.vault_transit", "TransitKey", "hvac", "vault"),
    "pkcs11": _Home("keyfs.master.pkcs11", "Pkcs11Key", "pkcs11", "pkcs11"),
}
PER_CLIENT: Final = "awskms-per-client"
_PER_CLIENT_HOME: Final = _Home("keyfs.master.aws_per_client", "AwsPerClient", "boto3")
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]{0,19}", re.ASCII)


def open_provider(uri: str, layout: str, read_beside: ReadBeside | None = None) -> MasterKeyProvider:
    """The provider that *uri* names, for a key store of *layout* ("v1" or "v2"). Reads no key yet.

    Args:
        uri: `SCHEME:REST`.
        layout: of the key store.
        read_beside: reads what is kept beside the key store, for `from=store`.

    Raises:
        InvalidSettings: no URI, an unknown scheme, a package that is missing, or a scheme that refuses what
            follows it. A text without a scheme is never echoed: it may be the key itself, pasted into the
            wrong place.
        LayoutUnsupported: any other layout.
    """
    scheme, rest = _split(uri)
    if layout not in LAYOUTS:
        raise LayoutUnsupported(
            f"key store layout {layout!r} is unknown; this keyfs handles {' and '.join(LAYOUTS)}"
        )
    if scheme in _KEYS:
        return WrappedMasterKey(open_key(uri), ciphertext_of(uri, read_beside), layout)
    home = _PROVIDERS.get(scheme)
    factory = cast("Factory", _load(scheme, home)) if home is not None else _from_entry_point(scheme)
    return factory(rest, layout)


def split_uris(text: str) -> list[str]:
    """The URIs in a list that commas separate. A comma that no known scheme follows is part of a URI.

    Raises:
        InvalidSettings: one of them is named twice.
    """
    if "," not in text:
        return [text]
    schemes = "|".join(map(re.escape, known_schemes()))
    uris = re.split(rf",\s*(?=(?:{schemes}):)", text, flags=re.IGNORECASE)
    if len(set(uris)) < len(uris):
        raise InvalidSettings("a list of master keys names each of them once")
    return uris


def open_key(uri: str) -> KeyEncryptionKey:
    """The key encryption key that *uri* names. Asks nobody yet.

    Raises:
        InvalidSettings: as `open_provider`; or the scheme is one of no such key.
    """
    scheme, rest = _split(uri)
    if scheme not in _KEYS:
        raise InvalidSettings(f"{scheme!r} wraps no keys; these do: {', '.join(sorted(_KEYS))}")
    return cast("KeyFactory", _load(scheme, _KEYS[scheme]))(rest)


def ciphertext_of(uri: str, read_beside: ReadBeside | None = None) -> Ciphertext:
    """Where the wrapped master key is that the URI of a key encryption key names.

    Raises:
        InvalidSettings: its option `from` is none of a place.
    """
    scheme, rest = _split(uri)
    place = [word for word in rest.partition("?")[2].split("&") if word.partition("=")[0] == FROM]
    options = split_options(scheme, "?" + "&".join(place), [FROM])[1] if place else {}
    return Ciphertext(options.get(FROM), read_beside)


def is_per_client(uri: str) -> bool:
    """Whether *uri* names no master key, but a KMS that has a key for each client (`kms_per_client`)."""
    return uri.partition(":")[0].lower() == PER_CLIENT


def open_per_client(uri: str) -> object:
    """The `keyfs.seal.protection.Protection` that *uri* names, of which `is_per_client` is true.

    Raises:
        InvalidSettings: as `open_provider`.
    """
    return cast("Callable[[str], object]", _load(PER_CLIENT, _PER_CLIENT_HOME))(_split(uri)[1])


def known_schemes() -> list[str]:
    """Every scheme that can be opened here, other packages' included."""
    return sorted({*_PROVIDERS, *_KEYS, PER_CLIENT, *_entry_points().names})


def _split(uri: str) -> tuple[str, str]:
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise InvalidSettings(
            f"the master key is named by a URI such as {DEFAULT_URI} or file:PATH; the key itself never "
            f"stands there"
        )
    return scheme, rest


def _load(scheme: str, home: _Home) -> object:
    try:
        return getattr(importlib.import_module(home.module), home.name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "keyfs":
            raise
        package = f"'keyfs[{home.extra}]'" if home.extra else home.package
        raise InvalidSettings(
            f"{scheme!r} master keys need the Python package {exc.name}: python3 -m pip install {package}"
        ) from exc


def _from_entry_point(scheme: str) -> Factory:
    found = tuple(_entry_points().select(name=scheme))
    if not found:
        raise InvalidSettings(f"unknown master key scheme {scheme!r}; known: {', '.join(known_schemes())}")
    if len(found) > 1:
        owners = ", ".join(sorted(_owner(point) for point in found))
        raise InvalidSettings(
            f"master key scheme {scheme!r} is offered by several packages; keep one of: {owners}"
        )
    try:
        factory = found[0].load()
    except (ImportError, AttributeError) as exc:
        raise InvalidSettings(
            f"master key scheme {scheme!r} cannot be loaded from package {_owner(found[0])}; reinstall it"
        ) from exc
    return cast("Factory", factory)


def _entry_points() -> "EntryPoints":
    """What other packages offer."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - a tenth of a command's start

    return entry_points(group=ENTRY_POINT_GROUP)


def _owner(point: "EntryPoint") -> str:
    return point.value if point.dist is None else point.dist.name
