"""init, generate, read: what happens to single keys."""

import sys
from pathlib import Path

import click

from keyfs import app
from keyfs.broker.before_sealing import demand_right_key
from keyfs.cli.options import Invocation, config_option, opens_key_store, required_store, store_option
from keyfs.core.names import CURRENT, Half, parse_key_ref, parse_version_path
from keyfs.core.staging import SIZE_LIMIT
from keyfs.core.tree import parse_key_label
from keyfs.errors import InvalidSettings, MasterKeyUnavailable

_STDIN = "-"


@click.command(short_help="Make a new, empty key store.")
@config_option
@store_option
@click.option(
    "--layout",
    envvar="KEYFS_LAYOUT",
    type=click.Choice(["v1", "v2"]),
    default="v1",
    show_default=True,
    help="Its layout.",
)
def init(store: str | None, layout: str) -> None:
    """Make a new, empty key store. Refuses a place that is not empty."""
    made = app.init_store(required_store(store), layout)
    click.echo(f"made {made}: add keys with keyfs generate", err=True)


from_file_option = click.option(
    "--from-file",
    envvar="KEYFS_FROM_FILE",
    metavar="FILE",
    help="Take the key from a file, or from stdin (-).",
)


@click.command(short_help="Make the first version of a key.")
@opens_key_store
@from_file_option
@click.argument("key", metavar="PURPOSE[/CLIENT]")
def generate(invocation: Invocation, *, from_file: str | None, key: str) -> None:
    """Make the first version of a key. Refuses if there is one."""
    make_version(invocation, key, from_file, must_exist=False)


@click.command(short_help="Write a key's bytes to stdout.")
@opens_key_store
@click.option("--public", envvar="KEYFS_PUBLIC", is_flag=True, help="The public half of a key pair.")
@click.option(
    "--despite-state",
    envvar="KEYFS_DESPITE_STATE",
    is_flag=True,
    help="Also what is suspended or compromised, to save what was protected with it.",
)
@click.argument("key", metavar="PURPOSE[/CLIENT][/VERSION]")
def read(invocation: Invocation, *, public: bool, despite_state: bool, key: str) -> None:
    """Write a key's bytes to stdout, without a newline."""
    ref, label = parse_version_path(key, invocation.access.purposes)
    version, half = parse_key_label(label)
    half = Half.PUBLIC if public else half
    try:
        keys, _ = invocation.open()
    except MasterKeyUnavailable:
        if half is not Half.PUBLIC:
            raise
        keys, _ = invocation.open(without_key=True)
    if not despite_state:
        keys.states.demand(ref, version)
    opened, _ = keys.read(ref, version, half)
    sys.stdout.buffer.write(opened.material.view())
    sys.stdout.buffer.flush()
    keys.close()


def make_version(invocation: Invocation, key: str, from_file: str | None, *, must_exist: bool) -> None:
    """Make the first or the next version of a key, generated or from a file.

    Raises:
        KeyfsError: as `demand_right_key`, `RingWriter.generate`, `rotate` and `import_material`.
        InvalidSettings: no such file.
    """
    ref = parse_key_ref(key, invocation.access.purposes)
    keys, writer = invocation.open()
    demand_right_key(keys, ref)
    if from_file is not None:
        writer.import_material(ref, _material(from_file), must_exist=must_exist)
    elif must_exist:
        writer.rotate(ref)
    else:
        writer.generate(ref)
    keys.close()
    click.echo(f"{ref}/{CURRENT}", err=True)


def _material(source: str) -> bytes:
    """At most a little more than any key and a newline, so that a wrong file is refused and not loaded."""
    try:
        if source == _STDIN:
            return sys.stdin.buffer.read(SIZE_LIMIT + 2)
        with Path(source).open("rb") as file:
            return file.read(SIZE_LIMIT + 2)
    except OSError as exc:
        raise InvalidSettings(f"cannot read {source}: {exc.strerror}") from exc
