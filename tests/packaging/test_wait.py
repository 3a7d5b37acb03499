"""`keyfs wait --for`: a key that can be read through a mount, and nothing that only looks like one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, mounted, run_keyfs
from keyfs.testing.other_user import beside_nobody
from keyfs.testing.waiting import wait_until

LABEL = "storage-sym/alice"

pytestmark = pytest.mark.usefixtures("fuse_required")


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make(LABEL)
    return made


@contextmanager
def waiting(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """One that is under way, and has found nothing yet."""
    command = [sys.executable, "-m", "keyfs", "wait", "--for", str(path), "--timeout", "60s"]
    with subprocess.Popen(command, env=keyfs_environment({}), stderr=subprocess.PIPE) as process:
        try:
            sleeps_in = Path(f"/proc/{process.pid}/wchan")
            wait_until(lambda: process.poll() is not None or "nanosleep" in sleeps_in.read_text())
            assert process.poll() is None
            yield process
        finally:
            process.kill()


def refusal(path: str | Path, timeout: str = "0") -> tuple[int, str]:
    ran = run_keyfs("wait", "--for", path, "--timeout", timeout, environment={})
    said = ran.stderr.decode()
    assert ran.stdout == b""
    assert said.count("\n") == 1, said
    return ran.returncode, said.removeprefix("keyfs: ").rstrip("\n")


def test_what_is_there_is_not_waited_for(store: LiveStore) -> None:
    with mounted(store.mountpoint, environment=store.environment) as root:
        for path in (root, root / LABEL, root / LABEL / "current"):
            ran = run_keyfs("wait", "--for", path, "--timeout", "0", environment={})
            assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_program_starts_when_the_mount_is_there(store: LiveStore) -> None:
    with (
        waiting(store.mountpoint / LABEL / "current") as process,
        mounted(store.mountpoint, environment=store.environment),
    ):
        assert process.wait(20) == 0


def test_a_program_starts_when_the_key_is_there(store: LiveStore) -> None:
    with (
        mounted(store.mountpoint, environment=store.environment) as root,
        waiting(root / "storage-sym/robert/current") as process,
    ):
        assert refusal(root / "storage-sym/robert/current") == (
            4,
            f"{root}/storage-sym/robert/current cannot be opened: No such file or directory",
        )
        store.make("storage-sym/robert")
        assert process.wait(20) == 0


def test_a_file_of_that_name_on_the_disk_does_not_count(store: LiveStore) -> None:
    path = store.mountpoint / LABEL / "current"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 32)
    assert refusal(path) == (20, f"{path} is not on a keyfs mount: see keyfs status")
    assert refusal(store.mountpoint)[0] == 20


def test_nothing_is_mounted(store: LiveStore) -> None:
    path = store.mountpoint / LABEL / "current"
    said = f"{path} cannot be opened (No such file or directory), and no keyfs is mounted above it"
    assert refusal(path) == (20, f"{said}: see keyfs status")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes user, which needs root")
def test_a_mount_of_somebody_else_is_closed(store: LiveStore, tmp_path: Path) -> None:
    """Without --allow-other. The reason is told, when the time is over."""
    script = """
"$PYTHON" -m keyfs mount mount
keyfs wait --for /mnt/mount/storage-sym/alice/current --timeout 0 || echo $?
"$PYTHON" -m keyfs umount mount
"""
    ran = beside_nobody(tmp_path, script)
    assert ran.stdout == "10\n", ran.stderr
    assert ran.stderr == "keyfs: /mnt/mount/storage-sym/alice/current cannot be opened: Permission denied\n"


def test_a_mount_that_hangs_does_not_hang_us(store: LiveStore) -> None:
    with mounted(store.mountpoint, environment=store.environment) as root:
        pid = int(next(w for w in (root / ".keyfs/status").read_text().split("\n") if "pid:" in w)[5:])
        os.kill(pid, signal.SIGSTOP)
        try:
            assert refusal(root / LABEL / "current", "1s") == (
                19,
                f"{root}/{LABEL}/current cannot be opened: Connection timed out",
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        assert run_keyfs("wait", "--for", root / LABEL, environment={}).returncode == 0


def test_a_dead_mount_is_not_there(store: LiveStore) -> None:
    with mounted(store.mountpoint, environment=store.environment) as root:
        pid = int(next(w for w in (root / ".keyfs/status").read_text().split("\n") if "pid:" in w)[5:])
        os.kill(pid, signal.SIGKILL)
        said = f"{root}/{LABEL} cannot be opened: Transport endpoint is not connected"
        wait_until(lambda: refusal(root / LABEL) == (19, said))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--for", "keys/x"),
            "--for keys/x is no absolute path: name the mountpoint, too, as in /keys/keys/x",
        ),
        (("--for", "/keys", "--timeout", "soon"), "'soon' is no time"),
        ((), "Missing option '--for'"),
    ],
)
def test_what_it_cannot_wait_for(words: tuple[str, ...], said: str) -> None:
    ran = run_keyfs("wait", *words, environment={})
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert said in ran.stderr.decode()
