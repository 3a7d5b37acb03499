"""A room for programs that look at the whole way to a key: who owns the folders, and who may enter."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from keyfs.testing.mounted import keyfs_environment

# Tests live below a folder that others may write to, or may not enter. Here /mnt is root's, and open to all.
_FURNISH: Final = """
set -eu
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/keys
mount --bind "$1" /mnt/keys
# A daemon ends when its mount has ended in all namespaces. Others end theirs without asking here.
awk '$3 == "fuse.keyfs" && $2 != "/mnt/keys" { print $2 }' /proc/self/mounts | xargs -r umount --lazy || true
mount -t tmpfs -o mode=755 none /run
mkdir /run/sshd
printf 'root:*:19000::::::\\nsshd:*:19000::::::\\n' > /mnt/shadow
mount --bind /mnt/shadow /etc/shadow  # else it depends on the machine whether root may come in
echo furnished
read -r _
"""
PLACE: Final = Path("/mnt")
KEYS: Final = PLACE / "keys"


@dataclass(frozen=True, slots=True)
class Room:
    """A mount namespace with a mount of keyfs at `KEYS`. Everything else below `PLACE` is empty."""

    pid: int

    @property
    def place(self) -> Path:
        """`PLACE`, as it is seen from outside."""
        return Path(f"/proc/{self.pid}/root") / PLACE.relative_to("/")

    def run(self, *words: str | Path, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """Run a program inside to its end."""
        return subprocess.run(
            self._inside(words, user),
            env=keyfs_environment({"HOME": str(PLACE)}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, *words: str | Path, user: str = "root", log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start a program inside; all it says goes to *log*."""
        return subprocess.Popen(
            self._inside(words, user),
            env=keyfs_environment({"HOME": str(PLACE)}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _inside(self, words: Sequence[str | Path], user: str) -> list[str]:
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        script = f'cd {PLACE}; exec "$@"'
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--", "bash", "-c", script, "bash"]
        return [*enter, *become, *map(str, words)]


@contextmanager
def room(mountpoint: Path) -> Iterator[Room]:
    """A room with the mount at *mountpoint*. Needs root."""
    words = ("unshare", "--mount", "--propagation", "slave", "bash", "-c", _FURNISH, "bash", mountpoint)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "furnished\n"
        yield Room(keeper.pid)
