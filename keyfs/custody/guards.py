"""All guards at once, and which of them hold."""

import os
import signal
from dataclasses import dataclass
from typing import Final

from keyfs.custody.dumps import CoreDumps, forbid_core_dumps, prctl
from keyfs.custody.memory import KeyMemory, key_memory, lock_memory

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Guards:
    """What stands between the memory of this process and a file."""

    core_dumps: CoreDumps
    key_memory: KeyMemory  # where `held` puts a key
    is_locked: bool  # no page of this process goes to swap


def raise_guards() -> Guards:
    """Raise every guard there is, as a mount does, and say what holds afterwards. Never raises an error.

    To be called by the process that will hold keys: a forked child keeps only what concerns core dumps.
    """
    return Guards(forbid_core_dumps(), key_memory(), lock_memory())


def end_with(parent: int) -> None:
    """Be killed when the thread ends that started this process; at once if *parent*, its process, has ended.

    Raises:
        SystemExit: it has.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
