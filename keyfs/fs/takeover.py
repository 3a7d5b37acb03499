"""Serving a mount that a supervisor made: how a worker gets it, and gives it back."""

import json
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

import pyfuse3
import trio

from keyfs.custody import Estate
from keyfs.errors import MountFailed
from keyfs.fs.mounts import unmount
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.surviving import Surviving
from keyfs.logs import event

_MESSAGE_MAX: Final = 1 << 17
# FUSE_HAS_RESEND among the flags that the kernel's INIT offers; `flags2` follows header, version and `flags`.
_FLAGS2_AT: Final = 56
_HAS_RESEND: Final = 1 << (39 - 32)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Takeover:
    """A worker's side of the channel to its supervisor.

    Args:
        role: "first", "again" after a crash, or "reload".
        channel: to the supervisor.
        mountpoint: where the supervisor mounts.
        estate: what earlier workers left.
        is_read_only: whether the kernel has it mounted read-only.
    """

    role: str
    channel: socket.socket
    mountpoint: str
    estate: Estate
    is_read_only: bool
    facts: dict[str, object] = field(default_factory=dict)  # what the supervisor says of itself
    is_orphan: bool = False
    _device: int = -1
    _init: bytes = b""

    @property
    def generation(self) -> int:
        """How many workers the mount had before."""
        return int(str(self.facts["restarts"])) + int(str(self.facts["reloads"]))

    def wait(self) -> None:
        """Say that everything is prepared, and wait until the mount is ours.

        Raises:
            MountFailed: the supervisor has ended.
        """
        self._say("prepared")
        words, descriptors, _, _ = socket.recv_fds(self.channel, _MESSAGE_MAX, 1)
        if not words or not descriptors:
            raise MountFailed(f"the supervisor of {self.mountpoint} has ended")
        self.facts = {name: fact for name, fact in json.loads(words).items() if name != "do"}
        self._device = descriptors[0]
        self._init = self.channel.recv(_MESSAGE_MAX)
        if self.role != "first":
            self._tell_log()

    def open(self, operations: KeyfsOperations) -> None:
        """Have pyfuse3 serve the mount.

        It gets one end of a pair of sockets and reads the kernel's first request there, which comes only once
        and which the supervisor has kept. When that is answered, the device has taken the socket's place.
        """
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = its.detach()

        def begin() -> None:
            os.dup2(self._device, number, inheritable=False)
            os.close(self._device)
            ours.close()

        handlers = Surviving(operations, self.estate, self.generation, str(self.facts["ended"]), begin)
        pyfuse3.init(cast("pyfuse3.Operations", handlers), f"/dev/fd/{number}", set())
        ours.send(self._init)

    async def obey(self, stop: Callable[[], object]) -> None:
        """Call *stop* when another worker is to go on. Without a supervisor we go on to the end."""
        await trio.lowlevel.wait_readable(self.channel)
        if self.channel.recv(_MESSAGE_MAX):
            stop()
            return
        self.is_orphan = True
        event(_log, logging.ERROR, "supervisor.gone", mountpoint=self.mountpoint)

    def serving(self) -> None:
        """Say that a file under the mount can be opened."""
        self._say("serving")

    def retired(self) -> None:
        """Say that no request is under way and none is taken any more."""
        self._say("retired")

    def failed(self, line: str) -> None:
        """Say what went wrong."""
        self._say("failed", line=line)

    def close(self) -> None:
        """Let go of the mount; nobody else unmounts what has no supervisor any more."""
        pyfuse3.close(unmount=False)
        if self.is_orphan:
            unmount(self.mountpoint, lazy=True)

    def _tell_log(self) -> None:
        restarts, reloads = (str(self.facts[name]) for name in ("restarts", "reloads"))
        if self.role == "again":
            event(
                _log,
                logging.WARNING,
                "worker.replaced",
                ended=self.facts["ended"],
                restarts=restarts,
                reloads=reloads,
            )
            if not int.from_bytes(self._init[_FLAGS2_AT : _FLAGS2_AT + 4], "little") & _HAS_RESEND:
                event(_log, logging.WARNING, "worker.requests_lost", reason="this needs Linux 6.9")
        else:
            event(_log, logging.INFO, "worker.reloaded", restarts=restarts, reloads=reloads)

    def _say(self, word: str, **more: object) -> None:
        try:
            self.channel.send(json.dumps({"is": word, **more}).encode())
        except OSError:
            self.is_orphan = True
