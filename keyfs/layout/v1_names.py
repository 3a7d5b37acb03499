"""File names of Acra's key store v1: name to key and back, one to one for modern keys.

Source: Acra key store v1, "Files", "Listing and name parsing", "Is the mapping reversible?".
"""

from typing import Final

from keyfs.core import purposes as p
from keyfs.core.names import PUBLIC_SUFFIX, Half, KeyRef, is_client_id
from keyfs.core.purposes import Purpose
from keyfs.core.stamps import is_stamp
from keyfs.layout.base import Slot

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

_MODERN_GLOBALS: Final = tuple(item for item in GLOBAL_NAMES.items() if not item[0].is_legacy)
_MODERN_SUFFIXES: Final = tuple(item for item in CLIENT_SUFFIXES.items() if not item[0].is_legacy)
_LEGACY: Final = tuple(
    item for item in (*GLOBAL_NAMES.items(), *CLIENT_SUFFIXES.items()) if item[0].is_legacy
)


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


def slots_of(name: str) -> tuple[Slot, ...]:
    """Every key that a file of this name can hold, modern reading first; empty for none.

    A modern reading excludes every other one. Legacy names are ambiguous: the caller has to try them.
    """
    directory, slash, label = name.rpartition("/")
    if slash and directory.endswith(HISTORY_SUFFIX):
        if not is_stamp(label):
            return ()
        current = _current_slots(directory.removesuffix(HISTORY_SUFFIX))
        return tuple(Slot(slot.ref, slot.half, label) for slot in current)
    return _current_slots(name)


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
    return any(not slot.ref.purpose.is_legacy for slot in _current_slots(stripped))


def _current_slots(name: str) -> tuple[Slot, ...]:
    base = name.removesuffix(PUBLIC_SUFFIX)
    half = Half.SECRET if base == name else Half.PUBLIC
    for readings in (_MODERN_GLOBALS, _MODERN_SUFFIXES):
        for purpose, text in readings:
            if base.endswith(text) and (slot := _reading(purpose, text, base, half)) is not None:
                return (slot,)
    legacy = (_reading(purpose, text, base, half) for purpose, text in _LEGACY)
    return tuple(slot for slot in legacy if slot is not None)


def _reading(purpose: Purpose, text: str, base: str, half: Half) -> Slot | None:
    """*base* as the name of a key of this purpose; *text* is all of it, or how it ends."""
    if half is Half.PUBLIC and not purpose.is_pair:
        return None
    if purpose.is_global:
        return Slot(KeyRef(purpose, None), half, None) if base == text else None
    client = base.removesuffix(text)
    if not base.endswith(text) or not is_client_id(client):
        return None
    return Slot(KeyRef(purpose, client), half, None)
