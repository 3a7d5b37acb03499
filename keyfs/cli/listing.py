"""`keyfs list`: the inventory, for people and for programs."""

import sys
from collections.abc import Collection, Sequence
from contextlib import closing
from typing import Final

import click

from keyfs.broker.inventory import inventory
from keyfs.cli.options import Invocation, json_option, opens_key_store, rotation_source, tell_left_out
from keyfs.core.durations import age_s
from keyfs.core.inventory import Row, as_csv
from keyfs.core.inventory import as_json as inventory_json
from keyfs.core.inventory import as_tsv as inventory_tsv
from keyfs.core.names import parse_key_ref, parse_purpose
from keyfs.core.purposes import Purpose
from keyfs.core.rotation import RotationPolicy, RotationRule, is_due
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import InvalidSettings, KeyNotFound

BY_SCHEDULE: Final = "schedule"


@click.command("list", short_help="Show the keys there are.")
@opens_key_store
@click.option("--versions", envvar="KEYFS_VERSIONS", is_flag=True, help="Retired versions, too.")
@click.option(
    "--overdue",
    envvar="KEYFS_OVERDUE",
    metavar="[TIME]",
    is_flag=False,
    flag_value=BY_SCHEDULE,
    help="Only keys that are older, or of unknown age: 90d; without TIME, than [rotation] wants them.",
)
@json_option
@click.option("--csv", "as_csv_table", envvar="KEYFS_CSV", is_flag=True, help="For spreadsheets.")
@click.argument("key", metavar="[PURPOSE[/CLIENT]]", required=False)
def list_keys(
    invocation: Invocation,
    *,
    versions: bool,
    overdue: str | None,
    as_json: bool,
    as_csv_table: bool,
    key: str | None,
) -> None:
    """Show the keys there are. Opens no seal and needs no master key (except with --legacy).

    In layout v2 the signatures of the keys are checked if the master key can be had.
    """
    if as_json and as_csv_table:
        raise InvalidSettings("--json and --csv are two forms: drop one")
    try:
        policy = None if overdue is None else overdue_policy(overdue)
    except InvalidSettings as exc:
        if key is not None or overdue == BY_SCHEDULE:
            raise
        raise InvalidSettings(f"{exc}; without a time, --overdue comes last") from exc  # `--overdue storage`
    keys, _ = invocation.open(without_key=not invocation.access.legacy)
    with closing(keys):
        rows = _chosen(inventory(keys, with_history=versions), key, invocation.access.purposes)
        if policy is not None:
            rows = _overdue(rows, policy, keys.store.now_ns())
        tell_left_out(keys)
    click.echo(as_csv(rows) if as_csv_table else _rendered(rows, as_json=as_json), nl=False)


def overdue_policy(text: str) -> RotationPolicy:
    """What is overdue: all that is older than a time, or what the configuration file says.

    Raises:
        InvalidSettings: it is no time; or the file has no schedule.
    """
    if text != BY_SCHEDULE:
        every_ns = int(age_s(text, "--overdue: ")) * NANOSECONDS
        return RotationPolicy(RotationRule(every_ns=every_ns))
    policy = rotation_source()()
    if not policy.rotates:
        raise InvalidSettings("nothing says what is overdue: give --overdue 90d, or every in [rotation]")
    return policy


def _overdue(rows: list[Row], policy: RotationPolicy, now_ns: int) -> list[Row]:
    """All rows of the keys whose current version is too old."""
    late = {(row.purpose, row.client) for row in rows if row.current and _is_late(row, policy, now_ns)}
    return [row for row in rows if (row.purpose, row.client) in late]


def _is_late(row: Row, policy: RotationPolicy, now_ns: int) -> bool:
    every_ns = policy.rule(row.purpose).every_ns
    return every_ns is not None and is_due(row.created_ns, every_ns, now_ns)


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


def _rendered(rows: Sequence[Row], *, as_json: bool) -> str:
    if as_json:
        return inventory_json(rows)
    return _table(rows) if sys.stdout.isatty() else inventory_tsv(rows)


def _table(rows: Sequence[Row]) -> str:
    from rich.console import Console  # noqa: PLC0415 - only for people at a terminal
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False)
    # A version that is cut off is of no use: it is what `keyfs read` and `destroy` want to be told.
    width = max((len(row.version) for row in rows), default=None)
    for heading in ("purpose", "client", "version", "half", "bytes", "since", "state"):
        table.add_column(
            heading,
            justify="right" if heading == "bytes" else "left",
            min_width=width if heading == "version" else None,
        )
    for row in rows:
        table.add_row(*_cells(row), style="bold" if row.current else "dim")
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _cells(row: Row) -> tuple[str, ...]:
    """What people are shown of a row."""
    half = "public" if row.public else "secret"
    state = row.state if row.destroy_at is None else f"{row.state}, destroyed {_moment(row.destroy_at)}"
    since = _moment(row.created or "unknown")
    return row.purpose, row.client or "@global", row.version, half, str(row.size), since, state


def _moment(stamp: str) -> str:
    return stamp[:19].replace("T", " ")
