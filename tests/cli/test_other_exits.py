"""Exit codes that stand for no error of ours: usage, findings, an interrupt, a bug."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import keyfs

from keyfs.cli.exitcodes import BUG, FINDINGS, INTERRUPTED, USAGE
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


def test_a_bug_is_70_and_shows_where_when_asked(store: LiveStore, tmp_path: Path) -> None:
    """Here one of a package that brings a master key provider."""
    for name, text in BROKEN_PACKAGE.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    broken = {"PYTHONPATH": str(tmp_path / "packages"), "KEYFS_MASTER_KEY": "broken:x"}
    ran = run_keyfs("read", LABEL, environment=store.environment | broken)
    said = b"keyfs: internal error ZeroDivisionError: set KEYFS_DEBUG=1 and run it again to see where\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (BUG, b"", said)
    ran = run_keyfs("read", LABEL, environment=store.environment | broken | {"KEYFS_DEBUG": "1"})
    assert ran.stderr.startswith(b"Traceback ")
    assert ran.stderr.endswith(b"ZeroDivisionError: a bug of theirs\n")
