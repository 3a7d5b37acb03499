"""The scripts a newcomer starts do what they promise, and leave nothing mounted."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("fuse_required")

ROOT = Path(__file__).parents[2]


def run_script(name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Whatever the caller's own environment says about keyfs must not reach the demonstration.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEYFS_", "ACRA_"))}
    command = [ROOT / "scripts" / name, *arguments]
    return subprocess.run(
        command,
        env={**clean, **environment},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def digests(output: str) -> dict[str, list[str]]:
    """Gathers what sha256sum printed, by file name, in the order of the output."""
    found: dict[str, list[str]] = {}
    for digest, path in re.findall(r"(?m)^([0-9a-f]{64})  (.+)$", output):
        found.setdefault(Path(path).name, []).append(digest)
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder, and what the quickstart said that made it."""
    folder = tmp_path_factory.mktemp("quickstart") / "a demo"
    ran = run_script("quickstart", folder)
    assert ran.returncode == 0, ran.stdout
    return folder, ran.stdout


def test_the_quickstart_shows_a_rotation_and_unmounts(demo: tuple[Path, str]) -> None:
    folder, said = demo
    assert not os.path.ismount(folder / "keys")
    shown = digests(said)
    before, after = shown.pop("current")
    [old_version] = shown.values()
    assert old_version == [before]
    assert after != before


def test_the_quickstart_says_how_to_mount_again(demo: tuple[Path, str]) -> None:
    _, said = demo
    *mount, place = shlex.split(said.splitlines()[-1])
    subprocess.run([*mount, place], check=True)
    current = Path(place, "storage-sym", "alice1", "current").read_bytes()
    subprocess.run([mount[0], "umount", place], check=True)
    assert hashlib.sha256(current).hexdigest() == digests(said)["current"][-1]


def test_a_kept_quickstart_stays_mounted_until_its_last_line_is_run(tmp_path: Path) -> None:
    ran = run_script("quickstart", "--keep", tmp_path / "demo")
    assert os.path.ismount(tmp_path / "demo" / "keys")
    subprocess.run(shlex.split(ran.stdout.splitlines()[-1]), check=True)
    assert not os.path.ismount(tmp_path / "demo" / "keys")


def test_a_failed_quickstart_leaves_its_folder_but_no_mount(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "stat"  # the first command after the mount that nothing else calls
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    ran = run_script("quickstart", tmp_path / "demo", PATH=f"{broken.parent}:{os.environ['PATH']}")
    assert ran.returncode == 3
    assert f"failed; what it made is in {tmp_path}/demo" in ran.stdout
    assert (tmp_path / "demo" / "keys").is_dir()
    assert not os.path.ismount(tmp_path / "demo" / "keys")


def test_the_quickstart_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    ran = run_script("quickstart", tmp_path)
    assert ran.returncode == 1
    assert "is not empty; name a new folder" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def left_by(ran: subprocess.CompletedProcess[str]) -> list[str]:
    """What a benchmark did not take away. Other ones may be at work: each names its own place."""
    [pid] = re.findall(r"(?m)^bench: everything lies in keyfs-bench-(\d+)-", ran.stdout)
    places = [*Path("/dev/shm").iterdir(), *Path("/var/tmp").iterdir()]
    left = [str(path) for path in places if path.name.startswith(f"keyfs-bench-{pid}-")]
    return left + re.findall(rf"\S*keyfs-bench-{pid}-\S*", Path("/proc/self/mounts").read_text())


def test_the_benchmark_measures_everything_and_unmounts(tmp_path: Path) -> None:
    if shutil.which("gocryptfs") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("gocryptfs is missing; scripts/setup --test")
    ran = run_script("bench", "--quick", "--output", tmp_path / "bench.json")
    assert ran.returncode == 0, ran.stdout
    assert not left_by(ran)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert all(row["reason"] if "ratio" not in row else row["ratio"]["rounds"] for row in found["rows"])
    elsewhere = {name for name in ("cold", "index") if not (ROOT / "scripts" / f"bench_{name}.py").exists()}
    measured = {row["contest"] for row in found["rows"] if "ratio" in row}
    assert measured == {"hot", "cold", "ls", "rotate", "mount", "index", "start", "growth"} - elsewhere
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_steps_of_a_rotation_are_told_beside_those_of_a_script() -> None:
    ran = run_script("bench", "steps", "--quick")
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^fsync\(2\), three times +\d+ +\d+$", ran.stdout, re.MULTILINE)
    assert re.search(r"^take both locks +\d+ +-$", ran.stdout, re.MULTILINE)
    assert not left_by(ran)


@pytest.mark.parametrize(("words", "handler"), [((), "open"), (("--list", "500"), "readdir")])
def test_the_profile_names_the_handlers(words: tuple[str, ...], handler: str) -> None:
    ran = run_script("bench", "profile", "--quick", "--lines", "9999", *words)
    assert ran.returncode == 0, ran.stdout
    assert re.search(rf"handlers\.py:\d+\({handler}\)", ran.stdout)
    assert not left_by(ran)


def test_the_count_of_calls_to_a_kms_is_bounded_by_the_cache(tmp_path: Path) -> None:
    ran = run_script("bench", "kms", "--quick", "--output", tmp_path / "bench.json")
    assert ran.returncode == 0, ran.stdout
    calls = [
        row["calls per 1,000 reads"] for row in json.loads((tmp_path / "bench.json").read_text()).values()
    ]
    assert calls[0] >= 1000  # without a cache
    assert calls[2] <= 1000 * 10 / 100  # each of ten keys once in 100 reads
    assert calls[3] == 0  # one master key: never again
