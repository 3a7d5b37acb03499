"""`keyfs status`: the keyfs mounts there are, and how they are."""

import json
import os
from pathlib import Path

import click

from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import json_option
from keyfs.core.tree import CONTROL_DIRECTORY
from keyfs.errors import NotMounted
from keyfs.fs.mounts import FSTYPE, mounts

_Facts = dict[str, object]


@click.command(short_help="The keyfs mounts there are.")
@json_option
@click.argument("mountpoint", required=False)
def status(as_json: bool, mountpoint: str | None) -> int:
    """How one keyfs mount is, or all of them. Exit 1 if one does not answer."""
    paths = sorted({mount.path for mount in mounts() if mount.fstype == FSTYPE})
    if mountpoint is not None:
        path = os.path.realpath(mountpoint)
        if path not in paths:
            raise NotMounted(f"no keyfs is mounted at {path}")
        paths = [path]
    facts = [_status(path) for path in paths]
    if as_json:
        click.echo(json.dumps(facts[0] if mountpoint is not None else facts, indent=2))
    elif not facts:
        click.echo("no keyfs is mounted", err=True)
    else:
        click.echo(os.fsencode("\n".join(_lines(fact) for fact in facts)))  # a path may be no UTF-8
    return FINDINGS if any(fact["state"] == "dead" for fact in facts) else OK


def _status(path: str) -> _Facts:
    try:
        facts = json.loads((Path(path) / CONTROL_DIRECTORY / "status.json").read_bytes())
    except OSError as exc:
        remedy = f"keyfs umount --lazy {path}"
        return {"mountpoint": path, "state": "dead", "reason": exc.strerror, "remedy": remedy}
    assert isinstance(facts, dict)  # noqa: S101 - our own mount wrote it
    return facts


def _lines(facts: _Facts) -> str:
    return "".join(f"{key}: {value}\n" for key, value in facts.items())
