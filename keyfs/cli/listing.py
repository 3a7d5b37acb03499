"""`keyfs list`: the inventory, for people and for programs."""

import sys
from collections.abc import Collection, Iterable
from typing import Final

import click

from keyfs.broker.tree import inventory
from keyfs.cli.options import Invocation, json_option, opens_key_store
from keyfs.core.inventory import Row
from keyfs.core.inventory import as_json as inventory_json
from keyfs.core.inventory import as_tsv as inventory_tsv
from keyfs.core.names import parse_key_ref, parse_purpose
from keyfs.core.purposes import Purpose
from keyfs.errors import KeyNotFound

STAMP_WIDTH: Final = 29


@click.command("list", short_help="Show the keys there are.")
@opens_key_store
@click.option("--versions", envvar="KEYFS_VERSIONS", is_flag=True, help="Retired versions, too.")
@json_option
@click.argument("key", metavar="[PURPOSE[/CLIENT]]", required=False)
def list_keys(invocation: Invocation, *, versions: bool, as_json: bool, key: str | None) -> None:
    """Show the keys there are. Opens no seal and needs no master key (except with --legacy).

    In layout v2 the signatures of the keys are checked if the master key can be had.
    """
    keys, _ = invocation.open(without_key=not invocation.access.legacy)
    rows = _chosen(inventory(keys, with_history=versions), key, invocation.access.purposes)
    for name, reason in sorted(keys.index.strays.items()):
        if keys.layout.ring_named(name) is not None:
            click.echo(f"left out {name}: {reason}", err=True)
    keys.close()
    click.echo(_rendered(rows, as_json=as_json), nl=False)


def _chosen(rows: list[Row], key: str | None, known: Collection[Purpose]) -> list[Row]:
    if key is None:
        return rows
    purpose, slash, _ = key.partition("/")
    if not slash:
        return [row for row in rows if row.purpose == parse_purpose(purpose, known).name]
    ref = parse_key_ref(key, known)
    found = [row for row in rows if row.purpose == ref.purpose.name and row.client == ref.client]
    if not found:
        raise KeyNotFound(f"no key {ref}")
    return found


def _rendered(rows: Iterable[Row], *, as_json: bool) -> str:
    if as_json:
        return inventory_json(rows)
    return _table(rows) if sys.stdout.isatty() else inventory_tsv(rows)


def _table(rows: Iterable[Row]) -> str:
    from rich.console import Console  # noqa: PLC0415 - only for people at a terminal
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False)
    for heading in ("purpose", "client", "version", "half", "bytes", "since"):
        # A version that is cut off is of no use: it is what `keyfs read` and `destroy` want to be told.
        width = STAMP_WIDTH if heading == "version" else None
        table.add_column(heading, justify="right" if heading == "bytes" else "left", min_width=width)
    for row in rows:
        half = "public" if row.public else "secret"
        style = "bold" if row.current else "dim"
        since = (row.created or "unknown")[:19].replace("T", " ")
        table.add_row(
            row.purpose, row.client or "@global", row.version, half, str(row.size), since, style=style
        )
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()
