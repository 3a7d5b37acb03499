"""`keyfs status`: one mount, all mounts, none, and dead ones."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemon_life import WITHIN_S, daemon_of, is_mounted, kill_daemon, watched

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, mounted, run_keyfs

FACTS = [
    "version",
    "pid",
    "mountpoint",
    "store",
    "layout",
    "master_key",
    "sealer",
    "read_only",
    "started",
    "state",
    "keys",
    "strays",
]


@pytest.fixture
def store(tmp_path: Path, fuse_required: None) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make("storage-sym/alice")
    return made


def test_the_status_of_one_mount(store: LiveStore) -> None:
    with mounted(store.mountpoint, environment=store.environment) as root:
        ran = run_keyfs("status", "--json", root, environment={})
        facts = json.loads(ran.stdout)
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert list(facts) == FACTS
        assert facts["pid"] == daemon_of(root)
        assert (facts["mountpoint"], facts["store"]) == (str(root), f"dir:{store.root}")
        assert (facts["state"], facts["keys"], facts["read_only"]) == ("fresh", 1, False)
        as_text = run_keyfs("status", root, environment={}).stdout.decode().splitlines()
        assert [line.partition(": ")[0] for line in as_text if line] == FACTS
        assert f"store: dir:{store.root}" in as_text


def test_the_status_of_all_mounts(store: LiveStore) -> None:
    """Others may have mounts here, too."""
    with mounted(store.mountpoint, "--read-only", environment=store.environment) as root:
        all_facts = json.loads(run_keyfs("status", "--json", environment={}).stdout)
        as_text = run_keyfs("status", environment={}).stdout.decode()
        [facts] = [facts for facts in all_facts if facts["mountpoint"] == str(root)]
        assert facts == json.loads(run_keyfs("status", "--json", root, environment={}).stdout)
        assert f"\nmountpoint: {root}\n" in as_text


@pytest.mark.skipif(os.geteuid() != 0, reason="hides mounts in a namespace of its own, which needs root")
@pytest.mark.parametrize(
    ("option", "printed", "said"), [("", "", "no keyfs is mounted\n"), ("--json", "[]\n", None)]
)
def test_no_mount_at_all(option: str, printed: str, said: str | None) -> None:
    hide = 'umount --all --lazy --types fuse.keyfs; exec "$@"'
    words = [sys.executable, "-m", "keyfs", "status", *option.split()]
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, "sh", *words],
        env=keyfs_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, printed, said or "")


def test_a_dead_mount_is_told_with_what_to_do_about_it(store: LiveStore) -> None:
    root = store.mountpoint
    run_keyfs("mount", root, environment=store.environment)
    kill_daemon(root)
    ran = run_keyfs("status", "--json", root, environment={})
    facts = json.loads(ran.stdout)
    remedy = f"keyfs umount --lazy {root}"
    reason = "Transport endpoint is not connected"
    assert ran.returncode == 1
    assert facts == {"mountpoint": str(root), "state": "dead", "reason": reason, "remedy": remedy}
    assert run_keyfs("status", environment={}).returncode == 1
    assert run_keyfs(*remedy.split()[1:], environment={}).returncode == 0
    assert not is_mounted(root)


def test_a_mount_whose_daemon_is_stopped_holds_up_nobody(store: LiveStore) -> None:
    root = store.mountpoint
    run_keyfs("mount", root, environment=store.environment)
    daemon = daemon_of(root)
    with watched(daemon) as ends, ThreadPoolExecutor() as pool:
        os.kill(daemon, signal.SIGSTOP)
        try:
            mounting = pool.submit(run_keyfs, "mount", root, environment=store.environment)
            ran = run_keyfs("status", "--json", root, environment={})
            again = mounting.result()
            lazily = run_keyfs("umount", "--lazy", root, environment={})
        finally:
            os.kill(daemon, signal.SIGCONT)
        assert ends(WITHIN_S)
    facts = json.loads(ran.stdout)
    assert (ran.returncode, facts["state"], facts["reason"]) == (1, "silent", "Connection timed out")
    assert facts["remedy"] == f"keyfs umount --lazy {root}"
    assert (again.returncode, again.stderr.decode()) == (
        19,
        f"keyfs: keyfs is mounted at {root} already: run keyfs umount {root} first\n",
    )
    assert (lazily.returncode, is_mounted(root)) == (0, False)


def test_no_keyfs_at_that_place(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", Path("/proc")):
        ran = run_keyfs("status", path, environment={})
        assert (ran.returncode, ran.stdout) == (20, b"")
        assert ran.stderr.decode() == f"keyfs: no keyfs is mounted at {path}\n"
