"""The files of a backup: bundle, key, passphrase. Read within limits, written whole and for good."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from keyfs.broker.bundle_check import demand_keys
from keyfs.broker.bundles import read_bundle
from keyfs.cli.options import own_purposes
from keyfs.core.bundles import SIZE_MAX, Bundle
from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, KeyExists, KeyNotFound, LayoutUnsupported, MaterialCorrupt
from keyfs.seal.bundles import Format, Lock, is_under_passphrase, new_key, recognise
from keyfs.store.files import publish, sync_directory, write_new
from keyfs.store.os_errors import translated

MODE: Final = 0o600
KEY_SUFFIX: Final = ".key"
_NEW_SUFFIX: Final = ".new"
_SECRET_MAX: Final = 4096
_LARGER: Final = 1024  # what a seal adds at most
_HOW: Final = "prompt, file:PATH or env:NAME"

bundle_option = click.option(
    "--bundle", envvar="KEYFS_BUNDLE", metavar="FILE", required=True, help="The bundle's file."
)
_key_file_option = click.option(
    "--key-file",
    envvar="KEYFS_KEY_FILE",
    metavar="FILE",
    help="The bundle's key; by default the bundle's name with .key behind it.",
)
_passphrase_option = click.option(
    "--passphrase-from",
    envvar="KEYFS_PASSPHRASE_FROM",
    metavar="SOURCE",
    help=f"A passphrase instead of a key, and where it is: {_HOW}.",
)


def lock_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a bundle is locked with."""
    return _key_file_option(_passphrase_option(command))


def key_file_of(bundle: Path, key_file: str | None) -> Path:
    """Where the key of a bundle is.

    Raises:
        InvalidSettings: it would be the bundle itself.
    """
    path = Path(key_file) if key_file else bundle.with_name(bundle.name + KEY_SUFFIX)
    if os.path.abspath(path) == os.path.abspath(bundle):
        raise InvalidSettings("the bundle and its key cannot be one file: give another --key-file")
    return path


def read_bundle_file(path: Path) -> bytes:
    """All of a bundle.

    Raises:
        KeyNotFound, AccessDenied, StoreUnavailable: it cannot be read.
        MaterialCorrupt: it is longer than any bundle.
    """
    data = _read(path, SIZE_MAX + _LARGER)
    if len(data) > SIZE_MAX + _LARGER:
        raise MaterialCorrupt(f"{path} is no bundle: it has more than {SIZE_MAX >> 20} MiB")
    return data


def open_bundle_file(path: Path, key_file: str | None, passphrase_from: str | None) -> tuple[Format, Bundle]:
    """What a bundle is, and the backup in it, which has keys.

    Raises:
        KeyfsError: as `read_bundle_file`, `lock_for_reading`, `read_bundle` and `demand_keys`.
    """
    data = read_bundle_file(path)
    try:
        recognise(data)
    except (MaterialCorrupt, LayoutUnsupported) as exc:
        raise type(exc)(f"{path}: {exc}") from exc
    lock = lock_for_reading(data, path, key_file, passphrase_from)
    form, backup = read_bundle(data, lock, own_purposes())
    demand_keys(backup)
    return form, backup


def lock_for_reading(data: bytes, bundle: Path, key_file: str | None, passphrase_from: str | None) -> Lock:
    """What opens a bundle: its passphrase, which is asked for where no source was named, or its key file.

    Raises:
        InvalidSettings: as `passphrase`; both were named; the key file is not one.
        KeyNotFound, AccessDenied, StoreUnavailable: a file cannot be read.
    """
    _demand_one(key_file, passphrase_from)
    if passphrase_from or (is_under_passphrase(data) and not key_file):
        return Lock(passphrase(passphrase_from or "prompt"), is_passphrase=True)
    path = key_file_of(bundle, key_file)
    if not key_file and not path.exists():
        raise KeyNotFound(
            f"there is no {path}, where the key of {bundle.name} was to be: --key-file says where it is"
        )
    content = _read(path, _SECRET_MAX)
    if len(content) > _SECRET_MAX:
        raise InvalidSettings(f"{path} is no key file of a bundle: it has more than {_SECRET_MAX} bytes")
    return Lock(Secret(content))


def lock_for_writing(key_file: str | None, passphrase_from: str | None, form: Format) -> Lock:
    """A fresh key, or the passphrase, which is asked for twice.

    Raises:
        InvalidSettings: as `passphrase`; or both were named.
        KeyNotFound, AccessDenied, StoreUnavailable: a file cannot be read.
    """
    _demand_one(key_file, passphrase_from)
    if passphrase_from:
        return Lock(passphrase(passphrase_from, is_new=True), is_passphrase=True)
    return Lock(new_key(form))


def passphrase(source: str, *, is_new: bool = False) -> Secret:
    """The passphrase that *source* tells of. One newline at its end does not belong to it.

    Raises:
        InvalidSettings: no such source, nobody to ask, or it is empty or too long.
        KeyNotFound, AccessDenied, StoreUnavailable: the file cannot be read.
    """
    kind, _, name = source.partition(":")
    if source == "prompt":
        found = _asked(is_new=is_new)
    elif kind == "file" and name:
        found = _read(Path(name), _SECRET_MAX).removesuffix(b"\n").removesuffix(b"\r")
    elif kind == "env" and name:
        found = os.environb.get(os.fsencode(name), b"")
    else:  # not repeated: it may be the passphrase itself
        raise InvalidSettings(f"--passphrase-from says where the passphrase is, never what it is: {_HOW}")
    if not found or len(found) > _SECRET_MAX:
        raise InvalidSettings(f"the passphrase from {source} is {'too long' if found else 'empty'}")
    return Secret(found)


def demand_free(bundle: Path, key: Path | None, *, force: bool) -> None:
    """Refuse places that are taken or are none, before any work is done.

    Raises:
        KeyExists: something is there, and *force* was not given.
        InvalidSettings: a folder is not there.
    """
    for path in (bundle, *([] if key is None else [key])):
        with translated(f"look at {path}"):
            if not path.parent.is_dir():
                raise InvalidSettings(f"there is no folder {path.parent}: make it, or name another place")
            if path.is_dir():
                raise InvalidSettings(f"{path} is a directory: name a file")
            if os.path.lexists(path) and not force:
                raise _taken(path)


def write_files(bundle: tuple[Path, bytes], key: tuple[Path, bytes] | None, *, force: bool) -> None:
    """Write a bundle, and its key before it. At no moment is there a bundle without the key that opens it.

    With *force* what was there is replaced, each file in one step. The key of a new bundle then lies under
    its name with `.new` behind it until the bundle is switched: should that be all that happens, it is there.

    Raises:
        KeyExists: something is there by now, and *force* was not given.
        AccessDenied, ReadOnly, StoreFull, StoreUnavailable: it cannot be written.
    """
    path, data = bundle
    with _ready(path, data) as new:
        if key is None:
            _publish(new, path, data, force=force)
            return
        place, content = key
        is_waiting = force and os.path.lexists(place)
        there = place.with_name(place.name + _NEW_SUFFIX) if is_waiting else place
        with _ready(there, content) as new_key_file:
            _publish(new_key_file, there, content, force=force)
        try:
            _publish(new, path, data, force=force)
        except KeyExists:
            there.unlink(missing_ok=True)
            raise
        if is_waiting:
            with translated(f"write {place}"):
                there.replace(place)
                sync_directory(place.parent)


@contextmanager
def _ready(path: Path, data: bytes) -> Iterator[Path]:
    """A file beside *path* that holds *data*, durable; gone at the end of the block."""
    new = path.with_name(f".keyfs-{secrets.token_hex(8)}")
    try:
        with translated(f"write {path}"):
            write_new(new, data, MODE, time.time_ns(), None)
        yield new
    finally:
        new.unlink(missing_ok=True)


def _publish(new: Path, path: Path, data: bytes, *, force: bool) -> None:
    """Give a file its name, in one step where the medium can do that; only with *force* over another one."""
    with translated(f"write {path}"):
        try:
            if force:
                new.replace(path)
            else:
                publish(new, path, data)
        except FileExistsError:
            raise _taken(path) from None
        sync_directory(path.parent)


def _taken(path: Path) -> KeyExists:
    return KeyExists(f"{path} is there already, and is left as it is: name another file, or give --force")


def _read(path: Path, limit: int) -> bytes:
    """At most one byte more than *limit*."""
    with translated(f"read {path}"), path.open("rb") as file:
        return file.read(limit + 1)


def _demand_one(key_file: str | None, passphrase_from: str | None) -> None:
    if key_file and passphrase_from:
        raise InvalidSettings("a bundle has a key or a passphrase: leave out --key-file or --passphrase-from")


def _asked(*, is_new: bool) -> bytes:
    if not sys.stdin.isatty():
        raise InvalidSettings(
            "nobody is here to ask for the passphrase: give --passphrase-from file:PATH or env:NAME"
        )
    ask: Callable[..., str] = click.prompt
    return ask("Passphrase of the bundle", hide_input=True, confirmation_prompt=is_new, err=True).encode()
