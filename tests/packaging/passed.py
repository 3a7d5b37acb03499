"""Mounts as a privileged program does that passes the descriptor of the mount on.

Run by root as `passed.py MOUNTPOINT UID COMMAND…`, with @FD@ in the command for the number of the descriptor.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8


def passed_descriptor(mountpoint: Path, uid: int) -> int:
    """A descriptor of the device, mounted for everybody; who serves it has to be this user."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id={uid},group_id={uid},allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"keyfs", os.fsencode(mountpoint), b"fuse.keyfs", _NOSUID_NODEV_NOEXEC, options) != 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, os.strerror(number))
    os.set_inheritable(fd, True)
    return fd


if __name__ == "__main__":
    number = passed_descriptor(Path(sys.argv[1]), int(sys.argv[2]))
    command = [word.replace("@FD@", str(number)) for word in sys.argv[3:]]
    os.execvp(command[0], command)
