"""Options that several commands share. Flags win over `KEYFS_…`, that over the configuration file."""

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import click
from click.core import ParameterSource

from keyfs import app, logs
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.config import FileSettings, as_defaults, load_or_default
from keyfs.core.durations import seconds
from keyfs.core.purposes import Purpose
from keyfs.core.rotation import RotationPolicy
from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.registry import DEFAULT_URI

_CONFIG: Final = "keyfs.config"
_OWN: Final = "keyfs.own"
LEVELS: Final = ("debug", "info", "warning", "error")


def _load_config(ctx: click.Context, _param: click.Parameter, path: str | None) -> None:
    path = None if path is None else os.path.abspath(path)  # a daemon reads it again, from elsewhere
    settings = load_or_default(path)
    ctx.default_map = as_defaults(settings)
    ctx.meta[_CONFIG] = path
    ctx.meta[_OWN] = settings.own_purposes()


def own_purposes() -> tuple[Purpose, ...]:
    """The purposes that the configuration file of this command declares."""
    purposes: tuple[Purpose, ...] = click.get_current_context().meta[_OWN]
    return purposes


def settings_again(ctx: click.Context) -> tuple[Callable[[], FileSettings], str | None]:
    """What reads the configuration file again, and the path that was given for it."""
    path = ctx.meta[_CONFIG]
    return lambda: load_or_default(path), path


def rotation_source() -> Callable[[], RotationPolicy]:
    """What reads the rotation policy from the configuration file, each time anew."""
    settings, _ = settings_again(click.get_current_context())
    return lambda: settings().rotation_policy()


def _master_key_again(ctx: click.Context) -> Callable[[], str] | None:
    """What reads the master keys' URIs from the configuration file again; None where they stand elsewhere."""
    if ctx.get_parameter_source("master_key") is not ParameterSource.DEFAULT_MAP:
        return None
    settings, _ = settings_again(ctx)
    return lambda: settings().master_key or DEFAULT_URI


config_option = click.option(
    "--config",
    envvar="KEYFS_CONFIG",
    metavar="PATH",
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="Configuration file (TOML); /etc/keyfs/keyfs.toml when it is there.",
)
store_option = click.option(
    "--store",
    envvar="KEYFS_STORE",
    metavar="URI",
    help="Key store: dir:PATH, redis://HOST, …; dir:PATH?public=PATH when public keys are kept apart.",
)
master_key_option = click.option(
    "--master-key",
    envvar="KEYFS_MASTER_KEY",
    metavar="URI[,URI…]",
    default=DEFAULT_URI,
    show_default=True,
    help="Where the master key is: env:NAME, file:PATH, awskms:KEY, …; of several, the first seals.",
)
wait_option = click.option(
    "--wait",
    envvar="KEYFS_WAIT",
    metavar="TIME",
    default="0",
    show_default=True,
    callback=lambda _ctx, _param, text: seconds(text),
    help="How long to wait for a KMS or Vault that does not answer yet: 30s, 5m.",
)
legacy_option = click.option(
    "--legacy", envvar="KEYFS_LEGACY", is_flag=True, help="Show keys of programs that Acra no longer ships."
)
log_level_option = click.option(
    "--log-level",
    envvar="KEYFS_LOG_LEVEL",
    default="warning",
    show_default=True,
    type=click.Choice(LEVELS, case_sensitive=False),
    help="How much to say on stderr.",
)
json_option = click.option("--json", "as_json", envvar="KEYFS_JSON", is_flag=True, help="For programs.")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every command that opens a key store is told."""

    access: app.Access
    log_level: str

    def open(self, *, without_key: bool = False) -> tuple[KeyStore, RingWriter]:
        """The listed key store and its writer.

        Args:
            without_key: do not fetch the master key; enough for listing. In layout v2, where it verifies what
                is listed, it is fetched if it can be.

        Raises:
            KeyfsError: as `keyfs.app.open_keys`.
        """
        keys, writer = self._opened_without() if without_key else app.open_keys(self.access)
        keys.load()
        return keys, writer

    def _opened_without(self) -> tuple[KeyStore, RingWriter]:
        keys, writer = app.open_keys(replace(self.access, master_key=None))
        if keys.layout.name == "v2":
            with suppress(MasterKeyUnavailable):
                verifying = app.open_keys(self.access)
                keys.close()
                return verifying
        return keys, writer


def opens_key_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that opens a key store; it gets them as one `Invocation`."""

    @functools.wraps(command)
    def invoked(
        *, store: str | None, master_key: str, legacy: bool, wait: float, log_level: str, **others: object
    ) -> object:
        logs.configure(log_level, "stderr")
        again = _master_key_again(click.get_current_context())
        access = app.Access(required_store(store), master_key, legacy, wait, reread=again, own=own_purposes())
        return command(Invocation(access, log_level), **others)

    wrapped: Callable[..., Any] = invoked
    for option in (
        log_level_option,
        legacy_option,
        wait_option,
        master_key_option,
        store_option,
        config_option,
    ):
        wrapped = option(wrapped)
    return wrapped


def tell_left_out(keys: KeyStore) -> None:
    """Say which keys are not seen, because their rings do not verify."""
    for name, reason in sorted(keys.index.strays.items()):
        if keys.layout.ring_named(name) is not None:
            click.echo(f"left out {name}: {reason}", err=True)


def required_store(store: str | None) -> str:
    """The store that was named.

    Raises:
        InvalidSettings: none was.
    """
    if not store:
        raise InvalidSettings("no key store named: give --store PATH, or set KEYFS_STORE")
    return store
