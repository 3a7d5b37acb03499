"""`keyfs import`: a backup into a key store."""

import json
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click

from keyfs.broker.audit import leave_trace
from keyfs.broker.import_plan import Action, OnConflict
from keyfs.broker.importing import ImportReport, Row, Target, import_bundle
from keyfs.broker.keystore import KeyStore
from keyfs.cli.bundle_files import bundle_option, lock_options, open_bundle_file
from keyfs.cli.exitcodes import EXIT_CODES, OK
from keyfs.cli.options import json_option
from keyfs.cli.progress import progress_bar
from keyfs.cli.whole import WholeStore, opens_whole_store
from keyfs.core.bundles import Bundle
from keyfs.logs import event
from keyfs.seal.bundles import Format

_log = logging.getLogger(__name__)
_COLUMNS: Final = ("purpose", "client", "version", "action", "there", "reason")
_STYLES: Final = {Action.EQUAL: "dim", Action.SKIP: "dim", Action.CONFLICT: "red", Action.REFUSED: "red"}


@click.command("import", short_help="Restore keys from a bundle.")
@opens_whole_store()
@bundle_option
@lock_options
@click.option(
    "--on-conflict",
    envvar="KEYFS_ON_CONFLICT",
    type=click.Choice([policy.value for policy in OnConflict]),
    default=OnConflict.REFUSE.value,
    show_default=True,
    help="Where another key is current: refuse; skip it; follow, if the bundle goes on from it; or make the "
    "bundle's the next version, whatever is there.",
)
@click.option("--dry-run", envvar="KEYFS_DRY_RUN", is_flag=True, help="Only show. Writes nothing.")
@json_option
def import_keys(  # noqa: PLR0913 - as many as there are options
    whole: WholeStore,
    *,
    bundle: str,
    key_file: str | None,
    passphrase_from: str | None,
    on_conflict: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Bring every version of a backup into a key store that has not got it, history and order included.

    Reads bundles of keyfs and of Acra. Can be stopped and run again. What is there already is left as it
    is; a different key in its place is never overwritten.
    """
    form, backup = open_bundle_file(Path(bundle), key_file, passphrase_from)
    keys, writer = whole.open()
    with closing(keys):
        with progress_bar("importing keys") as progress:
            target = Target(keys, writer, OnConflict(on_conflict), dry_run)
            report = import_bundle(backup, target, progress)
        if not dry_run:
            _leave_trace(keys, {"format": form.value, **_counts(report)})
    backup.wipe()
    _tell(form, backup, report, dry_run=dry_run, as_json=as_json)
    return next((EXIT_CODES[type(error)] for error in report.failed.values()), OK)


def _leave_trace(keys: KeyStore, facts: dict[str, Any]) -> None:
    event(_log, logging.INFO, "import.ended", store=keys.store.describe(), **facts)
    leave_trace(keys.store, "import", **facts)


def _counts(report: ImportReport) -> dict[str, int]:
    return {action.value: report.count(action) for action in Action}


def _cells(row: Row) -> tuple[str, ...]:
    return row.ref.purpose.name, row.ref.client_label, row.version, row.action.value, row.there, row.reason


def as_rows(rows: list[Row]) -> list[dict[str, str | None]]:
    """What happened to each version, for programs."""
    return [{**dict(zip(_COLUMNS, _cells(row), strict=True)), "client": row.ref.client} for row in rows]


def _tell(form: Format, backup: Bundle, report: ImportReport, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        errors = {str(ref): str(error) for ref, error in report.failed.items()}
        facts = {
            "format": form.value,
            "dry_run": dry_run,
            "versions": as_rows(report.rows),
            "counts": _counts(report),
        }
        click.echo(json.dumps({**facts, "failed": errors, "left_out": backup.left_out}, indent=2))
    elif dry_run:
        click.echo(version_table(report.rows), nl=False)
    for name, reason in sorted(backup.left_out.items()):
        click.echo(f"left out {name}: {reason}", err=True)
    for ref, error in report.failed.items():
        click.echo(f"not imported {ref}: {error}", err=True)
    counts = {name: count for name, count in _counts(report).items() if count}
    told = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
    click.echo(f"{'would be' if dry_run else 'versions'}: {told}", err=True)


def version_table(rows: list[Row]) -> str:
    """The same for people; in colour at a terminal, with tabs elsewhere."""
    if not sys.stdout.isatty():
        lines = [_COLUMNS, *(_cells(row) for row in rows)]
        return "".join("\t".join(cells) + "\n" for cells in lines)
    from rich.console import Console  # noqa: PLC0415 - only for people at a terminal
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*_cells(row), style=_STYLES.get(row.action, "bold"))
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()
