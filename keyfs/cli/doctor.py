"""`keyfs doctor`: what is installed, what is missing, the exact command to mend it."""

import json
import os
from dataclasses import asdict

import click

from keyfs.cli.doctor_checks import check_guard, run_checks
from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import json_option
from keyfs.fs.mounts import place_of


@click.command(short_help="What is installed, what is missing.")
@json_option
@click.argument("mountpoint", required=False)
def doctor(as_json: bool, mountpoint: str | None) -> int:
    """What is installed, what is missing, and the exact command that mends it. Exit 1 if something is.

    With MOUNTPOINT also whether that is guarded: see keyfs guard.
    """
    findings = run_checks()
    if mountpoint is not None:
        findings.append(check_guard(place_of(mountpoint), os.geteuid()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.state:8} {finding.name}: {finding.detail}")
            if finding.remedy:
                click.echo(f"{'':8} -> {finding.remedy}")
    return FINDINGS if any(finding.state == "missing" for finding in findings) else OK
