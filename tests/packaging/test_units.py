"""What can be said of the units without starting anything: systemd's own checks of them."""

import re
import subprocess
from pathlib import Path

import pytest
from service_site import UNITS

from keyfs.testing.needed import need

PLACES = ("usr/bin/keyfs", "usr/bin/fusermount3", "bin/kill")
SECURE_ENOUGH = 46  # in tenths; 96 without any of the lines, as measured by systemd 252
# Each makes a mount namespace, from which the mount would not be seen: systemd.exec(5).
NAMESPACED = (
    "Protect(System|Home|Proc|KernelTunables|KernelModules|KernelLogs|ControlGroups)|Private(Tmp|Devices|Mounts)|"
    "(ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|Bind(ReadOnly)?Paths|TemporaryFileSystem|MountFlags|"
    "Root(Directory|Image)|DynamicUser|ProcSubset|MountAPIVFS|ExtensionImages|MountImages"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the units, and all that they start."""
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    for unit in UNITS.iterdir():
        name = unit.name.replace("@.", "@run-keyfs-keys.")
        (folder / name).write_bytes(unit.read_bytes())
    for target in ("sysinit", "basic", "network-online", "multi-user", "shutdown", "local-fs", "umount"):
        (folder / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    for place in PLACES:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch(mode=0o755)
    return tmp_path


def analyze(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    need("systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", *words], cwd=root, check=False, capture_output=True, text=True, timeout=60
    )


UNIT_FILES = sorted(path.name for path in UNITS.iterdir() if path.suffix != ".sysusers")


@pytest.mark.parametrize("name", UNIT_FILES)
def test_systemd_finds_no_fault_in_a_unit(root: Path, name: str) -> None:
    shown = name.replace("@.", "@run-keyfs-keys.")
    ran = analyze(root, "verify", f"--root={root}", "--man=no", "--recursive-errors=no", shown)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_systemd_would_find_one(root: Path) -> None:
    unit = root / "etc/systemd/system/keyfs@run-keyfs-keys.service"
    unit.write_text(unit.read_text().replace("NotifyAccess=all", "NotifyAcces=all"))
    ran = analyze(root, "verify", f"--root={root}", "--man=no", "--recursive-errors=no", unit.name)
    assert "Unknown key 'NotifyAcces'" in ran.stderr


def test_the_service_gives_away_what_it_does_not_need(root: Path) -> None:
    unit = root / "etc/systemd/system/keyfs@run-keyfs-keys.service"
    words = ("security", "--offline=true", f"--threshold={SECURE_ENOUGH}", "--no-pager", str(unit))
    ran = analyze(root, *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    unit.write_text(
        re.sub(r"\n# Nothing here.*\n\[Install\]", "\n[Install]", unit.read_text(), flags=re.DOTALL)
    )
    assert analyze(root, *words).returncode != 0


def test_no_line_of_the_service_makes_a_mount_namespace() -> None:
    lines = (UNITS / "keyfs@.service").read_text().splitlines()
    assert not [line for line in lines if re.match(rf"({NAMESPACED})=", line)]
    assert re.match(rf"({NAMESPACED})=", "ProtectSystem=strict")


def test_systemd_makes_the_user_of_the_package(root: Path) -> None:
    need("systemd-sysusers")
    ran = subprocess.run(
        ["systemd-sysusers", f"--root={root}", str(UNITS / "keyfs.sysusers")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(
        r"^keyfs:x:\d+:\d+:.*:/usr/sbin/nologin$", (root / "etc/passwd").read_text(), re.MULTILINE
    )
