"""`keyfs doctor`: what is installed, what is missing, the exact command to mend it."""

import json
from dataclasses import asdict

import click

from keyfs.cli.doctor_checks import run_checks
from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import json_option


@click.command(short_help="What is installed, what is missing.")
@json_option
def doctor(as_json: bool) -> int:
    """What is installed, what is missing, and the exact command that mends it. Exit 1 if something is."""
    findings = run_checks()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.state:8} {finding.name}: {finding.detail}")
            if finding.remedy:
                click.echo(f"{'':8} -> {finding.remedy}")
    return FINDINGS if any(finding.state == "missing" for finding in findings) else OK
