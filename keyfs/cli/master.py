"""`keyfs master-key`: making master keys, having them wrapped, and trying what is wrapped."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import click

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.cli.keeping import check_free, keep
from keyfs.cli.options import config_option, master_key_option, store_option
from keyfs.custody import raise_guards
from keyfs.errors import InvalidSettings
from keyfs.master.apart import provider_of
from keyfs.master.base import MasterKey
from keyfs.master.generate import generate as new_text
from keyfs.master.registry import ciphertext_of, is_per_client, open_key, split_uris
from keyfs.master.wrapping import new_key, refuse_wrapped
from keyfs.master.wrapping import wrap as wrap_and_prove
from keyfs.master_keys import FETCH_WITHIN_S
from keyfs.store.base import Store

_NO_MASTER_KEY: Final = (
    "awskms-per-client: has a key for each client and no master key; with --store it is tried there"
)

layout_option = click.option(
    "--layout",
    envvar="KEYFS_LAYOUT",
    type=click.Choice(["v1", "v2"]),
    help="For which layout: that of --store, else v1.",
)
create_option = click.option(
    "--create", envvar="KEYFS_CREATE", is_flag=True, help="Make the wrapping key first, if it is not there."
)


@click.group("master-key", short_help="Make, wrap and try a master key.")
def master_key() -> None:
    """Make a master key, have it wrapped, see that it opens.

    A wrapping key is awskms:…, vault-transit:… or pkcs11:…. Its option from= says where the wrapped master
    key is kept: env:NAME (it is printed), file:PATH, or store[:NAME] for beside the key store.
    """


@master_key.command(short_help="Make a new master key.")
@config_option
@store_option
@layout_option
@click.option(
    "--wrap", envvar="KEYFS_WRAP", metavar="URI", help="Wrap it by this key, and print no plain one."
)
@create_option
def generate(*, store: str | None, layout: str | None, wrap: str | None, create: bool) -> None:
    """Print a new master key as ACRA_MASTER_KEY holds it. Nothing else keeps it: store it well.

    With --wrap nobody sees it: only what the wrapping key makes of it is kept, once that was seen to open.
    """
    if wrap is not None:
        with _opened(store if ciphertext_of(wrap).kind == "store" else None) as opened:
            _wrap(wrap, opened, lambda: (new_key(_layout(opened, layout)), ""), create=create)
    elif create:
        raise InvalidSettings("--create makes the key that --wrap names: give --wrap URI, too")
    else:
        click.echo(new_text(layout or "v1"))


@master_key.command("wrap", short_help="Wrap a master key that is there.")
@config_option
@store_option
@master_key_option
@layout_option
@click.option("--wrap", envvar="KEYFS_WRAP", metavar="URI", required=True, help="Wrap it by this key.")
@create_option
def wrap_existing(*, store: str | None, master_key: str, layout: str | None, wrap: str, create: bool) -> None:
    """Wrap the master key that --master-key names by another key. What it opens stays as it is.

    Keep the plain one until every mount and every Acra uses the wrapped one.
    """
    with _opened(store) as opened:

        def fetched() -> tuple[MasterKey, str]:
            if is_per_client(master_key):
                raise InvalidSettings(_NO_MASTER_KEY)
            if len(split_uris(master_key)) > 1:
                raise InvalidSettings("one master key is wrapped at a time: --master-key names several")
            return _fetch(master_key, opened, layout)

        _wrap(wrap, opened, fetched, create=create)


@master_key.command("unwrap-check", short_help="Does a master key open?")
@config_option
@store_option
@master_key_option
@layout_option
def unwrap_check(*, store: str | None, master_key: str, layout: str | None) -> None:
    """Fetch a master key, and with --store see that it opens that key store. Prints nothing of it."""
    raise_guards()
    uris = [uri for uri in split_uris(master_key) if not is_per_client(uri)]
    with _opened(store) as opened:
        lines = [_what_opens(uri, opened, layout) for uri in uris]
    if store:
        lines.append(_how_store_opens(store, master_key))
    if not lines:
        raise InvalidSettings(_NO_MASTER_KEY)
    for line in lines:
        click.echo(line, err=True)


def _wrap(
    uri: str, store: Store | None, key_of: Callable[[], tuple[MasterKey, str]], *, create: bool
) -> None:
    """Wrap the key that *key_of* gives, by the one that *uri* names, and keep that where *uri* says.

    Whatever can be refused is, before anything is made anywhere. With the key comes where it is from.
    """
    raise_guards()
    wrapping_key = open_key(uri)
    place = ciphertext_of(uri)
    check_free(place, store)
    key, source = key_of()
    try:
        refuse_wrapped(wrapping_key, key, source)
        if create:
            click.echo(wrapping_key.create(), err=True)
        text = wrap_and_prove(wrapping_key, key)
    finally:
        key.wipe()
    done = keep(place, text, store)
    click.echo(f"wrapped by {wrapping_key.describe()}, and it opens: {done}", err=True)


def _what_opens(uri: str, store: Store | None, layout: str | None) -> str:
    key, described = _fetch(uri, store, layout)
    sizes = [len(half) for half in (key.encryption, key.signature) if half is not None]
    key.wipe()
    return f"opens: a v{len(sizes)} master key of {' and '.join(map(str, sizes))} bytes, {described}"


def _fetch(uri: str, store: Store | None, layout: str | None) -> tuple[MasterKey, str]:
    """The master key at *uri*, and what its provider says it is."""
    read_beside = None if store is None else store.read_beside
    provider = provider_of(uri, _layout(store, layout), read_beside, FETCH_WITHIN_S)
    key = provider.fetch()
    for line in key.warnings:
        click.echo(f"warning: {line}", err=True)
    return key, provider.describe()


def _layout(store: Store | None, asked: str | None) -> str:
    """The layout of *store*, else the one that was asked for.

    Raises:
        InvalidSettings: they differ.
    """
    if store is None:
        return asked or "v1"
    found = app.layout_of(store)
    if asked not in (None, found):
        raise InvalidSettings(f"{store.describe()} has layout {found}, not {asked}: leave --layout away")
    return found


def _how_store_opens(uri: str, master_key: str) -> str:
    """What can be said of a key store that the master keys open.

    Raises:
        MasterKeyWrong: they do not.
    """
    keys, _ = app.open_keys(app.Access(uri, master_key))
    with closing(keys):
        keys.load()
        verify_master_key(keys)
        return f"{'opens:' if _has_sealed(keys) else 'nothing is sealed yet in'} {keys.store.describe()}"


def _has_sealed(keys: KeyStore) -> bool:
    secrets = (ring.current and ring.current.secret for ring in keys.rings())
    return any(secret and secret.is_sealed for secret in secrets)


@contextmanager
def _opened(uri: str | None) -> Iterator[Store | None]:
    if not uri:
        yield None
        return
    with closing(app.open_store(uri)) as store:
        yield store
