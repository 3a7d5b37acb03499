"""When no worker can be started: callers wait, but not for ever; and it goes on where it can again."""

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.reading import outcome_of
from keyfs.testing.supervised import digest, is_mounted, supervised
from keyfs.testing.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fuse_required")
KEY = "storage-sym/alice"


def test_callers_get_an_error_after_the_grace_and_keys_when_a_worker_can_start(tmp_path: Path) -> None:
    with supervised(tmp_path, "--grace", "2s", "--direct-io") as site:
        current = site.store.make(KEY) / "current"
        content = digest(current.read_bytes())
        with open(current, "rb", buffering=0) as opened:
            away = site.store.root.rename(tmp_path / "away")
            os.kill(site.worker, signal.SIGKILL)
            outcome = outcome_of(current.read_bytes)
            assert outcome.error == "EIO"
            assert 0.5 < outcome.took_s < 15.0
            outcome = outcome_of(lambda: os.pread(opened.fileno(), 1, 0))
            assert outcome.error == "EIO"
            away.rename(site.store.root)
            wait_until(lambda: outcome_of(current.read_bytes).error == "", within_s=30)
            assert digest(current.read_bytes()) == content
            assert digest(opened.read()) == content


def test_callers_within_the_grace_only_wait(tmp_path: Path) -> None:
    with supervised(tmp_path) as site:
        current = site.store.make(KEY) / "current"
        content = digest(current.read_bytes())
        away = site.store.root.rename(tmp_path / "away")
        os.kill(site.worker, signal.SIGKILL)
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.append(digest(current.read_bytes())))
        reader.start()
        time.sleep(1.0)  # some attempts fail meanwhile
        assert seen == []
        away.rename(site.store.root)
        reader.join(30)
        assert seen == [content]


def test_umount_without_a_worker(tmp_path: Path) -> None:
    """Nothing but the supervisor is needed for it."""
    with supervised(tmp_path, "--grace", "1s") as site:
        site.store.make(KEY)
        supervisor, away = site.supervisor, site.store.root.rename(tmp_path / "away")
        os.kill(site.worker, signal.SIGKILL)
        wait_until(lambda: outcome_of(site.mountpoint.joinpath(KEY).stat).error == "EIO", within_s=20)
        os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not is_mounted(site.mountpoint), within_s=20)
        away.rename(site.store.root)
        assert run_keyfs("mount", site.mountpoint, environment=site.environment).returncode == 0


# --- the first one ---


@pytest.fixture
def store(tmp_path: Path, fuse_required: None) -> LiveStore:
    return new_live_store(tmp_path)


BAD = {
    "a store that is not there": (["--store", "/nowhere"], 17, "/nowhere"),
    "a master key that is not there": (["--master-key", "file:/nowhere"], 7, "/nowhere"),
    "an option that is none": (["-o", "colour=red"], 19, "colour=red"),
    "a master key in no variable": (["--master-key", "env:NO_SUCH"], 7, "NO_SUCH"),
}


@pytest.mark.parametrize("where", [[], ["--foreground"]], ids=["background", "foreground"])
@pytest.mark.parametrize(("words", "code", "said"), BAD.values(), ids=BAD)
def test_its_error_line_and_exit_code_reach_the_caller(
    store: LiveStore, where: list[str], words: list[str], code: int, said: str
) -> None:
    ran = run_keyfs("mount", "--supervised", *where, *words, store.mountpoint, environment=store.environment)
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == b""
    assert ran.stderr.count(b"\n") == 1
    assert ran.stderr.startswith(b"keyfs: ")
    assert said in ran.stderr.decode()
    assert not is_mounted(store.mountpoint)


def test_what_is_there_after_a_dead_supervised_mount(store: LiveStore) -> None:
    """Both processes killed: it is taken over like any other dead mount."""
    options = ("--supervised", "--log-file", str(store.log))
    assert run_keyfs("mount", *options, store.mountpoint, environment=store.environment).returncode == 0
    status = (store.mountpoint / ".keyfs/status").read_text()
    facts = dict(line.split(": ", 1) for line in status.splitlines())
    for name in ("supervisor", "pid"):
        os.kill(int(facts[name]), signal.SIGKILL)
    wait_until(lambda: outcome_of(lambda: os.listdir(store.mountpoint)).error == "ENOTCONN")
    assert run_keyfs("mount", *options, store.mountpoint, environment=store.environment).returncode == 0
    assert os.listdir(store.mountpoint)
    assert run_keyfs("umount", store.mountpoint, environment={}).returncode == 0


def test_a_worker_without_its_supervisor_serves_to_the_end(store: LiveStore) -> None:
    options = ("--supervised", "--log-file", str(store.log))
    assert run_keyfs("mount", *options, store.mountpoint, environment=store.environment).returncode == 0
    current = store.make(KEY) / "current"
    facts = dict(
        line.split(": ", 1) for line in (store.mountpoint / ".keyfs/status").read_text().splitlines()
    )
    os.kill(int(facts["supervisor"]), signal.SIGKILL)
    wait_until(lambda: store.logged("supervisor.gone"))
    assert len(current.read_bytes()) == 32
    os.kill(int(facts["pid"]), signal.SIGTERM)
    wait_until(lambda: not is_mounted(store.mountpoint))
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        current.read_bytes()
