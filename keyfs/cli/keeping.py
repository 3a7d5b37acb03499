"""Where `keyfs master-key` puts a wrapped master key: where `from=` says, and never over anything."""

import os
import secrets
import time
from pathlib import Path
from typing import Final

import click

from keyfs.errors import InvalidSettings, KeyExists
from keyfs.master.wrapped import Ciphertext
from keyfs.store.base import Store
from keyfs.store.files import publish, sync_directory, write_new
from keyfs.store.os_errors import translated

_MODE: Final = 0o600
_WHAT: Final = "the wrapped master key "  # how the words for a place begin


def check_free(place: Ciphertext, store: Store | None) -> None:
    """Refuse a place that is taken, or is none, before anything is made for it.

    Raises:
        KeyExists: something is there.
        InvalidSettings: the place is beside a key store and none was named, or its folder is not there.
        InvalidName: nothing beside a key store can have that name.
        AccessDenied, StoreUnavailable: it cannot be seen whether something is there.
    """
    if place.kind == "file":
        path = Path(place.name)
        if not path.parent.is_dir():
            raise InvalidSettings(
                f"there is no folder {path.parent} for {place}: make it, or name another place"
            )
        with translated(f"look at {path}"):
            is_taken = os.path.lexists(path)
    elif place.kind == "store":
        is_taken = _named(store, place).read_beside(place.name) is not None
    else:
        is_taken = False
    if is_taken:
        raise _taken(place)


def keep(place: Ciphertext, text: bytes, store: Store | None) -> str:
    """Put *text* there, or on stdout for an environment variable, durable and whole; what was done, in words.

    Raises:
        KeyExists: something is there by now; it is left as it is.
        AccessDenied, ReadOnly, StoreFull, StoreUnavailable, StoreBusy: it cannot be written there.
    """
    if place.kind == "file":
        _keep_in_file(place, text + b"\n")
    elif place.kind == "store":
        opened = _named(store, place)
        with opened.lock():  # two that found nothing there must not both write
            if opened.read_beside(place.name) is not None:
                raise _taken(place)
            opened.write_beside(place.name, text + b"\n")
    else:
        click.echo(text)
        return f"export it as {place.name}"
    return f"kept {str(place).removeprefix(_WHAT)}"


def _keep_in_file(place: Ciphertext, data: bytes) -> None:
    path = Path(place.name)
    new = path.with_name(f".keyfs-{secrets.token_hex(8)}")
    with translated(f"write {path}"):
        try:
            write_new(new, data, _MODE, time.time_ns(), None)
            publish(new, path, data)
        except FileExistsError:
            raise _taken(place) from None
        finally:
            new.unlink(missing_ok=True)
        sync_directory(path.parent)


def _taken(place: Ciphertext) -> KeyExists:
    return KeyExists(f"{place} is there already, and is left as it is: move it away, or name another place")


def _named(store: Store | None, place: Ciphertext) -> Store:
    if store is None:
        raise InvalidSettings(f"{place} needs --store URI: beside which one?")
    return store
