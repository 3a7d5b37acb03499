"""A whole key store, for whoever must not miss a key of it."""

from typing import Any

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.broker.writer import RingWriter
from keyfs.cli.options import own_purposes, required_store


def open_whole(options: dict[str, Any]) -> tuple[KeyStore, RingWriter]:
    """The listed key store and its writer: with legacy keys and own ones, whether they are declared or not.

    Args:
        options: `store`, `master_key` and `wait`, as commands get them.

    Raises:
        KeyfsError: as `keyfs.app.open_keys` and `verify_master_key`.
    """
    access = app.Access(
        required_store(options["store"]),
        options["master_key"],
        legacy=True,
        wait_s=options["wait"],
        own=own_purposes(),
        undeclared=True,
    )
    keys, writer = app.open_keys(access)
    keys.load()
    verify_master_key(keys)
    return keys, writer
