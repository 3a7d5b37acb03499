"""What the caller of `keyfs mount --supervised` sees, and what reaches us from outside."""

import contextlib
import os
import signal
import socket

from keyfs.supervisor.workers import Settings


def signals() -> socket.socket:
    """A socket that has the number of each signal that came."""
    ours, handlers = socket.socketpair()
    handlers.setblocking(False)
    signal.set_wakeup_fd(handlers.detach())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return ours


def announce(settings: Settings) -> None:
    """Say that the mount is ready; into the background, if we are to go there."""
    if settings.ready is None:
        say(f"mounted at {settings.mountpoint}", prefix="")
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    with contextlib.suppress(OSError):  # nobody waits any more
        os.write(settings.ready, b"1")
    os.close(settings.ready)


def say(line: str, prefix: str = "keyfs: ") -> None:
    """One line on stderr."""
    text = f"{prefix}{' '.join(line.split()) if prefix else line}\n"
    with contextlib.suppress(OSError):
        os.write(2, os.fsencode(text))
