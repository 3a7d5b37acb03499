"""`keyfs check`: is the key store whole?"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from keyfs.broker.check import Finding, Report, verify_master_key
from keyfs.broker.check import check as check_store
from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import Invocation, json_option, opens_key_store


@click.command(short_help="Is the key store whole?")
@opens_key_store
@click.option(
    "--repair", envvar="KEYFS_REPAIR", is_flag=True, help="Mend what can be mended without losing a byte."
)
@json_option
def check(invocation: Invocation, *, repair: bool, as_json: bool) -> int:
    """Open every blob, parse every name, look for what is left over. Exit 1 if something is wrong."""
    keys, writer = invocation.open()
    verify_master_key(keys)
    with _progress() as progress:
        report = check_store(keys, writer if repair else None, progress)
    keys.close()
    if as_json:
        facts = {**asdict(report), "findings": [asdict(f) for f in report.findings], "clean": report.is_clean}
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(report)
    return OK if report.is_clean else FINDINGS


def _print(report: Report) -> None:
    for finding in report.findings:
        click.echo(f"{_verdict(finding)}\t{finding.code}\t{finding.where}\t{finding.message}")
    faults = sum(not f.is_note and not f.is_repaired for f in report.findings)
    click.echo(
        f"{report.rings} keys, {report.blobs} blobs: {f'{faults} faults' if faults else 'clean'}", err=True
    )


def _verdict(finding: Finding) -> str:
    if finding.is_repaired:
        return "mended"
    return "note" if finding.is_note else "fault"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, when someone is there to see it."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console  # noqa: PLC0415 - only for people at a terminal
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening blobs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
