"""Ring paths of Acra's key store v2: path to key and back, one to one.

Source: Acra key store v2, "Layout". What lies in a ring is called as `keyfs.core.rings.half_name` says.
"""

from typing import Final

from keyfs.core import purposes as p
from keyfs.core.names import KeyRef, is_client_id
from keyfs.core.purposes import Purpose
from keyfs.core.rings import NEW_SUFFIX, RING_SUFFIX, is_ring_name, parse_half_name, ring_path

MODERN: Final[tuple[Purpose, ...]] = tuple(purpose for purpose in p.PURPOSES if not purpose.is_legacy)
CLIENT_DIRECTORY: Final = "client"
_GLOBALS: Final = {purpose.name: purpose for purpose in MODERN if purpose.is_global}
_OF_CLIENTS: Final = {purpose.name: purpose for purpose in MODERN if not purpose.is_global}
_LEVELS: Final = 3
# The rings of Acra up to 0.93, by the first part of their path, or the third.
_LEGACY_TOPS: Final = frozenset({"authentication", "zone"})
_LEGACY_PART: Final = "transport"


def path_of(ref: KeyRef) -> str:
    """The path of a key's ring."""
    if ref.client is None:
        return ref.purpose.name
    return f"{CLIENT_DIRECTORY}/{ref.client}/{ref.purpose.name}"


def ring_name_of(ref: KeyRef) -> str:
    """The name of the file of a key's ring."""
    return path_of(ref) + RING_SUFFIX


def key_at(path: str) -> tuple[Purpose, str | None] | None:
    """The key whose ring has this path; None for none."""
    parts = path.split("/")
    if len(parts) == 1:
        purpose = _GLOBALS.get(path)
        return None if purpose is None else (purpose, None)
    if len(parts) != _LEVELS or parts[0] != CLIENT_DIRECTORY or not is_client_id(parts[1]):
        return None
    purpose = _OF_CLIENTS.get(parts[2])
    return None if purpose is None else (purpose, parts[1])


def is_pair(path: str) -> bool:
    """Whether the ring of this path holds key pairs."""
    found = key_at(path)
    return found is not None and found[0].is_pair


def stray_reason(name: str) -> str:
    """Why nothing of this name is shown."""
    if name.endswith(NEW_SUFFIX) or (is_ring_name(name.rstrip("0123456789")) and not is_ring_name(name)):
        return "left-over temporary of an interrupted write"
    half = parse_half_name(name)
    ring_name = name if half is None else half[0]
    if not is_ring_name(ring_name):
        return "its name is not that of a key ring"
    path = ring_path(ring_name)
    if half is not None and key_at(path) is not None:
        return "a public half in the ring of a symmetric key"
    if path.split("/")[0] in _LEGACY_TOPS or _LEGACY_PART in path.split("/")[2:3]:
        return "legacy key ring, which is not shown in layout v2"
    return "its path is not that of a key's ring"
