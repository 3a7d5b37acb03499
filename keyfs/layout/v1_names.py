"""File names of Acra's key store v1: name to key and back, one to one for modern keys.

Source: Acra key store v1, "Files", "Listing and name parsing", "Is the mapping reversible?".
"""

from collections.abc import Iterator
from typing import Final

from keyfs.core import purposes as p
from keyfs.core.names import PUBLIC_SUFFIX, Half, KeyRef, is_client_id
from keyfs.core.purposes import Purpose
from keyfs.core.stamps import is_stamp
from keyfs.layout.base import Reading, Slot, one_slot

HISTORY_SUFFIX: Final = ".old"

GLOBAL_NAMES: Final[dict[Purpose, str]] = {
    p.POISON_RECORD: ".poison_key/poison_key",
    p.POISON_RECORD_SYM: ".poison_key/poison_key_sym",
    p.AUDIT_LOG: "secure_log_key",
    p.LEGACY_AUTH: "auth_key",
}

# Longest first: exactly one suffix is stripped, and `_storage_sym` ends in neither of the others.
CLIENT_SUFFIXES: Final[dict[Purpose, str]] = {
    p.STORAGE_SYM: "_storage_sym",
    p.STORAGE: "_storage",
    p.HMAC_SYM: "_hmac",
    p.LEGACY_TRANSLATOR: "_translator",
    p.LEGACY_ZONE_SYM: "_zone_sym",
    p.LEGACY_SERVER: "_server",
    p.LEGACY_ZONE: "_zone",
    p.LEGACY_CONNECTOR: "",
}

_LEGACY: Final = tuple(purpose for purpose in (*GLOBAL_NAMES, *CLIENT_SUFFIXES) if purpose.is_legacy)


def secret_name(ref: KeyRef) -> str:
    """The name of the current private or symmetric part."""
    if ref.client is None:
        return GLOBAL_NAMES[ref.purpose]
    return ref.client + CLIENT_SUFFIXES[ref.purpose]


def public_name(ref: KeyRef) -> str:
    """The name of the current public part."""
    return secret_name(ref) + PUBLIC_SUFFIX


def history_directory(name: str) -> str:
    """Where the retired versions of the file *name* lie."""
    return name + HISTORY_SUFFIX


def is_public(name: str) -> bool:
    """Whether *name* belongs to the public directory when private and public keys are split."""
    history = PUBLIC_SUFFIX + HISTORY_SUFFIX
    directory, _, base = name.rpartition("/")
    return base.endswith((PUBLIC_SUFFIX, history)) or directory.endswith(history)


def modern_reading(name: str) -> Reading | None:
    """The key that a file of this name holds, as all of Acra's present tools read it; None for none.

    A modern reading excludes every other one.
    """
    if "/" in name:
        return _modern_below(name)
    for ending, size, purpose, half in _MODERN_ENDINGS:
        if name.endswith(ending):
            client = name[:-size]
            return (purpose, client, half, None) if is_client_id(client) else None
    return _MODERN_GLOBALS.get(name)


def slots_of(name: str) -> tuple[Slot, ...]:
    """Every key that a file of this name can hold, modern reading first; empty for none.

    Legacy names are ambiguous: the caller has to try them.
    """
    return one_slot(modern_reading(name)) or _legacy_slots(name)


def stray_reason(name: str, *, legacy: bool) -> str:
    """Why a file that `slots_of` (with the given view) leaves out is no key."""
    directory, slash, label = name.rpartition("/")
    if slash and directory.endswith(HISTORY_SUFFIX) and not is_stamp(label):
        return "its name in a history directory is not a time stamp"
    if is_leftover(name):
        return "left-over temporary of an interrupted write"
    if slots_of(name):
        return "opens as no legacy key" if legacy else "legacy key, shown only with --legacy"
    return "its name is not that of a key"


def is_leftover(name: str) -> bool:
    """Whether *name* is a modern key's name followed by digits: a temporary that was never renamed."""
    stripped = name.rstrip("0123456789")
    if stripped == name or "/" in stripped.removeprefix(".poison_key/"):
        return False
    found = modern_reading(stripped)
    return found is not None and found[3] is None


def _modern_below(name: str) -> Reading | None:
    """As `modern_reading`, of a name with a directory."""
    directory, _, label = name.rpartition("/")
    if not directory.endswith(HISTORY_SUFFIX):
        return _MODERN_GLOBALS.get(name)
    current = directory.removesuffix(HISTORY_SUFFIX)
    found = _MODERN_GLOBALS.get(current) if "/" in current else modern_reading(current)
    return (*found[:3], label) if found is not None and is_stamp(label) else None


def _legacy_slots(name: str) -> tuple[Slot, ...]:
    directory, slash, label = name.rpartition("/")
    if not slash or not directory.endswith(HISTORY_SUFFIX):
        return tuple(_legacy_current(name, None))
    return tuple(_legacy_current(directory.removesuffix(HISTORY_SUFFIX), label)) if is_stamp(label) else ()


def _legacy_current(name: str, stamp: str | None) -> Iterator[Slot]:
    base = name.removesuffix(PUBLIC_SUFFIX)
    half = Half.SECRET if base == name else Half.PUBLIC
    for purpose in _LEGACY:
        if half is Half.PUBLIC and not purpose.is_pair:
            continue
        suffix = GLOBAL_NAMES[purpose] if purpose.is_global else CLIENT_SUFFIXES[purpose]
        client = base.removesuffix(suffix)
        if base.endswith(suffix) and (not client if purpose.is_global else is_client_id(client)):
            yield Slot(KeyRef(purpose, client or None), half, stamp)


def _halves(name: str, purpose: Purpose) -> list[tuple[str, Half]]:
    public = [(name + PUBLIC_SUFFIX, Half.PUBLIC)] if purpose.is_pair else []
    return [(name, Half.SECRET), *public]


_MODERN_GLOBALS: Final[dict[str, Reading]] = {
    whole: (purpose, None, half, None)
    for purpose, name in GLOBAL_NAMES.items()
    for whole, half in _halves(name, purpose)
    if not purpose.is_legacy
}
# A name has at most one of these endings.
_MODERN_ENDINGS: Final = tuple(
    (ending, len(ending), purpose, half)
    for purpose, suffix in CLIENT_SUFFIXES.items()
    for ending, half in _halves(suffix, purpose)
    if not purpose.is_legacy
)
