"""A machine as a package would make it: keyfs and its helper in their places, units, a key store.

All of it lies over this machine's own folders in namespaces that end with the test.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.needed import lacking
from keyfs.testing.own_systemd import Systemd, booted

PACKAGING: Final = Path(__file__).parents[2] / "packaging"
UNITS: Final = PACKAGING / "systemd"
LABEL: Final = "storage-sym/alice"

# Devices apart from the machine's own, which nothing that systemd does at a start must reach.
DEVICES: Final = """
mkdir /run/dev
mount --bind /dev /run/dev
mount --make-private /run/dev
mount -t tmpfs -o mode=755 tmpfs /dev
for node in null zero full random urandom tty fuse autofs; do cp -a /run/dev/$node /dev/$node; done
ln -s /proc/self/fd /dev/fd
umount /run/dev
"""
# /usr/bin/keyfs and /usr/sbin/mount.fuse.keyfs, as installed.
PLACED: Final = """
for folder in bin sbin; do
    mount -t overlay overlay -o "lowerdir=$PLACE/$folder:/usr/$folder" "/usr/$folder"
done
"""


def place_programs(place: Path) -> None:
    """Make below *place* what `PLACED` lays over /usr."""
    for folder in ("bin", "sbin"):
        (place / folder).mkdir()
    program = place / "bin/keyfs"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m keyfs "$@"\n')
    program.chmod(0o755)
    helper = place / "sbin/mount.fuse.keyfs"
    helper.write_bytes((PACKAGING / "mount.fuse.keyfs").read_bytes())
    helper.chmod(0o755)


@dataclass(frozen=True)
class Site:
    """The machine, running."""

    systemd: Systemd
    store: LiveStore

    def key(self) -> bytes:
        """What the key is now, past all mounts."""
        return self.store.versions(LABEL)["current"]

    def says(self, *command: str) -> str:
        """What a command prints that has to succeed."""
        ran = self.systemd.run(*command)
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        return ran.stdout

    def property(self, unit: str, name: str) -> str:
        """What systemd knows of a unit."""
        return self.says("systemctl", "show", "--value", "--property", name, unit).strip()

    def digest(self, mountpoint: str) -> str:
        """Of the key, as a program sees it under a mount; empty when it cannot be read."""
        ran = self.systemd.run("sha256sum", f"{mountpoint}/{LABEL}/current")
        return ran.stdout.split(" ")[0]


@contextmanager
def service_site(place: Path, drop_ins: dict[str, str], preparation: str) -> Iterator[Site]:
    """Start it. The units of packaging/systemd are there, with these lines in drop-ins, by unit.

    None of them pulls in what makes an ordinary system: that would change settings of this machine.
    """
    if not Path("/dev/autofs").exists():
        lacking("there is no /dev/autofs")
    store = new_live_store(place)
    store.make(LABEL)
    place_programs(place)
    units = place / "units"
    units.mkdir()
    for target in ("all", "network-online"):
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    for unit in UNITS.iterdir():
        (units / unit.name).write_bytes(unit.read_bytes())
    for unit_name, lines in drop_ins.items():
        (units / f"{unit_name}.d").mkdir()
        (units / f"{unit_name}.d/test.conf").write_text(f"[Unit]\nDefaultDependencies=no\n{lines}")
    with booted(place, DEVICES + PLACED + preparation) as systemd:
        assert not systemd.has_ended(), systemd.log()
        yield Site(systemd, store)
