"""`Outsider`: a process beside the daemon that uses the daemon's own mount on its behalf.

A thread of the daemon must never do that: if the daemon is killed while such a request is under way, the
thread waits for an answer that only the dying process could give, the kernel does not let it go, and so the
connection is never closed: everybody who uses the mount hangs for good. A process of its own gets
ENOTCONN then, as everybody else.
"""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

from keyfs.errors import MountFailed
from keyfs.fs import outside

END_WITHIN_S: Final = 3.0
Verb = Literal["r", "w", "t"]


class Outsider:
    """Holds the process. It gets neither descriptors nor environment of ours, so no secret either.

    Args:
        earlier: numbers of such processes whose requests may still come, from daemons that died, if the mount
            outlives its daemons; None if it does not.
    """

    def __init__(self, earlier: Collection[int] | None = None) -> None:
        try:
            # In our process group: an automounter lets only that pass while we mount.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", outside.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                text=True,
            )
        except OSError as exc:
            raise MountFailed(
                f"cannot start {sys.executable} beside the mount ({exc.strerror}): let this user run it"
            ) from exc
        self._turn = threading.Lock()
        self.pid = self._process.pid
        self._own = {self.pid, *(earlier or ())}
        self._mount_stays = earlier is not None

    def is_pid(self, pid: int) -> bool:
        """Whether a request comes from the process."""
        return pid in self._own

    def ask(self, verb: Verb, path: Path) -> int:
        """Have the process do something; the errno it got, 0 for success. Blocks: for threads only."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - Popen was told to make both
        assert stdout is not None  # noqa: S101 - as above
        with self._turn:
            try:
                stdin.write(f"{verb}{os.fsencode(path).hex()}\n")
                stdin.flush()
                return int(stdout.readline() or errno.EPIPE)
            except (OSError, ValueError):  # it is gone, or we are closing it
                return errno.EPIPE

    def close(self) -> None:
        """End the process. After the unmount, so that nothing under the mount can hold it up.

        If the mount outlives us it is not waited for: it may have a request there that only the next daemon
        answers.
        """
        if self._mount_stays:
            self._process.kill()
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
