"""The part of a key store that holds own purposes: it comes, goes, and may lie in Redis."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from own_files import PEM, history

from keyfs.testing.live import live_store, new_live_store
from keyfs.testing.mounted import mounted
from keyfs.testing.own import DECLARED
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.waiting import wait_until
from keyfs.testing.watched import watching


@pytest.mark.usefixtures("fuse_required")
def test_the_first_own_key_of_a_store_shows_in_a_mount_that_was_there_before(tmp_path: Path) -> None:
    with live_store(tmp_path, config=DECLARED) as live:
        assert os.listdir(live.mountpoint / "tls") == []
        assert not (tmp_path / "keys.keyfs" / "own").exists()
        live.make("tls/first")
        assert (live.mountpoint / "tls" / "first" / "current").read_bytes().startswith(b"-----BEGIN")
        with watching(live.mountpoint / "tls" / "first" / "current") as watcher:
            live.make("tls/first")
            watcher.wait_for(live.mountpoint / "tls" / "first" / "current")


@pytest.mark.usefixtures("fuse_required")
def test_a_read_only_mount_reads_them_and_makes_nothing(tmp_path: Path) -> None:
    with live_store(tmp_path, "--read-only", config=DECLARED) as live:
        assert os.listdir(live.mountpoint / "tls") == []
        assert not (tmp_path / "keys.keyfs").exists()
        live.make("tls/first")
        directory = live.mountpoint / "tls" / "first"
        assert os.listdir(directory) == ["current"]
        assert load_pem_private_key((directory / "current").read_bytes(), None)
        with pytest.raises(OSError, match="Read-only"):
            (directory / "current").write_bytes(PEM)


@pytest.mark.usefixtures("fuse_required")
def test_losing_all_own_keys_leaves_the_others_served(tmp_path: Path) -> None:
    with live_store(tmp_path, config=DECLARED) as live:
        acra, own = live.make("storage-sym/alice1"), live.make("tls/www")
        material = (acra / "current").read_bytes()
        assert (own / "current").exists()
        (tmp_path / "keys.keyfs").rename(tmp_path / "away")
        wait_until(lambda: not own.exists())
        assert (acra / "current").read_bytes() == material
        status = (live.mountpoint / ".keyfs" / "status").read_text()
        assert "state: fresh" in status
        (tmp_path / "away").rename(tmp_path / "keys.keyfs")
        wait_until((own / "current").exists)


@pytest.mark.usefixtures("fuse_required")
def test_in_redis_a_rotation_elsewhere_is_seen_and_wakes_watchers(tmp_path: Path) -> None:
    with redis_server() as server:
        live = replace(new_live_store(tmp_path, DECLARED), uri=server.unix_uri(".acrakeys"))
        with mounted(live.mountpoint, environment=live.environment):
            directory = live.make("tls/www")
            wait_until((directory / "current").exists)
            first = (directory / "current").read_bytes()
            with watching(directory / "current") as watcher:
                live.make("tls/www")
                watcher.wait_for(directory / "current")
            second = (directory / "current").read_bytes()
            (directory / "current").write_bytes(PEM)
            assert history(directory) == [first, second, PEM]
            assert list(live.versions("tls/www").values()) == [first, second, PEM]
            assert {key.split(b"/")[0] for key in server.ask("KEYS", "*")} <= {b".acrakeys.keyfs"}
