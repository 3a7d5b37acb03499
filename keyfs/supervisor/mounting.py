"""Making and ending the mount: mount(2) where that is allowed, else by fusermount3."""

import errno
import os
import socket
import stat
import subprocess
from typing import Final

from keyfs.supervisor import system

DEVICE: Final = "/dev/fuse"
# linux/mount.h. A word that is here sets its flag; with "no" taken away or put before it, it clears it.
_SET: Final = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
    "nodiratime": 2048,
    "lazytime": 1 << 25,
}
_CLEAR: Final = {"rw": 1, "suid": 2, "dev": 4, "exec": 8, "async": 16, "atime": 1024}
_FOR_KERNEL: Final = (
    "default_permissions",
    "allow_other",
    "max_read=",
    "blksize=",
    "context=",
    "fscontext=",
    "defcontext=",
    "rootcontext=",
)
_NAMES: Final = ("fsname=", "subtype=")


class MountRefusedError(Exception):
    """Why it cannot be mounted, in words."""


def open_mount(mountpoint: str, options: str) -> int:
    """Mount, and return the descriptor of the fuse device that answers for the mount.

    Args:
        mountpoint: an absolute path.
        options: as mount(8) takes them, separated by commas.

    Raises:
        MountRefusedError: the kernel or fusermount3 refuses.
    """
    flags, data = _parsed(options.split(","))
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise MountRefusedError(f"{DEVICE}: {exc.strerror}") from exc
    try:
        mode = stat.S_IFMT(os.stat(mountpoint).st_mode)
        who = f"fd={device},rootmode={mode:o},user_id={os.getuid()},group_id={os.getgid()}"
        system.mount("keyfs", mountpoint, "fuse.keyfs", flags, ",".join((who, *data)))
    except OSError as exc:
        os.close(device)
        if exc.errno == errno.EPERM:
            return _by_fusermount(mountpoint, options)
        raise MountRefusedError(f"mount: {exc.strerror}") from exc
    return device


def end_mount(mountpoint: str) -> None:
    """Unmount lazily. Never raises.

    The descriptor must be closed by then: else the kernel would wait for us.
    """
    try:
        system.unmount(mountpoint)
    except OSError as exc:
        if exc.errno == errno.EPERM:
            _fusermount(["-u", "-q", "-z", "--", mountpoint])


def _parsed(words: list[str]) -> tuple[int, list[str]]:
    """The flags, and what the file system itself gets. Of two that contradict each other the later counts."""
    flags, data = 0, []
    for word in words:
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
        elif word.startswith(_FOR_KERNEL):
            data.append(word)
        elif not word.startswith(_NAMES):
            raise MountRefusedError(f"unknown option `{word}'")
    return flags, data


def _by_fusermount(mountpoint: str, options: str) -> int:
    """The protocol of fusermount3: it sends the descriptor through the socket that _FUSE_COMMFD names."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, its:
        done = _fusermount(["-o", options, "--", mountpoint], its)
        its.close()
        if done.returncode != 0:
            said = "; ".join(done.stderr.decode(errors="replace").split("\n")).strip("; ")
            raise MountRefusedError(said or f"fusermount3 failed with exit code {done.returncode}")
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        raise MountRefusedError("fusermount3 sent no descriptor")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _fusermount(
    arguments: list[str], channel: socket.socket | None = None
) -> "subprocess.CompletedProcess[bytes]":
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    passed = []
    if channel is not None:
        passed = [channel.fileno()]
        environment["_FUSE_COMMFD"] = str(channel.fileno())
    try:
        return subprocess.run(  # noqa: S603 - fixed words and our own arguments
            ["fusermount3", *arguments],  # noqa: S607 - found by PATH, as libfuse does
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            check=False,
        )
    except OSError as exc:
        return subprocess.CompletedProcess(arguments, 127, b"", f"fusermount3: {exc.strerror}".encode())
