"""Going into the background: the command returns when the daemon is ready, with its exit code if it fails."""

import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from keyfs.cli.exitcodes import OK

_READY: Final = b"1"


def in_background(work: Callable[[Callable[[], None]], int]) -> int:
    """Run *work* in a child; return 0 when it says that it is ready, or its exit code if it ends before.

    Until then the child keeps our terminal, session and process group: it can print its error, Ctrl-C
    reaches it, and a mount made on behalf of an automounter is not taken for a stranger's.

    Args:
        work: gets a function to call when it is ready; returns an exit code.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _exit_with(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        if pipe.read(1) == _READY:
            return OK
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _exit_with(work: Callable[[Callable[[], None]], int], writer: int) -> NoReturn:
    def ready() -> None:
        _detach()
        os.write(writer, _READY)
        os.close(writer)

    code = work(ready)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _detach() -> None:
    """Leave terminal, session and working directory behind."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
