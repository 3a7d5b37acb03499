"""File names of Acra's key store v1: name to key and back, one to one for modern keys.

Source: Acra key store v1, "Files", "Listing and name parsing", "Is the mapping reversible?".
"""

import functools
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


@functools.lru_cache(maxsize=4096)  # asked once more for each version in a history
def _current_slots(name: str) -> tuple[Slot, ...]:
    base = name.removesuffix(PUBLIC_SUFFIX)
    half = Half.SECRET if base == name else Half.PUBLIC
    readings = [
        slot
        for purpose in (*GLOBAL_NAMES, *CLIENT_SUFFIXES)
        if (slot := _reading(purpose, base, half)) is not None
    ]
    modern = [slot for slot in readings if not slot.ref.purpose.is_legacy]
    return tuple(modern[:1] or readings)


def _reading(purpose: Purpose, base: str, half: Half) -> Slot | None:
    if half is Half.PUBLIC and not purpose.is_pair:
        return None
    if purpose.is_global:
        return Slot(KeyRef(purpose, None), half, None) if base == GLOBAL_NAMES[purpose] else None
    suffix = CLIENT_SUFFIXES[purpose]
    client = base.removesuffix(suffix)
    if not base.endswith(suffix) or not is_client_id(client):
        return None
    return Slot(KeyRef(purpose, client), half, None)
