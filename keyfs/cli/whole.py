"""A whole key store, for whoever must not miss a key of it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyfs import app, logs
from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.broker.writer import RingWriter
from keyfs.cli.options import (
    config_option,
    log_level_option,
    master_key_option,
    own_purposes,
    required_store,
    store_option,
    wait_option,
)
from keyfs.custody import raise_guards


@dataclass(frozen=True, slots=True)
class WholeStore:
    """Which key store, and how it is opened."""

    store: str | None
    master_key: str
    wait_s: float

    def open(self) -> tuple[KeyStore, RingWriter]:
        """The listed key store and its writer: with legacy keys and own ones, declared or not.

        Raises:
            KeyfsError: as `keyfs.app.open_keys` and `verify_master_key`.
        """
        store, own = required_store(self.store), own_purposes()
        access = app.Access(store, self.master_key, legacy=True, wait_s=self.wait_s, own=own, undeclared=True)
        keys, writer = app.open_keys(access)
        keys.load()
        verify_master_key(keys)
        return keys, writer


_Command = Callable[..., Any]


def opens_whole_store(which: Callable[[_Command], _Command] = store_option) -> Callable[[_Command], _Command]:
    """The options of a command that sees a whole key store and holds keys of it, as one `WholeStore`.

    Args:
        which: the option that names it.
    """

    def decorated(command: _Command) -> _Command:
        @functools.wraps(command)
        def invoked(
            *, store: str | None, master_key: str, wait: float, log_level: str, **others: object
        ) -> object:
            logs.configure(log_level, "stderr")
            raise_guards()
            return command(WholeStore(store, master_key, wait), **others)

        wrapped: _Command = invoked
        for option in (log_level_option, wait_option, master_key_option, which, config_option):
            wrapped = option(wrapped)
        return wrapped

    return decorated
