"""`keyfs verify`: is a backup one that can be restored? Nothing is restored for it."""

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from keyfs.broker.bundle_check import Fault, check_bundle, compare
from keyfs.broker.exporting import as_bundle, gather
from keyfs.cli.bundle_files import lock_options, open_bundle_file
from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import json_option
from keyfs.cli.progress import progress_bar
from keyfs.cli.whole import WholeStore, opens_whole_store
from keyfs.core.bundles import Bundle
from keyfs.core.stamps import rfc3339

_compared_option = click.option(
    "--store",
    envvar="KEYFS_STORE",
    metavar="URI",
    help="Compare with this key store, too. Only the option asks for that, not what is set elsewhere.",
)


@click.command(short_help="Can this bundle be restored?")
@opens_whole_store(_compared_option)
@lock_options
@json_option
@click.argument("bundle", metavar="BUNDLE")
def verify(
    whole: WholeStore,
    *,
    bundle: str,
    key_file: str | None,
    passphrase_from: str | None,
    as_json: bool,
) -> int:
    """Open a bundle, of keyfs or of Acra, and prove every key in it: its form, and that halves match.

    Exit 1 if something is wrong; with --store also if that has a version that the bundle has not.
    """
    form, backup = open_bundle_file(Path(bundle), key_file, passphrase_from)
    with progress_bar("proving keys") as progress:
        faults = check_bundle(backup, progress)
    is_asked = click.get_current_context().get_parameter_source("store") is ParameterSource.COMMANDLINE
    # What is broken cannot be compared.
    if is_asked and not faults:
        faults += _compared(backup, whole)
    _tell({"format": form.value, **_facts(backup)}, faults, as_json=as_json)
    backup.wipe()
    return OK if all(fault.is_note for fault in faults) else FINDINGS


def _compared(backup: Bundle, whole: WholeStore) -> list[Fault]:
    """How it differs from a key store, all of which is looked at."""
    keys, _ = whole.open()
    with closing(keys), progress_bar("comparing keys") as progress:
        gathered = gather(keys, progress=progress)
        there = as_bundle(keys, gathered)
    faults = [Fault("unreadable", path, str(error)) for path, error in gathered.failures().items()]
    faults += compare(backup, there)
    there.wipe()
    return faults


def _facts(backup: Bundle) -> dict[str, Any]:
    counts = dict(zip(("keys", "versions", "halves"), backup.count(), strict=True))
    made = None if backup.made_ns is None else rfc3339(backup.made_ns)
    return {"layout": backup.layout, "made": made, **counts}


def _tell(facts: dict[str, Any], faults: list[Fault], *, as_json: bool) -> None:
    is_good = all(fault.is_note for fault in faults)
    if as_json:
        found = [asdict(fault) for fault in faults]
        click.echo(json.dumps({**facts, "findings": found, "restorable": is_good}, indent=2))
    else:
        for fault in faults:
            verdict = "note" if fault.is_note else "fault"
            click.echo(f"{verdict}\t{fault.code}\t{fault.where}\t{fault.message}")
    made = f", made {facts['made']}" if facts["made"] else ""
    verdict = "can be restored" if is_good else f"{sum(not fault.is_note for fault in faults)} faults"
    click.echo(
        f"{facts['format']} bundle{made}: {facts['keys']} keys, {facts['versions']} versions: {verdict}",
        err=True,
    )
