"""Before a mount: everything that could refuse it, each with the command that mends it."""

import errno
import logging
import os
import re
import select
import shutil
import stat
from pathlib import Path
from typing import Final

from keyfs.errors import MountFailed
from keyfs.fs.guard import is_guarded
from keyfs.fs.mounts import FSTYPE, in_time, mount_at, place_of, unmount
from keyfs.logs import event

DEVICE: Final = Path("/dev/fuse")
DEVICE_NUMBER: Final = os.makedev(10, 229)  # the kernel's, wherever the node lies
FUSE_CONF: Final = Path("/etc/fuse.conf")
_PASSED: Final = re.compile(r"/dev/fd/(\d{1,9})", re.ASCII)
_log = logging.getLogger(__name__)


def is_passed(mountpoint: str) -> bool:
    """Whether it is no directory, but a descriptor of the device, with which somebody else has mounted."""
    return _PASSED.fullmatch(mountpoint) is not None


def check_passed(mountpoint: str) -> None:
    """Nothing, if the descriptor is one of `/dev/fuse`.

    Raises:
        MountFailed: it is not open, or another file, or nothing is mounted with it.
    """
    number = int(mountpoint.rpartition("/")[2])
    try:
        found = os.fstat(number)
    except OSError:
        raise MountFailed(f"{mountpoint} is not open: pass the descriptor of the mount on to keyfs") from None
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != DEVICE_NUMBER:
        raise MountFailed(f"{mountpoint} is not {DEVICE}: pass the descriptor with which the mount was made")
    poll = select.poll()
    poll.register(number, 0)
    if poll.poll(0):  # an error, as fuse(4) has it for a descriptor without a connection
        raise MountFailed(f"nothing is mounted with {mountpoint}: make the mount first, then start keyfs")


def check_mountpoint(mountpoint: str) -> str:
    """The absolute path of an empty, or guarded, directory on which nothing is mounted.

    A dead keyfs mount, left by a daemon that was killed, is removed first.

    Raises:
        MountFailed: no such directory, not empty, or mounted already.
    """
    path = place_of(mountpoint)
    found = mount_at(path)
    if found is not None and _is_dead(path):
        if found.fstype != FSTYPE:
            raise MountFailed(f"{path} is a dead mount of type {found.fstype}: run fusermount3 -uz {path}")
        unmount(path, lazy=True)
        event(_log, logging.INFO, "mount.stale_removed", mountpoint=path)
    elif found is not None and found.fstype == FSTYPE:
        raise MountFailed(f"keyfs is mounted at {path} already: run keyfs umount {path} first")
    _check_directory(path)
    return path


def check_device() -> None:
    """Nothing, if this process may open `/dev/fuse`.

    Raises:
        MountFailed: it is not there, or not for this user.
    """
    if not DEVICE.exists():
        raise MountFailed(
            f"there is no {DEVICE}: run modprobe fuse as root, or start the container with --device {DEVICE}"
        )
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as exc:
        if exc.errno in (errno.EACCES, errno.EPERM):
            mode = stat.S_IMODE(DEVICE.stat().st_mode)
            raise MountFailed(
                f"{DEVICE} has mode {mode:04o} and is not open to user {os.geteuid()}: "
                f"run chmod 666 {DEVICE} as root"
            ) from exc
        raise MountFailed(f"cannot open {DEVICE}: {exc.strerror}") from exc


def check_fusermount(*, allow_other: bool) -> None:
    """Nothing, if an ordinary user's mount will find what it needs.

    Raises:
        MountFailed: no fusermount3, or `allow_other` is not open to users.
    """
    if os.geteuid() == 0:
        return
    if shutil.which("fusermount3") is None:
        raise MountFailed("fusermount3 is missing: run apt-get install fuse3 as root")
    if allow_other and not _users_may_allow_other():
        raise MountFailed(
            f"--allow-other is not open to users: run echo user_allow_other >> {FUSE_CONF} as root"
        )


def _users_may_allow_other() -> bool:
    try:
        lines = FUSE_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def _is_dead(path: str) -> bool:
    try:
        in_time(lambda: os.stat(path))
    except OSError as exc:
        return exc.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
    return False


def _check_directory(path: str) -> None:
    try:
        entries = os.listdir(path)
    except FileNotFoundError:
        raise MountFailed(f"there is no directory {path}: run mkdir -p {path}") from None
    except NotADirectoryError:
        raise MountFailed(f"{path} is not a directory: mount on an empty directory") from None
    except OSError as exc:
        raise MountFailed(f"cannot look into {path}: {exc.strerror}") from exc
    if entries and not is_guarded(entries):
        raise MountFailed(
            f"{path} is not empty, and the mount would hide what is in it: mount on an empty directory"
        )
