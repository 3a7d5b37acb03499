"""The guard of a mountpoint: while no keyfs is mounted there, nobody can write a key to the disk below.

A guarded directory has mode 0000, holds one file whose name says what is the matter, and both are immutable
where the file system knows that (`chattr +i`): not even root makes a file there by mistake.
"""

import errno
import fcntl
import os
import struct
from typing import Final, Literal

from keyfs.errors import MountFailed

GUARD_FILE: Final = "KEYFS-IS-NOT-MOUNTED"
TEXT: Final = (
    "keyfs is not mounted here, so there are no keys. To mount: keyfs mount, or the service that does it.\n"
    "To make an ordinary directory of this one: keyfs guard --remove\n"
)
OPEN_MODE: Final = 0o755
Guard = Literal["immutable", "by mode", "none"]

# linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL. Declared with long, read and written as int.
_GETFLAGS: Final = 0x80086601
_SETFLAGS: Final = 0x40086602
_IMMUTABLE: Final = 0x10
_UNSUPPORTED: Final = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS)


def guard_of(path: str) -> Guard:
    """How the directory is guarded; what is mounted on it counts, so look before the mount.

    Raises:
        OSError: it cannot be looked into.
    """
    if not is_guarded(os.listdir(path)):
        return "none"
    return "immutable" if _flags(path) & _IMMUTABLE else "by mode"


def is_guarded(entries: list[str]) -> bool:
    """Whether a directory with these entries is a guarded one."""
    return entries == [GUARD_FILE]


def guard(path: str) -> Guard:
    """Guard an empty directory on which nothing is mounted. One that is guarded is guarded again.

    Returns:
        "immutable", or "by mode" where the file system keeps no such flag, or we may not set it.

    Raises:
        MountFailed: only root can; or the system refuses.
    """
    if os.geteuid() != 0:
        raise MountFailed(
            f"only root can mount on a guarded directory, so only root can guard one: sudo keyfs guard {path}"
        )
    file = os.path.join(path, GUARD_FILE)
    try:
        found = guard_of(path)
        if found == "immutable":
            return found
        if found == "none":
            _write(file)
        os.chmod(path, 0)
        _set_immutable(file, wanted=True)
        _set_immutable(path, wanted=True)  # last: as long as it is not, this can be done again
        return guard_of(path)
    except OSError as exc:
        raise MountFailed(f"cannot guard {path}: {exc.strerror}") from exc


def unguard(path: str) -> None:
    """Make an ordinary, empty directory of a guarded one; nothing, if it is not guarded.

    Raises:
        MountFailed: the system refuses.
    """
    file = os.path.join(path, GUARD_FILE)
    try:
        if guard_of(path) == "none":
            return
        _set_immutable(path, wanted=False)
        _set_immutable(file, wanted=False)
        os.chmod(path, OPEN_MODE)
        os.unlink(file)  # last: as long as it is there, this can be done again
    except OSError as exc:
        raise MountFailed(f"cannot take the guard of {path} away: {exc.strerror}") from exc


def _write(file: str) -> None:
    """A new file: what somebody has put there meanwhile is not written to."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    with os.fdopen(fd, "w", encoding="ascii") as opened:
        os.fchmod(fd, 0o444)
        opened.write(TEXT)


def _flags(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found: int = struct.unpack("i", fcntl.ioctl(fd, _GETFLAGS, bytes(8))[:4])[0]
    except OSError as exc:
        if exc.errno in _UNSUPPORTED:
            return 0
        raise
    else:
        return found
    finally:
        os.close(fd)


def _set_immutable(path: str, *, wanted: bool) -> None:
    """As far as the file system can, and we may."""
    flags = _flags(path)
    if bool(flags & _IMMUTABLE) == wanted:
        return
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.ioctl(fd, _SETFLAGS, struct.pack("i", flags ^ _IMMUTABLE).ljust(8, b"\0"))
    except OSError as exc:
        # Then root alone can write there; to take the flag away, it must be allowed.
        if exc.errno not in _UNSUPPORTED or not wanted:
            raise
    finally:
        os.close(fd)
