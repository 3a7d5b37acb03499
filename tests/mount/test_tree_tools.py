"""The tools with which people look at directories work on a whole mount: cat, cp, grep, tar, find, du."""

import os
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from keyfs.core.tree import ROTATE_TEXT
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_small_store

VECTORS = Path(__file__).parents[1] / "vectors"
DAY_S = 86400
AGED = "alice1_storage.old/2026-11-24T02:51:09.94833539"
AGED_LABEL = "storage/alice1/2026-11-24T02:51:09.94833539"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RealStore:
    """One version in it is two years old."""
    restored = restore_small_store(VECTORS, "rotated", tmp_path_factory.mktemp("tools"))
    aged = restored.root / AGED
    os.utime(aged, (1, aged.stat().st_mtime - 2 * 365 * DAY_S))
    return restored


@pytest.fixture(scope="module", params=["rw", "ro"])
def root(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    store: RealStore,
    fuse_required: None,
) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("mounted")
    with mounted(place / "mount", "-o", request.param, environment=store.environment) as mountpoint:
        yield mountpoint


def succeed(*command: str, cwd: Path) -> bytes:
    """Runs a command that must succeed and have nothing to say against it."""
    ran = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    return ran.stdout


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_cat_of_all_in_a_directory(root: Path) -> None:
    directory = root / "storage-sym/alice1"
    printed = succeed("bash", "-c", "cat *", cwd=directory)
    assert printed == b"".join((directory / name).read_bytes() for name in sorted(os.listdir(directory)))
    assert len(printed) == 4 * 32 + (len(ROTATE_TEXT) if (directory / "rotate").exists() else 0)


def test_cp_r_of_everything(root: Path, tmp_path: Path) -> None:
    succeed("cp", "-r", str(root), "copy", cwd=tmp_path)
    assert contents(tmp_path / "copy") == contents(root)


def test_cp_a_of_a_key_keeps_mode_and_time(root: Path, tmp_path: Path) -> None:
    """`cp -a` asks for extended attributes and access control lists, too."""
    key = root / "storage-sym/alice1/current"
    succeed("cp", "-a", str(key), "copy", cwd=tmp_path)
    copy = (tmp_path / "copy").stat()
    assert (copy.st_mode, copy.st_mtime_ns) == (key.stat().st_mode, key.stat().st_mtime_ns)


def test_grep_r_over_everything(root: Path) -> None:
    assert succeed("grep", "-r", "--text", "-l", "REC2", "storage/alice1", cwd=root).count(b"\n") == 4
    assert b"inventory.tsv" in succeed("grep", "-rl", "bob smith", ".", cwd=root)


def test_tar_of_everything_has_whole_members(root: Path) -> None:
    """What tar trusts is the size that stat shows."""
    archive = succeed("tar", "--create", "--xattrs", ".", cwd=root)
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        packed = {}
        for member in tar.getmembers():
            file = tar.extractfile(member)
            if file is not None:
                packed[member.name.removeprefix("./")] = file.read()
    assert packed == contents(root)


def test_a_program_that_reads_just_the_size_that_stat_shows_gets_all(root: Path) -> None:
    fd = os.open(root / "storage/alice1/current", os.O_RDONLY)
    size = os.fstat(fd).st_size
    assert len(os.read(fd, size)) == size == 45
    assert os.read(fd, 1) == b""
    os.close(fd)


def test_sendfile_and_a_private_mapping(root: Path, tmp_path: Path) -> None:
    key = root / "storage-sym/alice1/current"
    with key.open("rb") as source, (tmp_path / "copy").open("wb") as target:
        assert os.sendfile(target.fileno(), source.fileno(), 0, 99) == 32
    assert (tmp_path / "copy").read_bytes() == key.read_bytes()


def test_find_mtime_reports_what_is_overdue(root: Path) -> None:
    found = succeed("find", ".", "-type", "f", "-mtime", "+365", "-printf", "%P\n", cwd=root)
    assert set(found.decode().splitlines()) == {AGED_LABEL, f"{AGED_LABEL}.pub"}
    assert succeed("find", ".", "-name", "current", "-size", "-1", cwd=root) == b""


def test_ls_and_du(root: Path) -> None:
    assert b" 45 " in succeed("ls", "-l", "storage/alice1/current", cwd=root)
    # GNU du counts a file with several links once, by its number.
    sizes = sum(len(content) for content in contents(root).values())
    assert int(succeed("du", "--bytes", "--summarize", ".", cwd=root).split()[0]) == sizes


def test_keyfs_read_prints_what_the_file_holds(root: Path, store: RealStore) -> None:
    for label in ("storage/alice1/current", AGED_LABEL, f"{AGED_LABEL}.pub", "audit-log/@global/current"):
        printed = run_keyfs("read", label, environment=store.environment)
        assert printed.stdout == (root / label).read_bytes()
