"""A mount's beginning and end: ready when it says so, gone when it is told to, never a dead one left."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_life import WITHIN_S, daemon_of, foreground, is_mounted, kill_daemon, started, until, watched

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, mounted, run_keyfs

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def store(tmp_path: Path, fuse_required: None) -> LiveStore:
    made = new_live_store(tmp_path)
    made.make("storage-sym/alice")
    return made


# --- ready ---


def test_mount_returns_when_a_file_can_be_opened(store: LiveStore) -> None:
    """And the daemon keeps nothing of its caller: neither output, nor directory, nor session."""
    ran = run_keyfs("mount", store.mountpoint, environment=store.environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert len((store.mountpoint / "storage-sym/alice/current").read_bytes()) == 32
    pid = daemon_of(store.mountpoint)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
    assert os.getsid(pid) == pid
    assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0


def test_a_server_that_closes_a_connection_does_not_end_the_daemon(store: LiveStore) -> None:
    """By SIGPIPE, which ends a command whose reader is gone; it would leave a dead mount."""
    assert run_keyfs("mount", store.mountpoint, environment=store.environment).returncode == 0
    status = Path(f"/proc/{daemon_of(store.mountpoint)}/status").read_text()
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    assert int(ignored, 16) >> (signal.SIGPIPE - 1) & 1
    assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0


def test_foreground_says_where_it_is_mounted_when_it_is_ready(store: LiveStore) -> None:
    with foreground(store) as process:
        assert (store.mountpoint / ".keyfs/status").read_bytes()
        assert daemon_of(store.mountpoint) == process.pid
        process.terminate()
        assert process.wait(WITHIN_S) == 0


def test_relative_paths_mean_the_directory_where_the_command_was_given(store: LiveStore) -> None:
    """The daemon itself works in the root directory."""
    environment = {"KEYFS_STORE": "keys", "KEYFS_MASTER_KEY": "file:master.key", "KEYFS_LOG_FILE": "my.log"}
    command = [sys.executable, "-m", "keyfs", "mount", "--log-level", "info", "mount"]
    ran = subprocess.run(
        command, cwd=store.root.parent, env=keyfs_environment(environment), capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"mount.ready" in (store.root.parent / "my.log").read_bytes()
    (store.mountpoint / "storage-sym/alice/rotate").write_bytes(b"\n")
    assert len(store.versions("storage-sym/alice")) == 2
    assert b"rotation.committed" in (store.root.parent / "my.log").read_bytes()
    assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0


# --- signals ---


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_unmounts_also_while_files_are_open(store: LiveStore, number: int) -> None:
    with foreground(store) as process:
        key = os.open(store.mountpoint / "storage-sym/alice/current", os.O_RDONLY)
        directory = os.open(store.mountpoint / "storage-sym", os.O_RDONLY)
        process.send_signal(number)
        assert process.wait(WITHIN_S) == 0
        assert not is_mounted(store.mountpoint)
    # Who has it open has the bytes that came with it, and nobody else ever will.
    assert [os.read(key, 99)] == [*store.versions("storage-sym/alice").values()]
    for use in (lambda: os.listdir(directory), lambda: os.close(key)):
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            use()
        assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    os.close(directory)
    assert os.listdir(store.mountpoint) == []


def test_a_daemon_ends_on_sigterm(store: LiveStore) -> None:
    run_keyfs("mount", store.mountpoint, environment=store.environment)
    with watched(daemon_of(store.mountpoint)) as ends:
        os.kill(daemon_of(store.mountpoint), signal.SIGTERM)
        assert ends(WITHIN_S)
    assert not is_mounted(store.mountpoint)


def test_a_write_that_was_answered_is_there_after_a_signal(store: LiveStore) -> None:
    with foreground(store) as process:
        (store.mountpoint / "storage-sym/alice/current").write_bytes(b"k" * 32)
        process.terminate()
        process.wait(WITHIN_S)
    assert list(store.versions("storage-sym/alice").values())[1:] == [b"k" * 32]


def has_open(process: "subprocess.Popen[bytes]", what: str) -> bool:
    """Tells whether the process, or its child, holds a file open."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (str(process.pid), *children):
        try:
            if any(what in os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()):
                return True
        except OSError:
            continue  # gone meanwhile
    return False


Moment = Callable[["subprocess.Popen[bytes]", LiveStore], object]
MOMENTS: dict[str, Moment] = {
    "at once": lambda process, store: True,
    "when it watches the store": lambda process, store: (
        has_open(process, "inotify") or process.poll() is not None
    ),
    "when it opens the device": lambda process, store: (
        has_open(process, "/dev/fuse") or is_mounted(store.mountpoint)
    ),
    "when it has mounted": lambda process, store: is_mounted(store.mountpoint),
}


@pytest.mark.parametrize("attempt", range(4))
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_signal_while_it_starts_leaves_no_mount(store: LiveStore, moment: Moment, attempt: int) -> None:
    with started(store, "--foreground") as process:
        until(lambda: moment(process, store))
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN_S)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert said.count("\n") <= 1, said
        assert process.returncode in (-signal.SIGTERM, 0, 19), said
        assert not is_mounted(store.mountpoint)


@pytest.mark.parametrize("attempt", range(4))
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_command_that_is_stopped_either_succeeds_with_a_mount_or_fails_without(
    store: LiveStore, moment: Moment, attempt: int
) -> None:
    """Its child must not go on alone."""
    with started(store) as process:
        until(lambda: moment(process, store))
        process.send_signal(signal.SIGTERM)
        process.wait(WITHIN_S)
        assert is_mounted(store.mountpoint) == (process.returncode == 0)
        if process.returncode == 0:
            assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0


# --- dead mounts ---


def test_the_next_mount_takes_the_place_of_a_dead_one_in_silence(store: LiveStore) -> None:
    run_keyfs("mount", store.mountpoint, environment=store.environment)
    kill_daemon(store.mountpoint)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.listdir(store.mountpoint)
    ran = run_keyfs("mount", store.mountpoint, environment=store.environment)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert len((store.mountpoint / "storage-sym/alice/current").read_bytes()) == 32
    assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0
    assert not is_mounted(store.mountpoint), "the dead one lies below"


def test_umount_takes_away_a_dead_mount(store: LiveStore) -> None:
    run_keyfs("mount", store.mountpoint, environment=store.environment)
    kill_daemon(store.mountpoint)
    ran = run_keyfs("umount", store.mountpoint, environment={})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert not is_mounted(store.mountpoint)


# --- umount ---


def test_umount_waits_until_the_daemon_has_ended(store: LiveStore) -> None:
    run_keyfs("mount", store.mountpoint, environment=store.environment)
    with watched(daemon_of(store.mountpoint)) as ends:
        assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0
        assert ends(0)


def test_umount_of_a_mount_in_use_fails_with_what_to_do_and_lazily_succeeds(store: LiveStore) -> None:
    run_keyfs("mount", store.mountpoint, environment=store.environment)
    with watched(daemon_of(store.mountpoint)) as ends:
        with open(store.mountpoint / "storage-sym/alice/current", "rb", buffering=0) as key:
            ran = run_keyfs("umount", store.mountpoint, environment={})
            assert ran.returncode == 19
            assert ran.stderr.decode() == (
                f"keyfs: {store.mountpoint} is in use: see who with fuser -vm {store.mountpoint}, "
                f"or run keyfs umount --lazy {store.mountpoint}\n"
            )
            assert (store.mountpoint / ".keyfs/status").exists()
            assert run_keyfs("umount", "--lazy", store.mountpoint, environment={}).returncode == 0
            assert os.listdir(store.mountpoint) == []
            assert len(key.read()) == 32
            assert not ends(0)
        assert ends(WITHIN_S)


@pytest.mark.parametrize("place", ["mount", "keys", "nothing", "/proc"])
def test_umount_where_no_keyfs_is_mounted(store: LiveStore, place: str) -> None:
    path = os.path.join(store.root.parent, place)
    ran = run_keyfs("umount", path, environment={})
    assert (ran.returncode, ran.stdout) == (20, b"")
    assert ran.stderr.decode() == f"keyfs: no keyfs is mounted at {path}: see keyfs status\n"


# --- names ---

NAMES = [
    b"sp ace/tab\t/back\\slash\\040",
    b"new\nline/a,b/\xe2\x80\xa8",
    b"form\x0cfeed/raw\xff/-x",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_mountpoint_and_a_store_may_have_any_name(store: LiveStore, tmp_path: Path, name: bytes) -> None:
    mountpoint, root = tmp_path / "m" / os.fsdecode(name), tmp_path / "k" / os.fsdecode(name)
    mountpoint.mkdir(parents=True)
    root.parent.mkdir(parents=True)
    store.root.rename(root)
    environment = store.environment | {"KEYFS_STORE": str(root), "PYTHONIOENCODING": "utf-8:strict"}
    with mounted(mountpoint, environment=environment):
        assert len((mountpoint / "storage-sym/alice/current").read_bytes()) == 32
        as_text = run_keyfs("status", mountpoint, environment=environment).stdout
        as_json = json.loads(run_keyfs("status", "--json", mountpoint, environment=environment).stdout)
    assert b"\nmountpoint: %b\n" % os.fsencode(mountpoint) in as_text
    assert (as_json["mountpoint"], as_json["store"]) == (str(mountpoint), f"dir:{root}")


def test_other_spellings_of_the_mountpoint(store: LiveStore, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(store.mountpoint)
    assert run_keyfs("mount", f"{link}/", environment=store.environment).returncode == 0
    assert is_mounted(store.mountpoint)
    assert run_keyfs("status", f"{link}/../mount/.", environment={}).returncode == 0
    assert run_keyfs("umount", f"{tmp_path}//mount/", environment={}).returncode == 0
    assert not is_mounted(store.mountpoint)
