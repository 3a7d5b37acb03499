"""`keyfs reload`: another worker for a supervised mount, with program and settings as they are now."""

import json
import socket
from typing import Final

import click

from keyfs.errors import MountFailed, NotMounted
from keyfs.fs.mounts import FSTYPE, mount_at, place_of, status_of

_ANSWER_MAX: Final = 1 << 16


@click.command(short_help="New program and settings for a supervised mount.")
@click.argument("mountpoint")
def reload(mountpoint: str) -> int:
    """Let another worker serve a supervised mount, with the program and the settings as they are now.

    No request fails meanwhile, and open files stay open. If the new worker cannot start, the old one stays.
    """
    path = place_of(mountpoint)
    found = mount_at(path)
    if found is None or found.fstype != FSTYPE:
        raise NotMounted(f"no keyfs is mounted at {path}: see keyfs status")
    answer = _asked(path, _control_of(path))
    line = str(answer["line"])
    if line:
        click.echo(f"keyfs: not reloaded, the old worker stays: {line}", err=True)
    return int(str(answer["code"]))


def _control_of(path: str) -> str:
    try:
        control = status_of(path).get("control")
    except OSError as exc:
        raise MountFailed(f"the keyfs mounted at {path} does not answer: see keyfs status") from exc
    if control is None:
        raise MountFailed(f"{path} is not supervised: unmount it, and mount it with --supervised")
    return str(control)


def _asked(path: str, control: str) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        try:
            client.connect(f"\0{control}")
            data = client.recv(_ANSWER_MAX)
        except OSError as exc:
            raise MountFailed(f"the supervisor of {path} cannot be asked: {exc.strerror}") from exc
    if not data:
        raise MountFailed(f"the supervisor of {path} does not answer: only its user and root may ask")
    answer: dict[str, object] = json.loads(data)
    return answer
