"""A real systemd as the first process of namespaces of its own, on this machine's root made read-only."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfs.testing.mounted import LEAVE_OTHER_MOUNTS
from keyfs.testing.needed import lacking, need
from keyfs.testing.waiting import wait_until

WITHIN_S: Final = 60.0
SYSTEMD: Final = Path("/lib/systemd/systemd")
NAMESPACES: Final = ("unshare", "-m", "-p", "-u", "-i", "-C", "-n", "-f", "--kill-child=SIGKILL")
ENTERED: Final = ("-m", "-p", "-u", "-i", "-C", "-n", "-r", "-w")
JOIN: Final = f'echo $$ > "$GROUP/cgroup.procs"; exec {" ".join(NAMESPACES)} bash -c "$SCRIPT"'

# The root is read-only, and so is /proc/sys, whose settings are the machine's. The mounts are shared, because
# systemd mounts a credentials directory in a namespace of its own, and it is to come from there.
PRELUDE: Final = f"""
set -eu
mount -t proc proc /proc
{LEAVE_OTHER_MOUNTS}
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /dev/null /dev/console
mount --bind "$PLACE" "$PLACE"
mount --bind "$PLACE/units" /etc/systemd/system
mount --bind "$PLACE/state" /var/lib/systemd
mount -o remount,bind,ro /
mount --make-rshared /
"""
BOOT: Final = f"""
exec env -i container=keyfs PATH="$PATH" {SYSTEMD} --unit=all.target --show-status=false --log-target=null
"""

SERVICE: Final = """
[Unit]
DefaultDependencies=no
OnSuccess=succeeded@{name}.service
OnFailure=failed@{name}.service
[Service]
Type=oneshot
StandardOutput=truncate:{place}/{name}.out
StandardError=truncate:{place}/{name}.err
{lines}
"""
ENDED: Final = """
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo $MONITOR_EXIT_STATUS > {place}/%i.new; mv {place}/%i.new {place}/%i.status'
"""


@dataclass(frozen=True)
class Systemd:
    """One that runs."""

    process: "subprocess.Popen[bytes]"
    place: Path

    def has_ended(self) -> bool:
        """Whether it is gone, and all it has started with it."""
        return self.process.poll() is not None

    def log(self) -> str:
        """What was said before it began."""
        return (self.place / "boot.log").read_text()

    def pids(self) -> list[str]:
        """The number of its process, seen from outside; none before it is there."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return children.read_text().split()
        except FileNotFoundError:  # it has ended
            return []

    def is_listening(self) -> bool:
        """Whether `systemctl` reaches it."""
        return any(Path(f"/proc/{pid}/root/run/systemd/private").exists() for pid in self.pids())

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command beside it, in its namespaces."""
        [pid] = self.pids()
        return subprocess.run(  # noqa: S603 - a test's own command
            ["nsenter", "-t", pid, *ENTERED, "--", *command],  # noqa: S607 - as found by PATH
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )


@dataclass(frozen=True)
class Ran:
    """How a service ended."""

    status: str
    out: bytes
    err: str


def run_units(place: Path, units: Mapping[str, str], preparation: str) -> dict[str, Ran]:
    """Start all services at once, wait for their ends, and end their systemd.

    Args:
        place: a folder, the only one that they may write to.
        units: the lines of `[Service]` by name.
        preparation: shell commands for before the start, with $PLACE.
    """
    folder = place / "units"
    folder.mkdir()
    wants = " ".join(f"{name}.service" for name in units)
    (folder / "all.target").write_text(f"[Unit]\nDefaultDependencies=no\nWants={wants}\n")
    for end in ("succeeded", "failed"):  # one for both would not be told the status
        (folder / f"{end}@.service").write_text(ENDED.format(place=place))
    for name, lines in units.items():
        (folder / f"{name}.service").write_text(SERVICE.format(name=name, place=place, lines=lines))
    ends = [place / f"{name}.status" for name in units]
    with booted(place, preparation) as systemd:
        wait_until(lambda: systemd.has_ended() or all(end.exists() for end in ends), WITHIN_S)
        assert not systemd.has_ended(), systemd.log()  # noqa: S101 - this is the test kit
    return {
        name: Ran(
            (place / f"{name}.status").read_text().strip(),
            (place / f"{name}.out").read_bytes() if (place / f"{name}.out").exists() else b"",
            (place / f"{name}.err").read_text() if (place / f"{name}.err").exists() else "",
        )
        for name in units
    }


@contextmanager
def booted(place: Path, preparation: str) -> Iterator[Systemd]:
    """A systemd that has been started, with the units in *place*/units, of which `all.target` is first.

    Args:
        place: a folder, the only one that they may write to.
        preparation: shell commands for before the start, with $PLACE.
    """
    _need_namespaces()
    (place / "state").mkdir()
    with _cgroup() as group, open(place / "boot.log", "w+b") as log:
        process = subprocess.Popen(  # noqa: S603 - our own script
            ["bash", "-c", JOIN],  # noqa: S607 - as found by PATH
            env=os.environ
            | {"GROUP": str(group), "PLACE": str(place), "SCRIPT": PRELUDE + preparation + BOOT},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        systemd = Systemd(process, place)
        try:
            wait_until(lambda: systemd.has_ended() or systemd.is_listening(), WITHIN_S)
            yield systemd
        finally:
            process.kill()  # it takes systemd with it, and that everything else
            process.wait()


def _need_namespaces() -> None:
    need("unshare", "systemd-creds")
    if not SYSTEMD.exists():
        lacking(f"there is no {SYSTEMD}")
    if os.geteuid() != 0:
        lacking("only root may start a systemd of its own")
    done = subprocess.run(  # noqa: S603 - fixed words
        [*NAMESPACES, "true"], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        lacking(f"no namespaces: {done.stderr.strip()}")


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A control group of its own, which systemd takes for the root of all."""
    mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not found:
        lacking("no cgroup2 is mounted")
    group = found[0] / f"keyfs-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as exc:
        lacking(f"no control group can be made: {exc}")
    try:
        yield group
    finally:
        wait_until(lambda: not _is_populated(group))
        for path in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        group.rmdir()


def _is_populated(group: Path) -> bool:
    return "populated 1" in (group / "cgroup.events").read_text()
