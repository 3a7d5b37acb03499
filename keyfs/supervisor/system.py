"""Calls of the C library for which Python has no names. Linux only."""

import contextlib
import ctypes
import os
import resource
from pathlib import Path
from typing import Final

MNT_DETACH: Final = 2
_PR_SET_DUMPABLE: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_SYS_ADMIN: Final = 21  # the only one that is needed later on: to unmount
_OOM_ADJUSTMENT: Final = Path("/proc/self/oom_score_adj")
_OOM_STEP: Final = 200
_libc: Final = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """Make a mount, by the system call of that name.

    Raises:
        OSError: the kernel refuses.
    """
    words = (os.fsencode(source), os.fsencode(target), os.fsencode(fstype))
    _check(_libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(data)))


def unmount(target: str) -> None:
    """Unmount lazily, see umount2(2): open files of the mount do not hold it up.

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH))


def forbid_core_dumps() -> None:
    """As `keyfs.custody.forbid_core_dumps`. Never raises."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, *(ctypes.c_ulong(0) for _ in range(4)))


def drop_capabilities() -> None:
    """Keep of all capabilities only what unmounts. Never raises.

    What children may have is left as it is: a worker of root has what it always had.
    """
    kept = 1 << _CAP_SYS_ADMIN
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    had = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    if _libc.capget(header, had) == 0:
        rest = (ctypes.c_uint32 * 6)(had[0] & kept, had[1] & kept, 0, 0, 0, 0)
        _libc.capset(header, rest)


def spare_from_oom() -> int | None:
    """Let the kernel kill others first when memory is short; what held before, None for no change."""
    try:
        before = int(_OOM_ADJUSTMENT.read_text())
        _OOM_ADJUSTMENT.write_text(str(max(before - _OOM_STEP, -1000)))
    except (OSError, ValueError):
        return None  # only who has CAP_SYS_RESOURCE may
    return before


def restore_oom(before: int | None) -> None:
    """In a child: as it was before `spare_from_oom`. Never raises."""
    if before is not None:
        with contextlib.suppress(OSError):
            _OOM_ADJUSTMENT.write_text(str(before))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
