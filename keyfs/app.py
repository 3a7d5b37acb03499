"""The composition root: settings in, wired key store out. The only importer of concrete drivers."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from keyfs.broker.format_states import FormatStates
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.purposes import PURPOSES, Purpose
from keyfs.errors import AccessDenied, InvalidSettings, KeyNotFound, StoreInvalid
from keyfs.layout.base import Layout
from keyfs.layout.detect import MARKER, V2_MARK, layout_name
from keyfs.layout.joined import JoinedLayout
from keyfs.layout.own import OwnLayout
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import is_public
from keyfs.layout.v2 import PUBLIC_MODE, LayoutV2
from keyfs.layout.v2_names import is_pair
from keyfs.master.registry import DEFAULT_URI
from keyfs.master_keys import Keeper, MasterKeys
from keyfs.seal.protection import Protections
from keyfs.store.annex import DirectoryAnnex, Present
from keyfs.store.base import Replacement, Store
from keyfs.store.directory import DirectoryStore
from keyfs.store.files import DIRECTORY_MODE
from keyfs.store.joined import Annex, JoinedStore
from keyfs.store.os_errors import translated
from keyfs.store.redis_uri import SCHEMES as REDIS_SCHEMES
from keyfs.store.redis_uri import parse_redis_uri
from keyfs.store.ring_changes import RingMedium
from keyfs.store.rings import RingStore

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+]*):(.*)", re.DOTALL)
_PUBLIC: Final = "?public="


@dataclass(frozen=True, slots=True)
class Access:
    """Which key store, how it is opened, and what of it is shown."""

    store: str
    master_key: str | None = DEFAULT_URI  # or several, separated by commas; None to list only
    legacy: bool = False
    wait_s: float = 0.0  # for a key service that does not answer
    keeper: Keeper | None = None  # of master keys, for the process that comes after us
    reread: Callable[[], str] | None = None  # says *master_key* anew, where a configuration file has it
    own: tuple[Purpose, ...] = ()  # the purposes that the operator declared
    undeclared: bool = False  # keys of own purposes that are declared nowhere are taken for keys, too

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """All that a name can mean."""
        return (*PURPOSES, *self.own)


def open_keys(access: Access) -> tuple[KeyStore, RingWriter]:
    """The key store and its writer, wired. Nothing is listed yet.

    Raises:
        InvalidSettings, StoreInvalid, InsecurePermissions, AccessDenied, StoreUnavailable: the place.
        MasterKeyUnavailable, KeyServiceUnavailable: no usable master key where the URI points.
    """
    keys, writer, _ = open_renewable(access)
    return keys, writer


def open_renewable(access: Access) -> tuple[KeyStore, RingWriter, MasterKeys | None]:
    """As `open_keys`; and what fetches the master keys again."""
    medium = open_store(access.store)
    name = layout_of(medium)
    master_keys, protection = None, None
    if access.master_key is not None:
        master_keys = MasterKeys(access.master_key, name, medium.read_beside, access.keeper)
        protection = Protections(master_keys.fetch(access.wait_s), master_keys.describe())
    store: Store = medium
    layout: Layout = LayoutV1(legacy=access.legacy)
    rings = _ring_store(medium, protection) if name == "v2" else None
    if rings is not None:
        store, layout = rings, LayoutV2()
    if access.own or access.undeclared:
        store = JoinedStore(store, _annex(access.store))
        layout = JoinedLayout(layout, OwnLayout(access.own, undeclared=access.undeclared))
    keys = KeyStore(store, layout, protection)
    if rings is not None:
        keys.states.in_format = FormatStates(keys, rings)
    return keys, RingWriter(keys), master_keys


def _ring_store(medium: RingMedium, protection: Protections | None) -> RingStore:
    """What is in the key rings on *medium*."""
    from keyfs.seal.rings import SignedRings  # noqa: PLC0415 - it imports what parses certificates, too

    signers = None if protection is None else protection.signers
    if signers is not None:
        signers()  # whether there are any is known now, and not at the first ring
    return RingStore(medium, SignedRings(signers), is_pair)


def open_store(uri: str) -> RingMedium:
    """The store that *uri* names.

    Raises:
        InvalidSettings: no such scheme, or no path.
        StoreInvalid, InsecurePermissions, AccessDenied: the place is no key store, or not a safe one.
    """
    if _scheme(uri) in REDIS_SCHEMES:
        return _open_redis(uri)
    root, public = directory_paths(uri)
    return DirectoryStore(root, public, is_public)


def _open_redis(uri: str, below: str = "") -> RingMedium:
    """The store under the prefix in *uri*, with *below* behind it."""
    try:
        from keyfs.store.redis import RedisStore  # noqa: PLC0415 - only who keeps keys there pays for it
    except ImportError as exc:
        raise InvalidSettings(
            f"a store in Redis needs the Python package redis: python3 -m pip install redis ({exc})"
        ) from exc

    place, password = parse_redis_uri(uri, os.environ)
    place = replace(place, prefix=place.prefix + below)
    return RedisStore(place, password, is_plain=lambda name: name == MARKER)


def _annex(uri: str) -> Annex:
    """Where the keys of own purposes lie beside the store that *uri* names."""
    if _scheme(uri) in REDIS_SCHEMES:
        return Present(_open_redis(uri, ".keyfs/own"))
    return DirectoryAnnex(directory_paths(uri)[0])


def directory_paths(uri: str) -> tuple[Path, Path | None]:
    """The private and, when they are apart, the public directory of `dir:PATH[?public=PATH]`.

    A text without a scheme is a path, taken as it stands.

    Raises:
        InvalidSettings: another scheme, or no path.
    """
    match = _SCHEME.fullmatch(uri)
    if match is not None and match[1].lower() != "dir":
        raise InvalidSettings(f"a store {match[1]}: is not known: use dir:PATH or {', '.join(REDIS_SCHEMES)}")
    path, _, public = match[2].partition(_PUBLIC) if match is not None else (uri, "", "")
    if not path or path.startswith("//"):
        raise InvalidSettings(f"store {uri!r} names no directory: use dir:PATH")
    return Path(path), Path(public) if public else None


def init_store(uri: str, layout: str) -> str:
    """Make a new, empty key store; returns its URI.

    Raises:
        StoreInvalid: the place is not empty, or no directory.
        InvalidSettings, AccessDenied, ReadOnly, StoreFull: it cannot be made there.
    """
    made = _init_redis(uri) if _scheme(uri) in REDIS_SCHEMES else _init_directory(uri)
    if layout == "v2":
        with made.lock():
            made.supersede([Replacement(MARKER, V2_MARK, PUBLIC_MODE, made.now_ns(), None)])
    made.close()
    return made.describe()


def _init_directory(uri: str) -> Store:
    root, public = directory_paths(uri)
    paths = [path for path in (root, public) if path is not None]
    for path in paths:
        with translated(f"make {path}"):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise StoreInvalid(f"{path} is not an empty directory: a new key store needs one of its own")
    for path in paths:
        with translated(f"make {path}"):
            path.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
            path.chmod(DIRECTORY_MODE)
    return open_store(uri)


def _init_redis(uri: str) -> Store:
    """Nothing has to be made in Redis; it only has to be empty under the prefix."""
    store = open_store(uri)
    found = store.list_all()
    if found.blobs or found.strays:
        store.close()
        raise StoreInvalid(f"{store.describe()} is not empty: a new key store needs a prefix of its own")
    return store


def _scheme(uri: str) -> str:
    match = _SCHEME.fullmatch(uri)
    return "" if match is None else match[1].lower()


def layout_of(store: Store) -> str:
    """The name of the layout of *store*, "v1" or "v2".

    Raises:
        StoreUnavailable, AccessDenied: the medium does not let us look.
    """
    return layout_name(_marker(store))


def layout_at(uri: str) -> str:
    """The layout of the key store that *uri* names, which takes no master key.

    Raises:
        As `open_store` and `layout_of`.
    """
    store = open_store(uri)
    try:
        return layout_of(store)
    finally:
        store.close()


def _marker(store: Store) -> bytes | None:
    try:
        return store.get(MARKER).data
    except KeyNotFound:
        return None
    except AccessDenied as exc:  # the first look at the store: say which one, not only which file in it
        raise AccessDenied(f"{store.describe()}: {exc}") from exc
