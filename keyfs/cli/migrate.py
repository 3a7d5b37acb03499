"""`keyfs migrate`: a key store into another one, of another layout too."""

import json
import logging
from contextlib import closing
from dataclasses import replace
from typing import Any

import click

from keyfs import app
from keyfs.broker.audit import leave_trace
from keyfs.broker.import_plan import OnConflict
from keyfs.broker.importing import Target
from keyfs.broker.keystore import KeyStore
from keyfs.broker.migrating import MigrationReport, migrate, verify
from keyfs.cli.exitcodes import EXIT_CODES, OK
from keyfs.cli.importing import as_rows, version_table
from keyfs.cli.options import json_option
from keyfs.cli.progress import progress_bar
from keyfs.cli.whole import WholeStore, opens_whole_store
from keyfs.errors import InvalidSettings
from keyfs.layout.differences import NOTES
from keyfs.logs import event

_log = logging.getLogger(__name__)


@click.command("migrate", short_help="Bring a key store into another layout or place.")
@opens_whole_store(click.argument("store", metavar="SRC-URI"))
@click.option(
    "--target-master-key",
    envvar="KEYFS_TARGET_MASTER_KEY",
    metavar="URI[,URI…]",
    help="Where the target's master key is; that of the source by default.",
)
@click.option("--dry-run", envvar="KEYFS_DRY_RUN", is_flag=True, help="Only show. Writes nothing.")
@json_option
@click.argument("target", metavar="DST-URI")
def migrate_keys(
    whole: WholeStore, *, target: str, target_master_key: str | None, dry_run: bool, as_json: bool
) -> int:
    """Bring every key with its history from one key store into another one, of whatever layout.

    Nothing of the source is changed. Can be stopped and run again; a different key at the destination is
    never overwritten. Then every version is read from both and compared. What the other layout cannot say is
    told. The destination has to be made first, with keyfs init.
    """
    here, _ = whole.open()
    with closing(here):
        if not target_master_key:
            _demand_same_form(here.layout.name, app.layout_at(target))
        elsewhere = replace(whole, store=target, master_key=target_master_key or whole.master_key)
        report = _migrated(here, elsewhere, dry_run=dry_run)
        facts = {"source": here.store.describe(), "layout": here.layout.name, "dry_run": dry_run}
    _tell(facts, report, as_json=as_json)
    return next((EXIT_CODES[type(error)] for error in report.failed.values()), OK)


def _demand_same_form(source: str, target: str) -> None:
    """Nothing, if a master key of the source could be one of the target.

    Raises:
        InvalidSettings: it cannot.
    """
    if source != target:
        raise InvalidSettings(
            f"the target has layout {target}, whose master keys are not those of {source}: name its own with "
            "--target-master-key"
        )


def _migrated(here: KeyStore, elsewhere: WholeStore, *, dry_run: bool) -> MigrationReport:
    there, writer = elsewhere.open()
    with closing(there):
        if there.store.describe() == here.store.describe():
            raise InvalidSettings(
                f"{here.store.describe()} cannot be migrated into itself: name another place"
            )
        with progress_bar("migrating keys") as progress:
            report = migrate(here, Target(there, writer, OnConflict.FOLLOW, dry_run), progress)
    if dry_run:
        return report
    there, _ = elsewhere.open()  # anew: nothing that this process remembers counts
    with closing(there):
        with progress_bar("comparing keys") as progress:
            verify(here, there, report, progress)
        _leave_trace(there, here, report)
    return report


def _leave_trace(there: KeyStore, here: KeyStore, report: MigrationReport) -> None:
    facts: dict[str, Any] = {
        "source": here.store.describe(),
        "failed": len(report.failed),
        **report.counts(),
    }
    event(_log, logging.INFO, "migration.ended", store=there.store.describe(), **facts)
    leave_trace(there.store, "migrate", **facts)


def _tell(facts: dict[str, Any], report: MigrationReport, *, as_json: bool) -> None:
    rows = [row for _, found in sorted(report.rows.items(), key=lambda item: str(item[0])) for row in found]
    verified = dict(zip(("keys", "versions", "halves"), report.verified, strict=True))
    if as_json:
        whole = {
            **facts,
            "versions": as_rows(rows),
            "counts": report.counts(),
            "noted_beside": report.said,
            "verified": verified,
            "notes": {
                code: {"message": NOTES[code], "of": paths} for code, paths in sorted(report.notes.items())
            },
            "failed": {str(ref): str(error) for ref, error in report.failed.items()},
            "left_out": report.left_out,
        }
        click.echo(json.dumps(whole, indent=2))
    elif facts["dry_run"]:
        click.echo(version_table(rows), nl=False)
    for name, reason in sorted(report.left_out.items()):
        click.echo(f"left out {name}: {reason}", err=True)
    for code, paths in sorted(report.notes.items()):
        click.echo(f"note {code}, {len(paths)} (first: {paths[0]}): {NOTES[code]}", err=True)
    for ref, error in sorted(report.failed.items(), key=lambda item: str(item[0])):
        click.echo(f"not migrated {ref}: {str(error).removeprefix(f'{ref}: ')}", err=True)
    counts = ", ".join(f"{count} {name}" for name, count in report.counts().items() if count) or "nothing"
    if facts["dry_run"]:
        click.echo(f"would be: {counts}", err=True)
    else:
        read = "{versions} versions of {keys} keys read back and compared".format(**verified)
        click.echo(f"versions: {counts}; {read}", err=True)
