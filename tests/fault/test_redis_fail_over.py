"""Replicas and Sentinel: what was acknowledged with `wait=1` outlives the primary.

Without `wait`, Redis acknowledges a write before any replica has it: a fail-over in that moment loses a
rotation that was called done. It is then as if it had not been: the version before is current.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from keyfs.errors import ReadOnly, StoreUnavailable
from keyfs.testing.cutting_proxy import CutReply, cutting_proxy
from keyfs.testing.redis_groups import SentinelGroup, sentinel_group, wait_for_replica
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import redis_store
from keyfs.testing.rotating import Rotator, start_rotator
from keyfs.testing.shared_store import shared_store
from keyfs.testing.store_steps import contents, put
from keyfs.testing.waiting import wait_until

LABELS = [f"{purpose}/client{number}" for purpose in ("storage", "hmac-sym") for number in range(3)]
BEFORE = 40  # rotations
FAIL_OVER_S = 40.0


# --- acknowledged by replicas ---


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    with redis_server() as primary, redis_server("--replicaof", f"127.0.0.1 {primary.port}") as replica:
        wait_for_replica(primary)
        yield primary, replica


def test_a_write_is_acknowledged_when_the_replica_has_it(pair: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = pair
    with redis_store(primary.uri(wait="1")) as store, redis_store(replica.uri()) as copy:
        for number in range(50):
            put(store, "key", b"%d" % number, f"key.old/{number}")
            assert copy.get("key").data == b"%d" % number
        assert contents(copy) == contents(store)


def test_a_write_that_the_replica_does_not_have_is_not_acknowledged(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """It is done on the primary, and the message says so."""
    primary, replica = pair
    with redis_store(primary.uri(wait="1")) as store:
        put(store, "key", b"old")
        replica.freeze()
        with pytest.raises(StoreUnavailable, match=r"^written, but only 0 of 1"):
            put(store, "key", b"new", "key.old/1")
        assert contents(store) == {"key": b"new", "key.old/1": b"old"}
        replica.thaw()
        put(store, "key", b"newer", "key.old/2")


def test_a_write_whose_answer_is_lost_is_not_acknowledged_without_the_replica(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """What is found done by looking is held to the same."""
    primary, replica = pair
    with cutting_proxy(primary.port) as proxy:
        uri = primary.uri(wait="1").replace(str(primary.port), str(proxy.port))
        with redis_store(uri) as store:
            put(store, "key", b"old")
            proxy.on(b"EXEC", CutReply())
            put(store, "key", b"new", "key.old/1")
            replica.freeze()
            proxy.on(b"EXEC", CutReply())
            with pytest.raises(StoreUnavailable, match=r"^written, but only 0 of 1"):
                put(store, "key", b"newer", "key.old/2")
            assert store.get("key").data == b"newer"


def test_without_replicas_nothing_is_acknowledged_that_should_have_one() -> None:
    with redis_server() as alone, redis_store(alone.uri(wait="1")) as store:
        with pytest.raises(StoreUnavailable, match=r"^written, but only 0 of 1"):
            put(store, "key", b"new")
        assert contents(store) == {"key": b"new"}


# --- fail-over ---


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    with sentinel_group() as group:
        yield group


def acknowledged(rotators: list[Rotator]) -> list[tuple[str, str]]:
    return [line for rotator in rotators for line in rotator.acknowledged]


@pytest.mark.parametrize(
    ("layout", "fail_overs"),
    [("v1", 1), *(pytest.param(layout, 4, marks=pytest.mark.soak) for layout in ("v1", "v2"))],
)
def test_no_acknowledged_rotation_is_lost_by_a_fail_over(
    group: SentinelGroup, tmp_path: Path, layout: str, fail_overs: int
) -> None:
    """And rotations go on by themselves, once there is a replica again."""
    store = shared_store(tmp_path, group.uri(wait="1"), layout)
    store.make(*LABELS)
    with ExitStack() as stack:
        rotators = []
        for number in range(2):
            log = tmp_path / f"log{number}"
            rotators.append(start_rotator(store.uri, store.master_key, log, number, LABELS))
            stack.callback(rotators[-1].kill)
        wait_until(lambda: len(acknowledged(rotators)) >= BEFORE, FAIL_OVER_S)
        for _ in range(fail_overs):
            fail_over(group)
            enough = len(acknowledged(rotators)) + BEFORE
            wait_until(partial(lambda enough: len(acknowledged(rotators)) >= enough, enough), FAIL_OVER_S)
    with store.opened() as (keys, _):
        stored = Counter(
            (str(ring.ref), version.secret.stat.identity)
            for ring in keys.rings()
            for version in ring.versions
            if version.secret is not None
        )
        assert "redis+sentinel" in keys.store.describe()
    assert set(acknowledged(rotators)) <= set(stored)
    assert set(stored.values()) == {1}


def test_a_reader_goes_on_after_the_fail_over_with_the_store_it_has(group: SentinelGroup) -> None:
    """It fails meanwhile, and gets only what was written."""
    over = threading.Event()
    failures: list[StoreUnavailable] = []
    seen: list[bytes] = []
    with redis_store(group.uri(wait="1")) as writer, redis_store(group.uri()) as reader:
        put(writer, "key", b"before")

        def read() -> None:
            while not over.is_set():
                try:
                    seen.append(reader.get("key").data)
                except StoreUnavailable as exc:
                    failures.append(exc)

        thread = threading.Thread(target=read)
        thread.start()
        wait_until(lambda: len(seen) > BEFORE)
        old = group.primary
        old.kill()
        wait_until(lambda: group.primary is not old, FAIL_OVER_S)
        wait_until(lambda: is_written(group, b"after"), FAIL_OVER_S)
        wait_until(lambda: seen[-1] == b"after", FAIL_OVER_S)
        over.set()
        thread.join()
        assert set(seen) == {b"before", b"after"}
        assert failures


def fail_over(group: SentinelGroup) -> None:
    """The primary dies; when the other server is the primary, it comes back, and is made a replica."""
    old = group.primary
    old.kill()
    wait_until(lambda: group.primary is not old, FAIL_OVER_S)
    old.start()


def is_written(group: SentinelGroup, data: bytes) -> bool:
    """Not at once after the fail-over: each Sentinel learns of it in its own time."""
    try:
        with redis_store(group.uri()) as store:
            put(store, "key", data)
    except (StoreUnavailable, ReadOnly):
        return False
    return True


def test_sentinels_that_are_frozen_delay_a_call_but_do_not_stop_it(group: SentinelGroup) -> None:
    """One is enough; without any, an open connection still serves."""
    with redis_store(group.uri()) as store:
        put(store, "key", b"0")
        for sentinel in group.sentinels[:2]:
            sentinel.freeze()
        with redis_store(group.uri()) as other:
            assert other.get("key").data == b"0"
        group.sentinels[2].kill()
        assert store.get("key").data == b"0"
        with pytest.raises(StoreUnavailable):
            store.watch()
