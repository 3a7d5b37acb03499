"""podman with runc, all of its state below one folder, and nothing of it left at the end."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from keyfs.testing.needed import lacking, need
from keyfs.testing.waiting import wait_until

BUSYBOX: Final = Path("/bin/busybox")
APPLETS: Final = ("sh", "cat", "ls", "sha256sum", "sleep", "id", "grep")
CGROUPS: Final = Path("/sys/fs/cgroup")
PARENT: Final = "libpod_parent"  # podman makes this control group and leaves it
# No right to raise limits, and no network: neither is needed.
LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
NO_NETWORK: Final = "--network=none"
RUN: Final = (*LIMITS, NO_NETWORK)
HARDENED: Final = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
TO_MOUNT: Final = (*HARDENED, "--cap-add=SYS_ADMIN", "--device=/dev/fuse")


@dataclass(frozen=True)
class Podman:
    """A podman of its own. The name of *run_root* may have 50 characters."""

    place: Path
    run_root: Path

    def command(self, *words: str) -> list[str]:
        """One command for it."""
        folders = [
            f"--root={self.place}/storage",
            f"--runroot={self.run_root}",
            f"--tmpdir={self.place}/tmp",
        ]
        fixed = ("--cgroup-manager=cgroupfs", "--storage-driver=overlay", "--events-backend=file")
        return ["podman", *folders, *fixed, "--runtime=runc", *words]

    def run(self, *words: str, within_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end; never raises for its exit code."""
        return subprocess.run(
            self.command(*words), check=False, capture_output=True, text=True, timeout=within_s
        )

    def says(self, *words: str, within_s: float = 60.0) -> str:
        """What a command prints that has to succeed."""
        ran = self.run(*words, within_s=within_s)
        assert ran.returncode == 0, (words, ran.stdout, ran.stderr[-2000:])
        return ran.stdout

    @contextmanager
    def container(self, *words: str) -> Iterator[str]:
        """A container in the background, by number; ended when it is no longer needed."""
        number = self.says("run", "--detach", *LIMITS, *words).strip()
        try:
            yield number
        finally:
            self.says("rm", "--force", "--time=0", number)

    def inside(self, number: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a container, as the container's user."""
        return self.run("exec", number, *command)


@contextmanager
def podman(place: Path) -> Iterator[Podman]:
    """A podman whose state lies in *place*."""
    need("podman", "runc")
    if os.geteuid() != 0:
        lacking("only root may start containers with a native overlay")
    place.mkdir()
    before = set(CGROUPS.glob(f"*/{PARENT}")) | set(CGROUPS.glob(PARENT))
    run_root = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        yield Podman(place, run_root)
    finally:
        for mount in (*_mounts_below(place), *_mounts_below(run_root)):
            subprocess.run(["umount", "--lazy", mount], check=True)
        wait_until(partial(_is_swept, run_root))  # what watches a container writes there until it has ended
        for group in {*CGROUPS.glob(f"*/{PARENT}"), *CGROUPS.glob(PARENT)} - before:
            wait_until(partial(_is_removed, group))


def _is_swept(directory: Path) -> bool:
    """Whether it is removed by now, with all that is in it."""
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def plain_root(place: Path) -> Path:
    """A root file system with a few programs and nothing else."""
    if not BUSYBOX.exists():
        lacking(f"there is no {BUSYBOX}; it comes with busybox-static")
    (place / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, place / "bin/busybox")
    for applet in APPLETS:
        (place / "bin" / applet).symlink_to("busybox")
    return place


def python_root(place: Path) -> tuple[Path, Sequence[str]]:
    """A root file system with nothing in it, and the volumes that bring this machine's programs and keyfs."""
    place.mkdir()
    for link in ("bin", "sbin", "lib", "lib64"):
        (place / link).symlink_to(f"usr/{link}")
    checkout = Path(__file__).resolve().parents[2]
    needed = {Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), checkout}
    outer = sorted(path for path in needed if not any(path != o and path.is_relative_to(o) for o in needed))
    return place, [f"--volume={path}:{path}:ro" for path in outer]


@contextmanager
def shared_folder(place: Path) -> Iterator[Path]:
    """A folder whose mounts, those to come, too, are seen in the containers that have it for a volume."""
    place.mkdir()
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "--make-shared", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", place], check=True)


def _mounts_below(place: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [words[1] for line in lines if Path((words := line.split(" "))[1]).is_relative_to(place)][::-1]


def _is_removed(group: Path) -> bool:
    """Take it away, unless the process that watched over the last container is still in it."""
    folders = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    try:
        for folder in (*folders, group):
            folder.rmdir()
    except OSError as exc:
        if exc.errno != errno.EBUSY:
            raise
        return False
    return True
