"""The mounts there are, what they answer, and how one ends."""

import errno
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from keyfs.core.tree import CONTROL_DIRECTORY
from keyfs.errors import MountFailed, NotMounted

T = TypeVar("T")
FSTYPE: Final = "fuse.keyfs"
# A daemon answers within milliseconds, or by its own deadline of 2 s. One that is stopped never does.
ANSWER_WITHIN_S: Final = 3.0
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of proc_pid_mountinfo(5)."""

    number: int
    path: str
    fstype: str


def mounts() -> list[Mount]:
    """All mounts that this process sees, later ones on top of earlier ones."""
    found: list[Mount] = []
    # Not splitlines(): only a newline ends a line here, and a path may hold a form feed.
    for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).rstrip("\n").split("\n"):
        fields, _, rest = line.partition(" - ")
        number, _, _, _, path, *_ = fields.split(" ")
        found.append(Mount(int(number), _unescaped(path), rest.split(" ")[0]))
    return found


def mount_at(path: str) -> Mount | None:
    """The topmost mount exactly at this absolute path."""
    return next((mount for mount in reversed(mounts()) if mount.path == path), None)


def fstype_of(fd: int) -> str | None:
    """The type of the file system that an open file lies on; None where its mount is not to be seen."""
    info = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines())
    number = int(info["mnt_id"])
    return next((mount.fstype for mount in mounts() if mount.number == number), None)


def in_time(question: Callable[[], T], within_s: float = ANSWER_WITHIN_S) -> T:
    """What *question*, which a mount has to answer, gives.

    Raises:
        OSError: as the question does; TimeoutError when the mount keeps silent.
    """
    answers: SimpleQueue[tuple[T, None] | tuple[None, OSError]] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put((question(), None))
        except OSError as exc:
            answers.put((None, exc))

    # A thread in a request that nobody answers cannot be stopped, only left behind.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=within_s)
    except Empty:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # one of the two is there


def place_of(mountpoint: str) -> str:
    """The absolute path without symbolic links; as it was given when what is mounted there keeps silent."""
    path = os.path.abspath(mountpoint)
    try:
        return in_time(lambda: os.path.realpath(path))
    except TimeoutError:
        return path


def status_of(path: str) -> dict[str, object]:
    """What the daemon behind a mount says of itself.

    Raises:
        OSError: it is dead, or keeps silent.
    """
    status = in_time((Path(path) / CONTROL_DIRECTORY / "status.json").read_bytes)
    facts: dict[str, object] = json.loads(status)
    return facts


def unmount(path: str, *, lazy: bool = False) -> None:
    """End the keyfs mount at this absolute path.

    Raises:
        NotMounted: there is none.
        MountFailed: it is in use, or the system refuses.
    """
    found = mount_at(path)
    if found is None or found.fstype != FSTYPE:
        raise NotMounted(f"no keyfs is mounted at {path}: see keyfs status")
    reasons = []
    for command in (["fusermount3", "-u"], ["umount"]):
        words = [*command, *(["-z" if command[0] == "fusermount3" else "-l"] if lazy else []), "--", path]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return
        reasons.append(done.stderr.strip())
    if any("busy" in reason for reason in reasons):
        raise MountFailed(
            f"{path} is in use: see who with fuser -vm {path}, or run keyfs umount --lazy {path}"
        )
    reason = reasons[0] if reasons else "neither fusermount3 nor umount is there: apt-get install fuse3"
    raise MountFailed(f"cannot unmount {path}: {reason}")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
