"""What tests of a mount's beginning and end share: to start a daemon, find it, wait for it and kill it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keyfs.fs.mounts import mount_at
from keyfs.testing.live import LiveStore
from keyfs.testing.mounted import keyfs_environment, run_keyfs

WITHIN_S = 20.0


def until(condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Waits for a condition, and fails if it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.001)


def is_mounted(path: Path) -> bool:
    """Tells from the kernel's table alone; asks no file system."""
    return mount_at(os.path.realpath(path)) is not None


def daemon_of(mountpoint: Path) -> int:
    """The number of the process that serves a mount."""
    return int(json.loads((mountpoint / ".keyfs/status.json").read_bytes())["pid"])


@contextmanager
def watched(pid: int) -> Iterator[Callable[[float], bool]]:
    """Yields what tells whether that very process ends in time."""
    descriptor = os.pidfd_open(pid)
    try:
        yield lambda within_s: bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)


def kill_daemon(mountpoint: Path) -> None:
    """Leaves a dead mount behind."""
    pid = daemon_of(mountpoint)
    with watched(pid) as ends:
        os.kill(pid, signal.SIGKILL)
        assert ends(WITHIN_S)


@contextmanager
def started(store: LiveStore, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A `keyfs mount` that is not waited for; killed at the end if it still runs, its mount removed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keyfs", "mount", *words, str(store.mountpoint)],
        env=keyfs_environment(store.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            if is_mounted(store.mountpoint):
                run_keyfs("umount", "--lazy", store.mountpoint, environment={})


@contextmanager
def foreground(store: LiveStore, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A mount in the foreground that has said that it is ready."""
    with started(store, "--foreground", *options) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"mounted at %b\n" % os.fsencode(store.mountpoint)
        yield process
