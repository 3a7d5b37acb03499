"""`keyfs rotate`: the next version of one key, or of all that are too old."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import click

from keyfs.broker.audit import leave_trace
from keyfs.broker.before_sealing import demand_right_key
from keyfs.broker.keystore import KeyStore
from keyfs.broker.rotate_all import Due, RotationReport, find_due, rotate_due
from keyfs.cli.exitcodes import EXIT_CODES, OK
from keyfs.cli.keys import from_file_option, make_version
from keyfs.cli.options import Invocation, json_option, opens_key_store, tell_left_out
from keyfs.cli.progress import progress_bar
from keyfs.core.durations import age_s
from keyfs.core.names import KeyRef, parse_key_ref, parse_purpose
from keyfs.core.purposes import Purpose
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import InvalidSettings

purpose_option = click.option(
    "--purpose",
    "purposes",
    envvar="KEYFS_PURPOSE",
    multiple=True,
    metavar="PURPOSE",
    help="Only keys of this purpose; can be given several times.",
)


@click.command(short_help="Make the next version of a key, or of all old ones.")
@opens_key_store
@from_file_option
@click.option(
    "--older-than",
    envvar="KEYFS_OLDER_THAN",
    metavar="TIME",
    help="Every key whose current version is older, or of unknown age: 90d, 12h.",
)
@purpose_option
@click.option("--dry-run", envvar="KEYFS_DRY_RUN", is_flag=True, help="Only tell. Writes nothing.")
@json_option
@click.argument("key", metavar="[PURPOSE[/CLIENT]]", required=False)
def rotate(  # noqa: PLR0913 - as many as there are options
    invocation: Invocation,
    *,
    from_file: str | None,
    older_than: str | None,
    purposes: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    key: str | None,
) -> int:
    """Make the next version of a key; the one before stays readable under its stamp.

    With --older-than: of every key that is too old, or of KEY if it is. Can be stopped and run again.
    """
    if older_than is None:
        if key is None:
            raise InvalidSettings("name a key, or give --older-than TIME for all that are older")
        if purposes or dry_run or as_json:
            raise InvalidSettings("--purpose, --dry-run and --json go with --older-than TIME")
        make_version(invocation, key, from_file, must_exist=True)
        return OK
    if from_file is not None:
        raise InvalidSettings("--from-file is for one key: drop it, or --older-than")
    wanted = _wanted(invocation, key, purposes)
    every_ns = int(age_s(older_than, "--older-than: ")) * NANOSECONDS
    return _rotate_old(invocation, wanted, every_ns, dry_run=dry_run, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which keys were named: one, those of some purposes, or all."""

    only: KeyRef | None
    purposes: frozenset[Purpose]

    def __call__(self, ref: KeyRef) -> bool:
        if self.only is not None:
            return ref == self.only
        return not self.purposes or ref.purpose in self.purposes


def _wanted(invocation: Invocation, key: str | None, purposes: tuple[str, ...]) -> _Wanted:
    """The keys that the words of the command line name.

    Raises:
        InvalidName, InvalidSettings: they cannot be, or there are two ways of naming them.
    """
    known = invocation.access.purposes
    if key is not None and purposes:
        raise InvalidSettings("--purpose is for all keys: drop it, or the name of the key")
    only = None if key is None else parse_key_ref(key, known)
    return _Wanted(only, frozenset(parse_purpose(name, known) for name in purposes))


def _rotate_old(
    invocation: Invocation, wanted: _Wanted, every_ns: int, *, dry_run: bool, as_json: bool
) -> int:
    keys, writer = invocation.open(without_key=dry_run and not invocation.access.legacy)
    with closing(keys):
        if wanted.only is not None:
            keys.ring(wanted.only)  # a key that is not there is no key that is young
        if not dry_run:
            demand_right_key(keys)
        tell_left_out(keys)
        due, report = find_due(keys, wanted, every_ns), RotationReport()
        if not dry_run:
            with _audited(keys, report, every_ns), progress_bar("rotating keys") as progress:
                rotate_due(keys, writer, due, report, progress)
    _tell(due, report, dry_run=dry_run, as_json=as_json)
    return next((EXIT_CODES[type(error)] for error in report.failed.values()), OK)


@contextmanager
def _audited(keys: KeyStore, report: RotationReport, every_ns: int) -> Iterator[None]:
    """Leave a line beside the store, however the block ends, if anything was rotated."""
    try:
        yield
    finally:
        counts = {"rotated": len(report.rotated), "failed": len(report.failed)}
        if report.rotated or report.failed:
            leave_trace(keys.store, "rotate", older_than_s=every_ns // NANOSECONDS, **counts)


def _tell(due: Due, report: RotationReport, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        facts = {
            "due": [str(ref) for ref in due.refs],
            "rotated": [str(ref) for ref in report.rotated],
            "overtaken": [str(ref) for ref in report.overtaken],
            "failed": {str(ref): str(error) for ref, error in report.failed.items()},
            "left_out": {str(ref): reason for ref, reason in due.left_out.items()},
            "not_tried": [str(ref) for ref in reversed(report.not_tried)],
            "dry_run": dry_run,
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        for ref in due.refs if dry_run else report.rotated:
            click.echo(ref)
    for ref, reason in due.left_out.items():
        click.echo(f"left out {ref}: {reason}", err=True)
    for ref, error in report.failed.items():
        click.echo(f"not rotated {ref}: {error}", err=True)
    click.echo(_summary(due, report, dry_run=dry_run), err=True)


def _summary(due: Due, report: RotationReport, *, dry_run: bool) -> str:
    if dry_run:
        return f"{len(due.refs)} keys would be rotated"
    more = {
        "rotated by others meanwhile": report.overtaken,
        "failed": report.failed,
        "not tried": report.not_tried,
    }
    said = "".join(f", {len(refs)} {what}" for what, refs in more.items() if refs)
    return f"{len(report.rotated)} keys rotated{said}"
