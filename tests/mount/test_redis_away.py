"""What ends, what begins and what is seen after a time without Redis."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest
from outage_site import COLD, DURABLE, METADATA_S, READ_S, SLACK_S, WARM, Site, site_of

from keyfs.testing.mounted import run_keyfs
from keyfs.testing.reading import outcome_of, reading_loop
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.shared_store import shared_store
from keyfs.testing.waiting import wait_until
from keyfs.testing.watched import SAVED, watching

STORE_UNAVAILABLE = 16
READERS = 300
START_S = 15.0
WRITE_S = 10.0


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server(*DURABLE) as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def wait_for_state(site: Site, is_fresh: bool) -> float:
    return wait_until(lambda: (site.mount.status()["state"] == "fresh") == is_fresh, 15)


def rotations_elsewhere(site: Site) -> dict[str, bytes]:
    site.store.make(*WARM[:2])
    return {label: site.store.versions(label)["current"] for label in WARM}


@pytest.mark.parametrize("kind", ["silent", "killed", "frozen"])
def test_a_rotation_made_elsewhere_during_an_outage_is_seen_when_it_is_over(
    fuse_required: None, server: RedisServer, stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    """Never old bytes that are called fresh, and only the watchers of what changed are woken."""
    site = site_of(kind, server, tmp_path, stack)
    rotated, same = (site.path(label) for label in (WARM[0], WARM[4]))
    old = site.mount.read(WARM[0])
    with watching(rotated, same) as watcher:
        site.stop()
        wait_for_state(site, is_fresh=False)
        if kind == "silent":
            new = rotations_elsewhere(site)
            assert site.mount.read(WARM[0]) == old
            site.mend()
        else:
            site.mend()
            new = rotations_elsewhere(site)
        wait_for_state(site, is_fresh=True)
        assert {label: site.mount.read(label) for label in WARM} == new
        assert new[WARM[0]] != old
        watcher.wait_for(rotated)
        site.store.make(COLD[0])
        wait_until(lambda: len(os.listdir(site.mount.path / COLD[0])) == 3)
        assert (watcher.seen(rotated), watcher.seen(same)) == (SAVED, [])


def test_what_is_too_old_is_not_served_and_comes_back(
    fuse_required: None, server: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    site = site_of("killed", server, tmp_path, stack, "--serve-stale", "2s")
    right = {site.path(label): {site.mount.read(label)} for label in WARM}
    site.stop()
    began = time.monotonic()
    wait_for_state(site, is_fresh=False)
    with reading_loop(right) as readings:
        wait_until(lambda: readings.errors["EAGAIN"] >= 20)
        took_s = time.monotonic() - began
    assert set(readings.errors) == {"EAGAIN"}
    assert readings.wrong == 0
    assert 2.0 <= took_s < 2.0 + METADATA_S
    assert site.path(WARM[0]).stat().st_size == 32
    assert len(os.listdir(site.mount.path / "storage-sym")) == len(WARM)
    assert outcome_of(site.mount.status).error == ""
    site.mend()
    wait_for_state(site, is_fresh=True)
    assert {path.read_bytes() for path in right} == set().union(*right.values())


def test_keys_that_came_back_lost_are_gone(
    fuse_required: None, server: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    """A Redis that restarts without its data holds no keys: nothing from memory is passed off as its."""
    site = site_of("killed", server, tmp_path, stack)
    site.stop()
    wait_for_state(site, is_fresh=False)
    assert len(site.mount.read(WARM[0])) == 32
    for path in server.folder.glob("appendonlydir/*"):
        path.unlink()
    site.mend()
    wait_for_state(site, is_fresh=True)
    assert os.listdir(site.mount.path / "storage-sym") == []
    assert outcome_of(lambda: site.mount.read(WARM[0])).error == "ENOENT"


@pytest.mark.parametrize("state", ["killed", "frozen"])
def test_no_mount_begins_while_redis_is_away(
    fuse_required: None, server: RedisServer, tmp_path: Path, state: str
) -> None:
    store = shared_store(tmp_path, server.unix_uri())
    store.make(WARM[0])
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir()
    {"killed": server.kill, "frozen": server.freeze}[state]()
    began = time.monotonic()
    done = run_keyfs("mount", mountpoint, environment=store.environment)
    assert time.monotonic() - began < START_S
    assert done.returncode == STORE_UNAVAILABLE
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("keyfs: ")
    assert str(server.unix) in line
    assert not os.path.ismount(mountpoint)


def test_hundreds_of_readers_of_cold_keys_hold_up_nobody(
    fuse_required: None,
    server: RedisServer,
    stack: ExitStack,
    tmp_path: Path,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """Each has its answer within its deadline, and who lists or reads what is warm does not wait for them."""
    site = site_of("frozen", server, tmp_path, stack)
    cold = list(islice(cycle(COLD[1:-1]), READERS))
    site.stop()
    pool = stack.enter_context(ThreadPoolExecutor(READERS))
    reads = [pool.submit(outcome_of, partial(site.mount.read, label)) for label in cold]
    meanwhile = [
        outcome_of(call)
        for _ in range(3)
        for call in (
            lambda: os.listdir(site.mount.path / "hmac-sym"),
            lambda: site.path(COLD[-1]).stat(),
            lambda: site.mount.read(WARM[0]),
        )
    ]
    outcomes = [read.result() for read in reads]
    again = [pool.submit(outcome_of, partial(site.mount.read, label)) for label in cold]
    outcomes += [read.result() for read in again]
    record_testsuite_property("slowest_of_hundreds_s", max(outcome.took_s for outcome in outcomes))
    record_testsuite_property("slowest_meanwhile_s", max(outcome.took_s for outcome in meanwhile))
    site.mend()
    # One key was opened at the start, to prove the master key: it is not cold.
    assert len({label for label, outcome in zip(cold * 2, outcomes, strict=True) if not outcome.error}) <= 1
    assert {outcome.error for outcome in outcomes} - {""} == {"EAGAIN"}
    assert max(outcome.took_s for outcome in outcomes) < READ_S + SLACK_S
    assert {outcome.error for outcome in meanwhile} == {""}
    assert max(outcome.took_s for outcome in meanwhile) < METADATA_S
    assert not site.mount.logged("request.late")
    wait_for_state(site, is_fresh=True)
    assert all(len(site.mount.read(label)) == 32 for label in cold)


def test_a_write_under_way_when_redis_falls_silent_is_refused_whole(
    fuse_required: None, server: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    """The error comes with close(2), in time; nothing happens later that was called refused."""
    site = site_of("frozen", server, tmp_path, stack)
    opened = [os.open(site.path(label), os.O_WRONLY | os.O_TRUNC) for label in WARM[:3]]
    rotate = os.open(site.path(WARM[3], "rotate"), os.O_WRONLY)
    for fd in (*opened, rotate):
        os.write(fd, b"w" * 32)
    site.stop()
    pool = stack.enter_context(ThreadPoolExecutor(4))
    outcomes = list(pool.map(lambda fd: outcome_of(partial(os.close, fd)), (*opened, rotate)))
    site.mend()
    wait_for_state(site, is_fresh=True)
    assert {outcome.error for outcome in outcomes} == {"EAGAIN"}
    assert max(outcome.took_s for outcome in outcomes) < WRITE_S + SLACK_S
    assert {label: len(site.store.versions(label)) for label in WARM} == dict.fromkeys(WARM, 1)
    site.path(WARM[0]).write_bytes(b"n" * 32)
    assert list(site.store.versions(WARM[0]).values())[1:] == [b"n" * 32]
    assert len(os.listdir(site.mount.path / WARM[0])) == 3


@pytest.mark.parametrize("kind", ["frozen", "killed"])
def test_a_mount_ends_in_time_without_redis(
    fuse_required: None, server: RedisServer, tmp_path: Path, kind: str
) -> None:
    with ExitStack() as mounted:
        site = site_of(kind, server, tmp_path, mounted)
        site.stop()
        assert outcome_of(partial(site.mount.read, COLD[1])).error == "EAGAIN"
        began = time.monotonic()
    assert time.monotonic() - began < READ_S + SLACK_S
    site.mend()
