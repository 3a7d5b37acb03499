"""`keyfs check`: is the key store whole?"""

import json
from dataclasses import asdict

import click

from keyfs.broker.check import check as check_store
from keyfs.broker.findings import Finding, Report
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import Invocation, json_option, opens_key_store
from keyfs.cli.progress import progress_bar


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
    with progress_bar("opening blobs") as progress:
        report = check_store(keys, writer if repair else None, progress)
    keys.close()
    if as_json:
        findings = [{**asdict(finding), "repair": finding.kind.repair} for finding in report.findings]
        facts = {**asdict(report), "findings": findings, "clean": report.is_clean}
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(report)
    return OK if report.is_clean else FINDINGS


def _print(report: Report) -> None:
    for finding in report.findings:
        click.echo(
            f"{_verdict(finding)}\t{finding.code}\t{finding.where}\t{finding.message}{_remedy(finding)}"
        )
    faults = sum(not f.is_note and not f.is_repaired for f in report.findings)
    click.echo(
        f"{report.rings} keys, {report.blobs} blobs: {f'{faults} faults' if faults else 'clean'}", err=True
    )


def _remedy(finding: Finding) -> str:
    """What is, or was, done about it."""
    if finding.set_aside:
        return f"; now it is {finding.set_aside}"
    return "" if finding.is_repaired or finding.is_note else f"; repair: {finding.kind.repair}"


def _verdict(finding: Finding) -> str:
    if finding.is_repaired:
        return "mended"
    return "note" if finding.is_note else "fault"
