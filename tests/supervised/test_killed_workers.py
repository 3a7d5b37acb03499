"""kill -9 of the worker, again and again, under readers and a rotator: nobody notices but by the clock."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keyfs.testing.live import new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.other_user import beside_nobody
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.supervised import digest, supervised, traffic

pytestmark = pytest.mark.usefixtures("fuse_required")
KEY = "storage-sym/alice"


def test_twenty_killed_workers_fail_no_open_and_lose_no_version(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(20)
    with supervised(tmp_path) as site:
        key = site.store.make(KEY)
        with traffic(key) as met:
            for _ in range(20):
                time.sleep(dice.uniform(0.0, 0.1))
                site.kill_worker()
        assert met.failures == []
        assert site.status()["restarts"] == 20
        assert len(site.store.logged("worker.replaced", "ended=SIGKILL")) == 20
    versions = site.store.versions(KEY)
    assert len(versions) == met.rotated + 1
    assert met.seen <= {digest(data) for data in versions.values()}
    assert met.opens > 100
    assert met.rotated > 20
    record_property("worst pause in seconds", f"{met.worst_outage_s:.3f}")
    assert met.worst_outage_s < 15.0, "much longer than a worker needs to start"
    assert run_keyfs("check", environment=site.environment).returncode == 0


def test_a_store_in_redis(tmp_path: Path) -> None:
    with redis_server() as server, supervised(tmp_path, environment={"KEYFS_STORE": server.uri()}) as site:
        assert run_keyfs("generate", KEY, environment=site.environment).returncode == 0
        with traffic(site.mountpoint / KEY) as met:
            for _ in range(3):
                site.kill_worker()
        assert met.failures == []
        listed = run_keyfs("list", KEY, "--versions", environment=site.environment).stdout
        assert len(listed.splitlines()) == 1 + met.rotated + 1  # a heading


def test_a_read_only_mount(tmp_path: Path) -> None:
    with supervised(tmp_path, "--read-only") as site:
        key = site.store.make(KEY)
        with traffic(key, rotators=0) as met:
            for _ in range(2):
                site.kill_worker()
        assert met.failures == []
        with pytest.raises(OSError, match="Read-only"):
            (key / "current").write_bytes(b"x" * 32)


NOBODY = """
mknod -m 666 fuse c 10 229
mount --bind fuse /dev/fuse
ulimit -l 64  # too little for the estate to lie in memfd_secret
mkdir keyfs-mount; chown $NOBODY keyfs-mount
keyfs mount --supervised keyfs-mount
pid=$(nobody sed -n "s/^pid: //p" keyfs-mount/.keyfs/status)
nobody sha256sum keyfs-mount/storage-sym/alice/current
kill -9 "$pid"
nobody sha256sum keyfs-mount/storage-sym/alice/current
nobody grep -E '^(restarts|reloads):' keyfs-mount/.keyfs/status
keyfs reload keyfs-mount
nobody grep -E '^(restarts|reloads):' keyfs-mount/.keyfs/status
keyfs umount keyfs-mount
grep -c keyfs-mount /proc/self/mounts || true
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_an_ordinary_user(tmp_path: Path) -> None:
    """By fusermount3, and with what that user may: no capability at all."""
    store = new_live_store(tmp_path)
    store.make(KEY)
    ran = beside_nobody(tmp_path, NOBODY)
    assert ran.returncode == 0, ran.stderr
    first, second, *rest = ran.stdout.splitlines()
    assert first == second
    assert rest == ["restarts: 1", "reloads: 0", "restarts: 1", "reloads: 1", "0"]
