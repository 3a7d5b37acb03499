"""`keyfs reload`: new settings, and a new program, without one failed request."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from keyfs.master.generate import generate as new_master_key
from keyfs.testing.live import live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.supervised import Site, digest, supervised, traffic
from keyfs.testing.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fuse_required")
KEY = "storage-sym/alice"


def reload(site: Site) -> None:
    ran = run_keyfs("reload", site.mountpoint, environment={})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_reload_under_readers_and_a_rotator(tmp_path: Path) -> None:
    with supervised(tmp_path) as site:
        key = site.store.make(KEY)
        with open(key / "current", "rb", buffering=0) as opened:
            first = site.worker
            before = digest(os.pread(opened.fileno(), 64, 0))
            with traffic(key) as met:
                for _ in range(5):
                    reload(site)
            assert digest(opened.read()) == before
        assert met.failures == []
        status = site.status()
        assert (status["reloads"], status["restarts"]) == (5, 0)
        assert status["pid"] != first
        assert not site.store.logged("worker.replaced")
    assert len(site.store.versions(KEY)) == met.rotated + 1


def write_config(site_config: Path, **settings: str) -> None:
    site_config.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))


def test_the_configuration_file_is_read_again(tmp_path: Path) -> None:
    config, spare = tmp_path / "keyfs.toml", tmp_path / "spare.key"
    spare.touch(mode=0o600)
    spare.write_text(new_master_key("v1"))
    keys = f"file:{tmp_path}/master.key"
    write_config(config, **{"master-key": keys})
    with supervised(tmp_path, "--config", str(config), environment={"KEYFS_MASTER_KEY": ""}) as site:
        key = site.store.make(KEY)
        assert site.status()["master_key"] == keys
        write_config(config, **{"master-key": f"{keys},file:{spare}"})
        reload(site)
        assert site.status()["master_key"] == f"{keys},file:{spare}"
        assert len((key / "current").read_bytes()) == 32
        site.kill_worker()
        assert site.status()["master_key"] == f"{keys},file:{spare}"


BAD = {
    "a syntax error": (lambda good: "[", 2),
    "an unknown setting": (lambda good: f"{good}colour = 'red'\n", 2),
    "another way to mount": (lambda good: f"{good}read-only = true\n", 2),
    "a time that is none": (lambda good: f"{good}serve-stale = 'soon'\n", 2),
    "a master key that is not there": (lambda good: good.replace("master.key", "nothing"), 7),
    "a store that is not there": (lambda good: good.replace("/keys", "/nothing"), 17),
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[tuple[Site, Path]]:
    """A mount, and the file that says all of it."""
    place = tmp_path_factory.mktemp("configured")
    config = place / "keyfs.toml"
    config.write_text(f"store = '{place}/keys'\nmaster-key = 'file:{place}/master.key'\n")
    nothing = {"KEYFS_STORE": "", "KEYFS_MASTER_KEY": ""}
    with supervised(place, "--config", str(config), environment=nothing) as site:
        site.store.make(KEY)
        yield site, config


@pytest.mark.parametrize(("spoil", "code"), BAD.values(), ids=BAD)
def test_the_old_worker_stays_where_the_new_one_cannot_start(
    configured: tuple[Site, Path], spoil: Callable[[str], str], code: int
) -> None:
    site, config = configured
    before, good = site.worker, config.read_text()
    config.write_text(spoil(good))
    ran = run_keyfs("reload", site.mountpoint, environment={})
    config.write_text(good)
    assert (ran.returncode, ran.stdout) == (code, b"")
    assert ran.stderr.startswith(b"keyfs: not reloaded, the old worker stays: ")
    assert ran.stderr.count(b"\n") == 1
    assert site.worker == before
    assert len((site.mountpoint / KEY / "current").read_bytes()) == 32


def test_it_is_reloaded_when_what_was_wrong_is_mended(configured: tuple[Site, Path]) -> None:
    site, _ = configured
    before = site.worker
    reload(site)
    assert site.worker != before


def test_a_worker_that_is_killed_while_its_successor_starts(tmp_path: Path) -> None:
    with supervised(tmp_path) as site:
        key = site.store.make(KEY)
        with traffic(key) as met:
            for pause_s in (0.0, 0.2, 0.4, 0.5):
                worker = site.worker
                thread = threading.Thread(target=lambda: run_keyfs("reload", site.mountpoint, environment={}))
                thread.start()
                time.sleep(pause_s)
                with suppress(ProcessLookupError):  # it has retired by now
                    os.kill(worker, signal.SIGKILL)
                thread.join(30)
        assert met.failures == []


def test_a_mount_without_a_supervisor(tmp_path: Path) -> None:
    with live_store(tmp_path) as store:
        ran = run_keyfs("reload", store.mountpoint, environment={})
    assert (ran.returncode, ran.stdout) == (19, b"")
    assert ran.stderr.decode() == (
        f"keyfs: {store.mountpoint} is not supervised: unmount it, and mount it with --supervised\n"
    )


def test_where_nothing_is_mounted(tmp_path: Path) -> None:
    ran = run_keyfs("reload", tmp_path, environment={})
    assert ran.returncode == 20


def test_hangup_fetches_the_master_keys_again(tmp_path: Path) -> None:
    """Sent to the supervisor, which is what a service manager knows."""
    with supervised(tmp_path) as site:
        os.kill(site.supervisor, signal.SIGHUP)
        wait_until(lambda: site.store.logged("master_key.renewed"))
        assert (site.status()["restarts"], site.status()["reloads"]) == (0, 0)
