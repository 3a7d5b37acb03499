"""The rules of conftest.py catch what they are there to catch: each is broken on purpose in its own run."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree as ET

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def run_pytest(
    folder: Path,
    test: str,
    *options: str,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Runs one test file under a copy of the real conftest.py and the real warning filter."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [
        *prefix,
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(folder / "tmp"),
        "-q",
        *options,
    ]
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "KEYFS_REQUIRE_FUSE")}
    return subprocess.run(
        command, cwd=folder, env={**clean, **environment}, check=False, capture_output=True, text=True
    )


WARNS = """
import logging, pytest
{mark}
def test_it():
    logging.getLogger("keyfs.store").warning("the store is %s", "away")
"""
MARKS = [
    ("", "no expects_log announces: the store is away"),
    ("@pytest.mark.expects_log('store is .*back')", "no expects_log announces: the store is away"),
    ("@pytest.mark.expects_log('away$')\n@pytest.mark.expects_log('fire')", "what never came: fire"),
    ("@pytest.mark.expects_log('store is away')", ""),
]
LEAKS = "def test_leaks(): open(__file__)\ndef test_after(): pass\n"

# A mount whose daemon never answered is still a mount.
MOUNTS = """
import ctypes, os, pytest
def mount(place):
    place.mkdir()
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={{fuse}},rootmode=40000,user_id=0,group_id=0".encode()
    assert ctypes.CDLL(None).mount(b"keyfs", bytes(place), b"fuse.keyfs", 0, options) == 0
    os.close(fuse)

@pytest.fixture(scope={scope!r})
def mounted(tmp_path_factory):
    place = tmp_path_factory.mktemp("m") / "with space"
    mount(place)
    yield place
    if {unmounts}:
        assert ctypes.CDLL(None).umount2(bytes(place), 2) == 0

def test_one(mounted): pass
def test_two(mounted): pass
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts by mount(2), which needs root")


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said about each test, by file and name, in one run for all that shows before a session ends."""
    folder = tmp_path_factory.mktemp("run")
    for number, (mark, _) in enumerate(MARKS):
        (folder / f"test_warns_{number}.py").write_text(WARNS.format(mark=mark))
    (folder / "test_leaks.py").write_text(LEAKS)
    for scope, unmounts in product(("function", "module"), (True, False)):
        source = MOUNTS.format(scope=scope, unmounts=unmounts)
        (folder / f"test_mounts_{scope}_{unmounts}.py").write_text(source)
    ran = run_pytest(folder, "def test_passes(): pass\n", "--junitxml=results.xml")
    assert ran.returncode == 1, ran.stdout
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    said: dict[str, str] = {}
    for case in ET.parse(folder / "results.xml").iter("testcase"):
        words = (f"{one.get('message')} {one.text}" for one in case)
        name = f"{case.get('classname')}.{case.get('name')}"
        said[name] = said.get(name, "") + "".join(words)
    assert said["test_it.test_passes"] == ""
    return said


@pytest.mark.parametrize("number", range(len(MARKS)))
def test_a_warning_fails_a_test_that_does_not_announce_it(number: int, complaints: dict[str, str]) -> None:
    said, expected = complaints[f"test_warns_{number}.test_it"], MARKS[number][1]
    assert expected in said
    assert bool(said) == bool(expected)


def test_a_leaked_file_fails_the_test_that_leaked_it(complaints: dict[str, str]) -> None:
    assert "unclosed file" in complaints["test_leaks.test_leaks"]
    assert complaints["test_leaks.test_after"] == ""


# Detached on purpose: a daemon has another parent.
STAYS = """
import subprocess
def test_it():
    subprocess.run(["setsid", "--fork", "sleep", "60.123"], check=True)
"""


def test_a_daemon_that_outlives_the_session_fails_it_and_is_killed(tmp_path: Path) -> None:
    ran = run_pytest(tmp_path, STAYS)
    assert "left running: " in ran.stdout
    assert "sleep 60.123" in ran.stdout
    assert ran.returncode == 1


@needs_root
@pytest.mark.parametrize("scope", ["function", "module"])
@pytest.mark.parametrize("unmounts", [True, False])
@pytest.mark.usefixtures("fuse_required")
def test_a_mount_left_by_a_fixture_fails_and_is_taken_away(
    complaints: dict[str, str], scope: str, unmounts: bool
) -> None:
    said = [complaints[f"test_mounts_{scope}_{unmounts}.test_{which}"] for which in ("one", "two")]
    complained = ["left mounted: " in words for words in said]
    assert complained == [not unmounts and scope == "function", not unmounts]
    assert not unmounts or said == ["", ""]


@needs_root
@pytest.mark.parametrize("unmounts", [True, False])
@pytest.mark.usefixtures("fuse_required")
def test_a_mount_left_by_a_fixture_of_the_session_fails_and_is_taken_away(
    tmp_path: Path, unmounts: bool
) -> None:
    ran = run_pytest(tmp_path, MOUNTS.format(scope="session", unmounts=unmounts))
    assert ("left mounted: " in ran.stdout) == (not unmounts)
    assert ran.returncode == (0 if unmounts else 1), ran.stdout
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


# A machine without /dev/fuse, made with a private /dev.
HIDE_DEVICES = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec "$@"',
    "sh",
]


@pytest.mark.skipif(os.geteuid() != 0, reason="hides /dev in a mount namespace, which needs root")
@pytest.mark.parametrize(
    ("environment", "outcome"),
    [({}, "1 skipped"), ({"CI": "true"}, "1 error"), ({"KEYFS_REQUIRE_FUSE": "1"}, "1 error")],
)
def test_a_machine_without_fuse_skips_but_not_in_ci(
    tmp_path: Path, environment: dict[str, str], outcome: str
) -> None:
    ran = run_pytest(
        tmp_path, "def test_it(fuse_required): pass", prefix=HIDE_DEVICES, environment=environment
    )
    assert outcome in ran.stdout, ran.stderr
