"""`keyfs status`: the keyfs mounts there are, and how they are."""

import json
import os
from typing import Final

import click

from keyfs.cli.exitcodes import FINDINGS, OK
from keyfs.cli.options import json_option
from keyfs.errors import NotMounted
from keyfs.fs.mounts import FSTYPE, mounts, place_of, status_of

_Facts = dict[str, object]
_DEAD: Final = "dead"
_SILENT: Final = "silent"


@click.command(short_help="The keyfs mounts there are.")
@json_option
@click.argument("mountpoint", required=False)
def status(as_json: bool, mountpoint: str | None) -> int:
    """How one keyfs mount is, or all of them. Exit 1 if one does not answer."""
    paths = sorted({mount.path for mount in mounts() if mount.fstype == FSTYPE})
    if mountpoint is not None:
        path = place_of(mountpoint)
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
    return FINDINGS if any(fact["state"] in (_DEAD, _SILENT) for fact in facts) else OK


def _status(path: str) -> _Facts:
    try:
        return status_of(path)
    except OSError as exc:
        state = _SILENT if isinstance(exc, TimeoutError) else _DEAD
        remedy = f"keyfs umount --lazy {path}"
        return {"mountpoint": path, "state": state, "reason": exc.strerror, "remedy": remedy}


def _lines(facts: _Facts) -> str:
    return "".join(f"{key}: {value}\n" for key, value in facts.items())
