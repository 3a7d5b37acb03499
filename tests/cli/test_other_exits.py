"""Exit codes that stand for no error of ours: usage, findings, an interrupt, a bug."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import keyfs

from keyfs.cli.exitcodes import BUG, EXIT_CODES, FINDINGS, INTERRUPTED, USAGE
from keyfs.errors import MasterKeyUnavailable
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, run_keyfs

LABEL = "storage-sym/alice"


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL, b"k" * 32)
    return made


@pytest.mark.parametrize(
    "words",
    [
        ("bogus",),
        ("list", "--bogus"),
        ("list", "a", "b"),
        ("read",),
        ("mount",),
        ("umount",),
        ("destroy",),
        ("master-key", "bogus"),
        ("init", "--layout", "v3"),
        ("list", "--log-level", "loud"),
        ("list", "--store"),
        ("--bogus",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(store: LiveStore, words: tuple[str, ...]) -> None:
    ran = keyfs(*words, environment=store.environment)
    assert ran.code == USAGE
    assert ran.refusal().endswith("(see keyfs --help)")


def test_no_command_at_all_shows_the_help_and_is_2() -> None:
    ran = keyfs(environment={})
    assert (ran.code, ran.out) == (USAGE, b"")
    assert "Commands:" in ran.err


def test_findings_are_1(store: LiveStore) -> None:
    (store.root / "alice_storage_sym").unlink()
    (store.root / "rub.bish").touch()
    ran = keyfs("check", environment=store.environment)
    assert ran.code == FINDINGS
    assert ran.out.startswith(b"fault\tstray\trub.bish\t")


def until_it_reads_stdin(pid: int) -> None:
    """Waits until the process is in a system call whose first argument is descriptor 0."""
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/syscall").read_text().split()[1:2] != ["0x0"]:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_an_interrupted_command_is_130(store: LiveStore) -> None:
    # A shell that is not interactive has its background commands ignore the signal, and so may we.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "keyfs", "rotate", LABEL]
    command += ["--from-file", "-"]
    with subprocess.Popen(
        command,
        env=keyfs_environment(store.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until_it_reads_stdin(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (INTERRUPTED, b"")
    assert err.strip() == b"keyfs: interrupted"
    assert list(store.versions(LABEL).values()) == [b"k" * 32]


def test_a_reader_that_closes_early_ends_a_command_in_silence(store: LiveStore) -> None:
    script = f'"{sys.executable}" -m keyfs list | true; echo "${{PIPESTATUS[0]}}"'
    ran = subprocess.run(
        ["bash", "-c", script], env=keyfs_environment(store.environment), capture_output=True, check=False
    )
    assert ran.stderr == b""
    assert int(ran.stdout) in (0, 128 + signal.SIGPIPE)


BROKEN_PACKAGE = {
    "broken.py": "def provider(rest, layout): raise ZeroDivisionError('a bug of theirs')\n",
    "broken-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: broken\nVersion: 1\n",
    "broken-1.dist-info/entry_points.txt": "[keyfs.master_keys]\nbroken = broken:provider\n",
}


BROKEN_LIBRARY = {
    "msgspec.py": "def __getattr__(name): raise ZeroDivisionError('a bug of theirs')\n",
}


def packages(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"PYTHONPATH": str(folder)}


def test_a_bug_in_who_brings_a_master_key_is_one_line_and_shows_where_when_asked(
    store: LiveStore, tmp_path: Path
) -> None:
    broken = packages(tmp_path / "packages", BROKEN_PACKAGE) | {"KEYFS_MASTER_KEY": "broken:x"}
    ran = run_keyfs("read", LABEL, environment=store.environment | broken)
    assert (ran.returncode, ran.stdout) == (EXIT_CODES[MasterKeyUnavailable], b"")
    assert (
        ran.stderr == b"keyfs: 'broken' master keys: internal error ZeroDivisionError in what fetches them\n"
    )
    ran = run_keyfs("read", LABEL, environment=store.environment | broken | {"KEYFS_DEBUG": "1"})
    assert ran.stderr.startswith(b"Traceback ")
    assert b"ZeroDivisionError: a bug of theirs\n" in ran.stderr


def test_a_bug_is_70_and_shows_where_when_asked(store: LiveStore, tmp_path: Path) -> None:
    """Here one of a library."""
    broken = packages(tmp_path / "packages", BROKEN_LIBRARY)
    ran = run_keyfs("read", LABEL, environment=store.environment | broken)
    said = b"keyfs: internal error ZeroDivisionError: set KEYFS_DEBUG=1 and run it again to see where\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (BUG, b"", said)
    ran = run_keyfs("read", LABEL, environment=store.environment | broken | {"KEYFS_DEBUG": "1"})
    assert ran.stderr.startswith(b"Traceback ")
    assert ran.stderr.endswith(b"ZeroDivisionError: a bug of theirs\n")
