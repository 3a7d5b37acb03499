"""`keyfs master-key`: making master keys, having them wrapped, and trying what is wrapped."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import click

from keyfs import app
from keyfs.broker.check import verify_master_key
from keyfs.broker.keystore import KeyStore
from keyfs.cli.keeping import check_free, keep
from keyfs.cli.options import config_option, master_key_option, store_option
from keyfs.custody import raise_guards
from keyfs.errors import InvalidSettings, KeyNotFound
from keyfs.layout.detect import MARKER, layout_name
from keyfs.master import apart
from keyfs.master.base import MasterKey
from keyfs.master.generate import generate as new_text
from keyfs.master.registry import ciphertext_of, is_per_client, open_key
from keyfs.master.wrapping import new_key, refuse_wrapped
from keyfs.master.wrapping import wrap as wrap_and_prove
from keyfs.store.base import Store

FETCH_WITHIN_S: Final = 40.0  # longer than a program or a KMS that does not answer is waited for

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
            _wrap(wrap, opened, lambda: new_key(_layout(opened, layout)), create=create)
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

        def fetched() -> MasterKey:
            key = _fetch(master_key, opened, layout)
            refuse_wrapped(open_key(wrap), key, master_key)
            return key

        _wrap(wrap, opened, fetched, create=create)


@master_key.command("unwrap-check", short_help="Does a master key open?")
@config_option
@store_option
@master_key_option
@layout_option
def unwrap_check(*, store: str | None, master_key: str, layout: str | None) -> None:
    """Fetch a master key, and with --store see that it opens that key store. Prints nothing of it."""
    raise_guards()
    with _opened(store) as opened:
        key = _fetch(master_key, opened, layout)
    sizes = [len(half) for half in (key.encryption, key.signature) if half is not None]
    key.wipe()
    found = f"a v{len(sizes)} master key of {' and '.join(map(str, sizes))} bytes"
    click.echo(f"opens: {found}{_opens_store(store, master_key) if store else ''}", err=True)


def _wrap(uri: str, store: Store | None, key_of: Callable[[], MasterKey], *, create: bool) -> None:
    """Wrap the key that *key_of* gives, by the one that *uri* names, and keep that where *uri* says.

    Whatever can be refused is, before anything is made anywhere.
    """
    raise_guards()
    wrapping_key = open_key(uri)
    place = ciphertext_of(uri)
    check_free(place, store)
    key = key_of()
    try:
        if create:
            click.echo(wrapping_key.create(), err=True)
        text = wrap_and_prove(wrapping_key, key)
    finally:
        key.wipe()
    done = keep(place, text, store)
    click.echo(f"wrapped by {wrapping_key.describe()}, and it opens: {done}", err=True)


def _fetch(uri: str, store: Store | None, layout: str | None) -> MasterKey:
    if is_per_client(uri):
        raise InvalidSettings(
            "awskms-per-client: has a key for each client and no master key; keyfs check tells what they open"
        )
    read_beside = None if store is None else store.read_beside
    key = apart.fetch(uri, _layout(store, layout), read_beside, FETCH_WITHIN_S)
    for line in key.warnings:
        click.echo(f"warning: {line}", err=True)
    return key


def _layout(store: Store | None, asked: str | None) -> str:
    """The layout of *store*, else the one that was asked for.

    Raises:
        InvalidSettings: they differ.
    """
    if store is None:
        return asked or "v1"
    try:
        found = layout_name(store.get(MARKER).data)
    except KeyNotFound:
        found = layout_name(None)
    if asked not in (None, found):
        raise InvalidSettings(f"{store.describe()} has layout {found}, not {asked}: leave --layout away")
    return found


def _opens_store(uri: str, master_key: str) -> str:
    """What can be said of a key store that the master key opens, as the end of a line.

    Raises:
        MasterKeyWrong: it does not.
    """
    keys, _ = app.open_keys(app.Access(uri, master_key))
    with closing(keys):
        keys.load()
        verify_master_key(keys)
        verdict = "it opens" if _has_sealed(keys) else "nothing is sealed yet in"
        return f"; {verdict} {keys.store.describe()}"


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
