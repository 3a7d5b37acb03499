"""Going into the background: the command returns when the daemon is ready, with its exit code if it fails."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

from keyfs.cli.exitcodes import OK
from keyfs.cli.main import leave
from keyfs.errors import MountFailed

_READY: Final = b"1"
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


class Ready:
    """Says, once, that the daemon is ready.

    Args:
        pipe: descriptor to whoever waits for that.
    """

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def __call__(self) -> None:
        """Leave the terminal behind, and say it."""
        detach()
        os.write(self.pipe, _READY)
        os.close(self.pipe)


def in_background(work: Callable[[Ready], int]) -> int:
    """Run *work* in a child; return 0 when it says that it is ready, or its exit code if it ends before.

    Until then the child keeps our terminal, session and process group: it can print its error, Ctrl-C
    reaches it, and a mount made on behalf of an automounter is not taken for a stranger's. Who stops us
    means the child: else it would go on, and mount, after the command has failed.

    Args:
        work: gets a function to call when it is ready; returns an exit code.

    Raises:
        MountFailed: a signal ended the child.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        _exit_with(work, writer)
    os.close(writer)
    stopped = _pass_on_to(child)
    with os.fdopen(reader, "rb") as pipe:
        is_ready = pipe.read(1) == _READY
    # From here on a signal comes too late: what our exit code says is decided.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    if is_ready and not stopped:
        return OK
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code > 0:
        return code
    number = stopped[0] if stopped else -code
    raise MountFailed(f"stopped by {signal.Signals(number).name} before the mount was ready")


def _pass_on_to(child: int) -> list[int]:
    """Tell *child* of what is to stop us; returns the list of the signals that came."""
    came: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        os.kill(child, signal.SIGTERM)  # not SIGINT, which a terminal has sent to the child already

    for number in _STOPPING:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    return came


def _exit_with(work: Callable[[Ready], int], writer: int) -> NoReturn:
    leave(work(Ready(writer)))


def detach() -> None:
    """Leave terminal, session and working directory behind."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
