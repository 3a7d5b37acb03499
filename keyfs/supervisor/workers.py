"""One worker: an ordinary keyfs daemon that gets the mount from us instead of making one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyfs.supervisor import system

MESSAGE_MAX: Final = 1 << 17
"""Our words are short; the kernel's first request is 104 bytes."""

Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class Settings:
    """What `keyfs mount --supervised` found out, and leaves to us."""

    python: str
    arguments: tuple[str, ...]  # of the command, the same for each worker
    directory: str  # where it was given
    mountpoint: str
    options: str
    control: str  # name of the socket for `keyfs reload`, in the abstract namespace
    grace_s: float  # how long requests wait for a worker before they are answered EIO
    estate: int  # descriptor of the memory that workers leave to each other
    only_first: tuple[int, ...] = ()  # descriptors that the first worker reads, and no other
    ready: int | None = None  # where to say that the mount is ready, if we are to go into the background


class Worker:
    """A worker process, and the channel to it."""

    def __init__(self, settings: Settings, role: str, oom_before: int | None) -> None:
        self.role = role
        self.is_prepared = self.is_serving = self.has_mount = False
        self.line = ""  # what it said went wrong
        self.channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passed = (its.fileno(), settings.estate, *(settings.only_first if role == "first" else ()))
        way = "ro" if "ro" in settings.options.split(",") else "rw"
        # -P: nothing is imported from where the command was given.
        command = [settings.python, "-P", "-m", "keyfs.cli.worker", role, way, *map(str, passed[:2])]
        self.channel.setblocking(False)  # a child of a dead worker may keep its end open
        with its:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, settings.mountpoint, *settings.arguments],
                pass_fds=passed,
                env=_environment(),
                preexec_fn=lambda: _settle(settings.directory, oom_before),  # noqa: PLW1509 - no threads here
            )
        self.started_s = time.monotonic()
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def hear(self) -> Message:
        """The next message; nothing when it has closed its end."""
        try:
            data = self.channel.recv(MESSAGE_MAX)
        except OSError:
            data = b""
        message: Message = json.loads(data) if data else {}
        return message

    def hand_over(self, device: int, init: bytes, facts: Message) -> None:
        """Give it the mount. It may be dead already: then nothing happens."""
        self.has_mount = True
        with contextlib.suppress(OSError):
            socket.send_fds(self.channel, [json.dumps({"do": "serve", **facts}).encode()], [device])
            self.channel.send(init)

    def tell(self, word: str) -> None:
        """One word; as `hand_over`."""
        with contextlib.suppress(OSError):
            self.channel.send(json.dumps({"do": word}).encode())

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def reap(self) -> int:
        """Wait for its end, and close what belonged to it; its exit code, negative for a signal."""
        code = self._process.wait()
        self.channel.close()
        os.close(self.pidfd)
        return code

    def end(self, within_s: float) -> int:
        """Have it end by SIGTERM, or after *within_s* by SIGKILL; returns as `reap`."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        self._process.kill()
        return self.reap()


def _environment() -> dict[str, str]:
    """Ours. The worker is who gives a service manager its signs of life, which expects them of us."""
    return {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}


def name_of(code: int) -> str:
    """How a worker ended, for the log of the next one."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def unsaid(code: int) -> str:
    """What there is to say of a worker that said nothing itself."""
    return f"the worker ended with {name_of(code)} before it was ready"


def settings_from(text: str) -> Settings:
    """What `keyfs.cli.supervised` wrote."""
    words = json.loads(text)
    for name in ("arguments", "only_first"):
        words[name] = tuple(words[name])
    return Settings(**words)


def close_all(descriptors: Sequence[int]) -> None:
    """Close what only the first worker was to have."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _settle(directory: str, oom_before: int | None) -> None:
    """In the child. Its arguments are meant from where the command was given, if that is still there."""
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
    system.restore_oom(oom_before)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
