"""From a master key URI to its provider: the one place that knows the schemes."""

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from keyfs.errors import InvalidSettings, LayoutUnsupported
from keyfs.master.base import MasterKeyProvider
from keyfs.master.env import ACRA_VARIABLE, EnvironmentMasterKey
from keyfs.master.file import FileMasterKey

DEFAULT_URI: Final = f"env:{ACRA_VARIABLE}"
ENTRY_POINT_GROUP: Final = "keyfs.master_keys"
LAYOUTS: Final = ("v1", "v2")

Factory = Callable[[str, str], MasterKeyProvider]
"""What an entry point names: called with what follows `scheme:` and the layout."""

_SCHEMES: Final[dict[str, Factory]] = {"env": EnvironmentMasterKey, "file": FileMasterKey}
_LATER: Final = frozenset({"awskms", "credential", "vault"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]{0,19}", re.ASCII)


def open_provider(uri: str, layout: str) -> MasterKeyProvider:
    """The provider that *uri* names, for a key store of *layout* ("v1" or "v2"). Reads no key yet.

    Raises:
        InvalidSettings: no URI, an unknown scheme, or a scheme that refuses what follows it. A text without
            a scheme is never echoed: it may be the key itself, pasted into the wrong place.
        LayoutUnsupported: any other layout.
    """
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if not colon or _SCHEME.fullmatch(scheme) is None:
        raise InvalidSettings(
            f"the master key is named by a URI such as {DEFAULT_URI} or file:PATH; the key itself never "
            f"stands there"
        )
    if layout not in LAYOUTS:
        raise LayoutUnsupported(
            f"key store layout {layout!r} is unknown; this keyfs handles {' and '.join(LAYOUTS)}"
        )
    factory = _SCHEMES.get(scheme) or _from_entry_point(scheme)
    return factory(rest, layout)


def known_schemes() -> list[str]:
    """Every scheme that can be opened here, other packages' included."""
    return sorted({*_SCHEMES, *entry_points(group=ENTRY_POINT_GROUP).names})


def _from_entry_point(scheme: str) -> Factory:
    found = tuple(entry_points(group=ENTRY_POINT_GROUP, name=scheme))
    if not found:
        raise _unknown(scheme)
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


def _owner(point: EntryPoint) -> str:
    return point.value if point.dist is None else point.dist.name


def _unknown(scheme: str) -> InvalidSettings:
    known = ", ".join(known_schemes())
    if scheme in _LATER:
        return InvalidSettings(
            f"this version of keyfs does not support {scheme!r} master keys yet; use one of: {known}"
        )
    return InvalidSettings(f"unknown master key scheme {scheme!r}; known: {known}")
