"""Each check of `keyfs doctor` sees what is wrong and names the command that mends it."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from keyfs.cli import doctor_checks as checks
from keyfs.custody import CoreDumps, KeyMemory

USER = 1000


@pytest.mark.parametrize(
    ("version", "state"), [((3, 11, 0), "ok"), ((3, 14, 1), "ok"), ((3, 10, 9), "missing")]
)
def test_python(version: tuple[int, ...], state: str) -> None:
    finding = checks.check_python(version)
    assert finding.state == state
    assert ("apt-get install python3" in finding.remedy) == (state != "ok")


def test_a_module_that_imports() -> None:
    assert checks.check_pyfuse3("pyfuse3").state == "ok"


def test_a_module_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be there and still fail, for want of its library."""
    (tmp_path / "half_installed.py").write_text("raise ImportError('libfuse3.so.3:\\nno such file')")
    monkeypatch.syspath_prepend(tmp_path)
    finding = checks.check_pyfuse3("half_installed")
    assert (finding.state, finding.detail) == ("missing", "libfuse3.so.3: no such file")
    assert "libfuse3-dev && " in finding.remedy
    assert finding.remedy.endswith("-m pip install half_installed")


def test_a_device_open_to_all() -> None:
    assert checks.check_fuse_device("/dev/null", USER).state == "ok"


def test_no_device(tmp_path: Path) -> None:
    finding = checks.check_fuse_device(str(tmp_path / "fuse"), 0)
    assert finding.state == "missing"
    assert finding.remedy.startswith("modprobe fuse; in a container")


def test_a_file_in_place_of_the_device(tmp_path: Path) -> None:
    (tmp_path / "fuse").touch()
    assert checks.check_fuse_device(str(tmp_path / "fuse"), 0).detail == "is no device"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a device node, which needs root")
def test_a_device_of_root_alone() -> None:
    """As on a machine without udev. Root can open it; others learn the command."""
    probe = (
        "import os, sys; from keyfs.cli.doctor_checks import check_fuse_device; "
        "os.setgid(1000); os.setuid(1000); print(check_fuse_device(sys.argv[1], 1000).remedy)"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o711)
        device = f"{folder}/fuse"
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        finding = checks.check_fuse_device(device, 0)
        ran = subprocess.run(
            [sys.executable, "-c", probe, device], check=True, capture_output=True, text=True
        )
    assert (finding.state, finding.detail) == ("warning", "mode 0600: only some users can mount")
    assert finding.remedy.startswith(f"chmod 666 {device} (")
    assert ran.stdout.startswith(f"sudo chmod 666 {device} (")


def test_fusermount_is_for_those_who_are_not_root(tmp_path: Path) -> None:
    plain = tmp_path / "fusermount3"
    plain.touch(mode=0o755)
    assert checks.check_fusermount(str(plain), 0).state == "ok"
    assert checks.check_fusermount(None, 0).state == "warning"
    assert checks.check_fusermount(None, USER).remedy == "sudo apt-get install fuse3"
    finding = checks.check_fusermount(str(plain), USER)
    assert (finding.state, finding.remedy) == ("missing", "sudo apt-get install --reinstall fuse3")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("user_allow_other\n", "ok"),
        ("# x\n  user_allow_other  \n", "ok"),
        ("#user_allow_other\n", "warning"),
        ("user_allow_others\n", "warning"),
        ("", "warning"),
    ],
)
def test_allow_other_needs_its_line(tmp_path: Path, text: str, state: str) -> None:
    conf = tmp_path / "fuse.conf"
    conf.write_text(text)
    finding = checks.check_allow_other(str(conf), USER)
    assert finding.state == state
    assert finding.remedy == ("" if state == "ok" else f"echo user_allow_other | sudo tee -a {conf}")


def test_allow_other_without_the_file(tmp_path: Path) -> None:
    assert checks.check_allow_other(str(tmp_path / "absent"), 0).state == "ok"
    assert checks.check_allow_other(str(tmp_path / "absent"), USER).state == "warning"


def test_the_sealer_in_use_is_the_first_that_works() -> None:
    finding = checks.check_sealer([("themis", False, "no library"), ("pure", True, "cryptography 50")])
    assert (finding.state, finding.remedy) == ("ok", "")
    assert finding.detail == "pure (cryptography 50); themis is not used: no library"
    nothing = checks.check_sealer([("pure", False, "no cryptography")])
    assert nothing.state == "missing"
    assert nothing.remedy.endswith("-m pip install cryptography")


def test_a_package_is_looked_for_but_not_imported() -> None:
    finding = checks.check_package("keyfs_no_such_package", "such things")
    assert (finding.state, finding.detail) == ("warning", "not installed: no such things")
    assert finding.remedy.endswith("-m pip install keyfs_no_such_package")
    finding = checks.check_package("keyfs_no_such_package", "such things", extra="such")
    assert finding.remedy.endswith("-m pip install 'keyfs[such]'")
    probe = (
        "import sys; from keyfs.cli.doctor_checks import check_package; "
        "check_package('boto3', ''); check_package('redis', ''); "
        "sys.exit('boto3' in sys.modules or 'redis' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "state"), [("65536\n", "ok"), ("8191\n", "warning"), ("x", "warning"), ("", "warning")]
)
def test_the_watch_limit(tmp_path: Path, text: str, state: str) -> None:
    (tmp_path / "limit").write_text(text)
    finding = checks.check_watches(str(tmp_path / "limit"), 0)
    assert finding.state == state
    assert finding.remedy == ("" if state == "ok" else "sysctl fs.inotify.max_user_watches=65536")


def test_core_dumps() -> None:
    assert checks.check_core_dumps(CoreDumps(size_limit_zero=True, undumpable=True)).state == "ok"
    finding = checks.check_core_dumps(CoreDumps(size_limit_zero=False, undumpable=False))
    assert (finding.state, finding.detail) == ("warning", "RLIMIT_CORE is not 0; the process is dumpable")


@pytest.mark.parametrize(
    ("kind", "state", "remedy"),
    [
        ("memfd_secret", "ok", ""),
        ("mlock", "warning", "secretmem.enable=1"),
        ("undumped", "warning", "LimitMEMLOCK=infinity"),
        ("ordinary", "warning", "secretmem.enable=1"),
    ],
)
def test_where_keys_would_lie(kind: KeyMemory, state: str, remedy: str) -> None:
    finding = checks.check_key_memory(kind)
    assert finding.state == state
    assert finding.remedy.endswith(remedy)
    assert bool(finding.remedy) == bool(remedy)


def test_the_memory_lock() -> None:
    assert checks.check_memory_lock(locked=True).state == "ok"
    finding = checks.check_memory_lock(locked=False)
    assert finding.state == "warning"
    assert "ulimit -l unlimited" in finding.remedy


def test_all_checks_run_here_and_every_bad_one_has_a_remedy() -> None:
    """In a process of its own, which never may dump core again."""
    probe = (
        "import json; from dataclasses import asdict; from keyfs.cli.doctor_checks import run_checks; "
        "print(json.dumps([asdict(finding) for finding in run_checks()]))"
    )
    ran = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    findings = [checks.Finding(**fields) for fields in json.loads(ran.stdout)]
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names) == 14
    for finding in findings:
        assert (finding.remedy == "") == (finding.state == "ok"), finding
        assert not any("\n" in str(text) for text in asdict(finding).values()), finding
    assert ran.stderr == ""
