"""A real mount rotates by the schedule of its configuration file; two of them rotate each due key once."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from keyfs.core.lease import LENGTH_NS
from keyfs.testing.live import live_store, new_live_store
from keyfs.testing.mounted import mounted
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fuse_required")
EVERY_2_S = '[rotation]\nevery = "2s"\njitter = "0"\nkeep = 3\n'
ONCE = '[rotation]\nevery = "1d"\njitter = "0"\n'
LABELS = [f"storage-sym/client{number}" for number in range(8)] + ["storage/alice", "audit-log"]
DAY_S = 86_400


def test_a_mount_rotates_what_is_due_and_archives_the_rest(tmp_path: Path) -> None:
    """Also a key that is made while it is mounted; readers of the mount see each new version."""
    with live_store(tmp_path, config=EVERY_2_S) as store:
        path = store.make("storage/alice") / "current"
        seen = {path.read_bytes()}

        def has_rotated() -> bool:
            seen.add(path.read_bytes())
            return len(seen) > 5

        wait_until(has_rotated, 60)
        assert len(store.logged("rotation.scheduled", "key=storage/alice")) >= 5
        archive = tmp_path / "keys.keyfs" / "archive.jsonl"
        wait_until(lambda: archive.exists() and store.logged("version.archived"), 30)
        assert len(store.version_ids("storage/alice")) <= 5
        keys = (tmp_path / "mount" / "storage" / "alice").iterdir()
        assert len([one for one in keys if one.name.endswith(".pub")]) <= 5


def test_a_mount_that_is_read_only_rotates_nothing(tmp_path: Path) -> None:
    store = new_live_store(tmp_path, EVERY_2_S)
    store.make("storage/alice")
    log = ("--log-level", "debug", "--log-file", str(store.log))
    with mounted(store.mountpoint, *log, "--read-only", environment=store.environment):
        time.sleep(4)  # nothing has to come: there is nothing to wait for
    assert len(store.versions("storage/alice")) == 1
    assert not store.logged("rotation.")


def test_a_new_schedule_counts_after_sighup(tmp_path: Path) -> None:
    """And one that cannot be leaves the old one in use."""
    with live_store(tmp_path, config='[rotation]\nevery = "never"\n') as store:
        store.make("storage-sym/alice")
        pid = json.loads((store.mountpoint / ".keyfs" / "status.json").read_text())["pid"]
        assert store.config is not None
        store.config.write_text('[rotation]\nevery = "soon"\n')
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: store.logged("rotation.policy_kept"))
        store.config.write_text(EVERY_2_S)
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: store.logged("rotation.scheduled"), 30)


@dataclass(frozen=True)
class Shared:
    """A key store whose keys were current for two days, and its configuration file."""

    store: SharedStore
    config: Path
    place: Path


@pytest.fixture(params=["directory", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    config = tmp_path / "keyfs.toml"
    config.write_text(ONCE)
    if request.param == "directory":
        made = shared_store(tmp_path, f"dir:{tmp_path / 'keys'}")
        made.make(*LABELS)
        then = time.time() - 2 * DAY_S
        for path in (tmp_path / "keys").iterdir():
            os.utime(path, (then, then))
        yield Shared(made, config, tmp_path)
        return
    with redis_server() as server:
        made = shared_store(tmp_path, server.unix_uri("keys"))
        made.make(*LABELS)
        # There the store does not tell since when: keyfs has noted it, two days ago.
        with made.opened() as (keys, _):
            since_ns = keys.store.now_ns() - 2 * DAY_S * 1_000_000_000
            seen = {str(ref): since_ns for ref in keys.index.refs()}
            keys.store.write_beside("rotation-seen", json.dumps(seen).encode())
        yield Shared(made, config, tmp_path)


def test_two_mounts_of_one_store_rotate_each_due_key_once(shared: Shared) -> None:
    """Together their daemons log one rotation of each key, and the store has one new version of it."""
    store, words = shared.store, ("--config", str(shared.config))
    with mount_of(store, shared.place / "a", *words) as a, mount_of(store, shared.place / "b", *words) as b:
        wait_until(lambda: all(len(store.versions(label)) == 2 for label in LABELS), LENGTH_NS / 1e9 + 30)
        time.sleep(3)  # for a second one that must not come
        assert {label: len(store.versions(label)) for label in LABELS} == dict.fromkeys(LABELS, 2)
        rotated = [*a.logged("rotation.scheduled"), *b.logged("rotation.scheduled")]
        assert len(rotated) == len(LABELS)
        now = {label: list(store.versions(label).values())[-1] for label in LABELS}

        def shown(mount: Mount) -> dict[str, bytes]:
            return {label: mount.read(label if "/" in label else f"{label}/@global") for label in LABELS}

        for mount in (a, b):  # what one has rotated, readers of the other see
            wait_until(partial(lambda mount: shown(mount) == now, mount), 10)
