"""`keyfs wait`: for programs that must not start before their key is there."""

import errno
import os
import time
from pathlib import Path
from typing import Final

import click

from keyfs.core.durations import seconds
from keyfs.errors import AccessDenied, InvalidSettings, KeyfsError, KeyNotFound, MountFailed, NotMounted
from keyfs.fs.mounts import ANSWER_WITHIN_S, FSTYPE, fstype_of, in_time, mounts

PAUSE_S: Final = 0.05
LOOK_S: Final = 1.0  # at least that long for a look, a busy machine needs it
_ERRORS: Final[dict[int, type[KeyfsError]]] = {errno.ENOENT: KeyNotFound, errno.EACCES: AccessDenied}


@click.command(short_help="Wait until a file of a mount can be opened.")
@click.option(
    "--for", "path", envvar="KEYFS_FOR", metavar="PATH", required=True, help="A file or directory of a mount."
)
@click.option(
    "--timeout",
    envvar="KEYFS_TIMEOUT",
    metavar="TIME",
    default="30s",
    show_default=True,
    callback=lambda _ctx, _param, text: seconds(text),
    help="How long to wait: 30s, 5m; 0 looks once.",
)
def wait(path: str, timeout: float) -> None:
    """Wait until PATH, such as /keys/storage/alice/current, can be opened for reading through a keyfs mount.

    A file or directory of that name that lies on another file system does not count.
    """
    if not os.path.isabs(path):
        raise InvalidSettings(
            f"--for {path} is no absolute path: name the mountpoint, too, as in /keys/{path}"
        )
    deadline = time.monotonic() + timeout
    while (failure := _failure(path, deadline - time.monotonic())) is not None:
        if time.monotonic() >= deadline:
            raise failure
        time.sleep(PAUSE_S)


def _failure(path: str, left_s: float) -> KeyfsError | None:
    """Why it cannot be opened; None when it can."""
    try:
        fstype = in_time(lambda: _opened_on(path), min(max(left_s, LOOK_S), ANSWER_WITHIN_S))
    except OSError as exc:
        if not _is_below_a_mount(path):
            said = f"{path} cannot be opened ({exc.strerror}), and no keyfs is mounted above it"
            return NotMounted(f"{said}: see keyfs status")
        return _ERRORS.get(exc.errno or 0, MountFailed)(f"{path} cannot be opened: {exc.strerror}")
    return None if fstype == FSTYPE else NotMounted(f"{path} is not on a keyfs mount: see keyfs status")


def _opened_on(path: str) -> str | None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return fstype_of(fd)
    finally:
        os.close(fd)


def _is_below_a_mount(path: str) -> bool:
    """Asks the kernel's table alone, which a mount that hangs cannot hold up."""
    return any(mount.fstype == FSTYPE and Path(path).is_relative_to(mount.path) for mount in mounts())
