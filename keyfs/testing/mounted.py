"""A real mount for tests: the `keyfs` command, a real kernel, and nothing left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# For scripts that begin in a new mount namespace: a daemon ends when its mount has ended in all of them, and
# those of other tests end theirs without asking here.
LEAVE_OTHER_MOUNTS = """
awk '$3 == "fuse.keyfs" { print $2 }' /proc/self/mounts | xargs -r umount --lazy 2> /dev/null || true
"""
_PASSED_ON = ("PATH", "HOME", "LANG", "CI", "TEST_SESSION_OF_KEYFS")


def keyfs_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """A small environment with nothing of the caller's keyfs settings in it."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(environment)


def run_keyfs(
    *arguments: str | Path, environment: Mapping[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run one `keyfs` command to its end; never raises for its exit code."""
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "keyfs", *map(str, arguments)],
        env=keyfs_environment(environment),
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )


@contextmanager
def mounted(mountpoint: Path, *options: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """A keyfs mount in the background, made and ended by the real commands."""
    mountpoint.mkdir(exist_ok=True)
    done = run_keyfs("mount", *options, mountpoint, environment=environment)
    assert done.returncode == 0, done.stderr.decode()  # noqa: S101 - this is the test kit
    try:
        yield mountpoint
    finally:
        ended = run_keyfs("umount", mountpoint, environment=environment)
        if ended.returncode != 0:
            run_keyfs("umount", "--lazy", mountpoint, environment=environment)
    assert ended.returncode == 0, ended.stderr.decode()  # noqa: S101 - as above


def outsider_of(daemon: int) -> int:
    """The process beside the daemon of that number; see `keyfs.fs.outsider`."""
    children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    return next(int(pid) for pid in children if b"outside.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
