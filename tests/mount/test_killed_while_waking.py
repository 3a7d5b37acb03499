"""A daemon that is killed while it wakes watchers hangs nobody: everyone gets an error at once."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from keyfs.testing.mounted import keyfs_environment, run_keyfs
from keyfs.testing.waiting import wait_until

ROTATIONS = 40
KILLS = 12


def daemon_of(mount: Path) -> int:
    text = (mount / ".keyfs" / "status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("pid:")))


@pytest.mark.usefixtures("fuse_required")
def test_a_daemon_killed_while_it_wakes_watchers_leaves_nobody_hanging(tmp_path: Path) -> None:
    """Its own process would wait for itself for ever if it touched the mount with a thread of its own."""
    mount = tmp_path / "mount"
    mount.mkdir()
    key = run_keyfs("master-key", "generate", environment={}).stdout.decode().strip()
    environment = {"KEYFS_STORE": str(tmp_path / "keys"), "ACRA_MASTER_KEY": key}
    for words in (["init"], ["generate", "hmac-sym/alice"]):
        assert run_keyfs(*words, environment=environment).returncode == 0
    for _ in range(KILLS):
        assert run_keyfs("mount", mount, environment=environment).returncode == 0
        daemon = daemon_of(mount)
        with subprocess.Popen(
            [
                "bash",
                "-c",
                f"for i in $(seq {ROTATIONS}); do echo > rotate || exit 1; cat current || exit 1; done",
            ],
            cwd=mount / "hmac-sym" / "alice",
            env=keyfs_environment({}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as writer:
            before = len(list((tmp_path / "keys" / "alice_hmac.old").glob("*")))
            wait_until(lambda n=before: len(list((tmp_path / "keys" / "alice_hmac.old").glob("*"))) > n + 2)  # type: ignore[misc]  # mypy cannot tell the default
            os.kill(daemon, signal.SIGKILL)
            assert writer.wait(20) != 0
        wait_until(lambda d=daemon: not Path(f"/proc/{d}").exists())  # type: ignore[misc]  # as above
    assert run_keyfs("umount", "--lazy", mount, environment=environment).returncode == 0
    assert run_keyfs("check", "--repair", environment=environment).returncode == 0
