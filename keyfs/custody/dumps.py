"""No core dump of this process. Linux, standard library only."""

import contextlib
import ctypes
import resource
from dataclasses import dataclass
from typing import Final

_PR_GET_DUMPABLE: Final = 3  # linux/prctl.h
_PR_SET_DUMPABLE: Final = 4


@dataclass(frozen=True, slots=True)
class CoreDumps:
    """Which of the two guards against core dumps hold for this process."""

    size_limit_zero: bool  # RLIMIT_CORE is 0: the kernel writes no core file
    undumpable: (
        bool  # PR_SET_DUMPABLE is 0: no core goes to a crash collector, no debugger of the same user attaches
    )

    @property
    def forbidden(self) -> bool:
        """Whether no core of this process can be kept. The limit alone does not do.

        A `core_pattern` that starts with `|` (systemd-coredump, apport) gets the core whatever RLIMIT_CORE
        says, see core(5).
        """
        return self.size_limit_zero and self.undumpable


def forbid_core_dumps() -> CoreDumps:
    """Forbid core dumps of this process for good, and say what holds afterwards. Never raises.

    The limit passes on to children. The other guard ends at execve(2), so a worker calls this again.
    """
    with contextlib.suppress(OSError, ValueError):  # the answer below tells
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl(_PR_SET_DUMPABLE, 0)
    return core_dumps()


def core_dumps() -> CoreDumps:
    """What holds now; changes nothing. Never raises."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    return CoreDumps(size_limit_zero=soft == 0, undumpable=prctl(_PR_GET_DUMPABLE, 0) == 0)


def prctl(option: int, argument: int) -> int:
    """Do one call of that name, see its manual page; -1 where the C library has none. Never raises."""
    try:
        call = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return -1
    rest = [ctypes.c_ulong(value) for value in (argument, 0, 0, 0)]  # variadic: C would take the full width
    return int(call(ctypes.c_int(option), *rest))
