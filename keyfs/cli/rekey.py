"""`keyfs rekey`: another master key for a whole key store, while it is used."""

import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from keyfs import app, logs
from keyfs.broker.audit import leave_trace
from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.broker.rekey import RekeyReport
from keyfs.broker.rekey import rekey as rekey_store
from keyfs.cli.exitcodes import EXIT_CODES, OK
from keyfs.cli.options import (
    config_option,
    json_option,
    log_level_option,
    own_purposes,
    required_store,
    store_option,
    wait_option,
)
from keyfs.cli.progress import progress_bar
from keyfs.errors import InvalidSettings, KeyfsError
from keyfs.logs import event
from keyfs.master.registry import split_uris

_log = logging.getLogger(__name__)


@click.command(short_help="Change the master key, without stopping.")
@config_option
@store_option
@click.option(
    "--from",
    "old",
    envvar="KEYFS_FROM",
    metavar="URI[,URI…]",
    required=True,
    help="The master key until now.",
)
@click.option(
    "--to", "new", envvar="KEYFS_TO", metavar="URI[,URI…]", required=True, help="The master key from now on."
)
@click.option("--dry-run", envvar="KEYFS_DRY_RUN", is_flag=True, help="Only count. Writes nothing.")
@wait_option
@json_option
@log_level_option
def rekey(
    *,
    old: str,
    new: str,
    dry_run: bool,
    as_json: bool,
    **where: Any,  # noqa: ANN401 - the options that all commands have, named below
) -> int:
    """Seal every version of every key under another master key, or another way of sealing.

    Can be stopped and run again. Every new blob is opened before it takes the old one's place. Give every
    mount --master-key NEW,OLD before, and NEW alone when this has ended with exit code 0.
    """
    logs.configure(where["log_level"], "stderr")
    store = required_store(where["store"])
    # Everything, shown elsewhere or not: what stayed as it is would be lost with the old master key.
    access = app.Access(
        store, _all_of(old, new), legacy=True, wait_s=where["wait"], own=own_purposes(), undeclared=True
    )
    keys, _ = app.open_keys(access)
    with closing(keys):
        keys.load()
        verify_master_key(keys)
        report = RekeyReport()
        with _audited(keys, report, dry_run=dry_run), progress_bar("sealing anew") as progress:
            assert keys.protection is not None  # noqa: S101 - it was opened with master keys
            rekey_store(keys, keys.protection.members[0], report, progress, dry_run=dry_run)
    _tell(report, dry_run=dry_run, as_json=as_json)
    return next((EXIT_CODES[type(error)] for error in report.failed.values()), OK)


def _all_of(old: str, new: str) -> str:
    """The new master key, which seals, and all that open.

    Raises:
        InvalidSettings: they are the same.
    """
    target, *others = [*split_uris(new), *split_uris(old)]
    if set(split_uris(old)) == {target}:
        raise InvalidSettings("--from and --to are the same master key: there is nothing to do")
    return ",".join([target, *(uri for uri in others if uri != target)])


@contextmanager
def _audited(keys: KeyStore, report: RekeyReport, *, dry_run: bool) -> Iterator[None]:
    """Leave a line in the log and one beside the store, however the block ends."""
    outcome = "interrupted"
    try:
        yield
        outcome = "incomplete" if report.failed else "complete"
    except KeyfsError as exc:
        outcome = type(exc).__name__
        raise
    finally:
        if not dry_run:
            _leave_trace(keys, {"outcome": outcome, **_counts(report)})


def _leave_trace(keys: KeyStore, facts: dict[str, Any]) -> None:
    # Not the URIs as they were given: that of a program may hold a secret.
    new, *old = keys.protection.described if keys.protection is not None else ("none",)
    facts = {"from": ",".join(old), "to": new, **facts}
    event(_log, logging.INFO, "rekey.ended", store=keys.store.describe(), **facts)
    leave_trace(keys.store, "rekey", **facts)


def _counts(report: RekeyReport) -> dict[str, int]:
    counts = {"failed": len(report.failed), "left_out": len(report.left_out)}
    return {"rewrapped": report.rewrapped, "already": report.already, "rounds": report.rounds, **counts}


def _tell(report: RekeyReport, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        errors = {name: str(error) for name, error in report.failed.items()}
        facts = {**_counts(report), "failed": errors, "left_out": report.left_out, "dry_run": dry_run}
        click.echo(json.dumps(facts, indent=2))
    for name, reason in report.left_out.items():
        click.echo(f"left out {name}: {reason}", err=True)
    for name, error in report.failed.items():
        click.echo(f"not sealed anew {name}: {error}", err=True)
    done = "would be sealed" if dry_run else "sealed"
    failed = f", {len(report.failed)} failed" if report.failed else ""
    click.echo(f"{report.rewrapped} blobs {done} anew, {report.already} were already{failed}", err=True)
