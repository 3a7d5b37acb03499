"""The Redis driver when the server is dead, frozen, empty, full or a replica: in time, never half."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from keyfs.errors import KeyNotFound, ReadOnly, StoreFull, StoreUnavailable
from keyfs.store.base import Replacement
from keyfs.store.redis import RedisStore
from keyfs.testing.redis_groups import redis_cluster
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import READS, WRITES, open_redis, put_after, redis_store
from keyfs.testing.store_steps import contents, put
from keyfs.testing.waiting import wait_until

GENEROUS_S = 8.0  # a call takes about a second on an idle machine
EVERY_CALL = READS | WRITES


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    """A store with something in it."""
    with redis_store(server.uri()) as store:
        put(store, "key", b"old")
        put(store, "other", b"0")
        yield store


def seconds_until_unavailable(call: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        call()
    return time.monotonic() - began


# --- dead ---


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_dead_server_is_known_at_once(server: RedisServer, store: RedisStore, call: str) -> None:
    server.kill()
    assert seconds_until_unavailable(lambda: EVERY_CALL[call](store)) < GENEROUS_S


def test_a_store_on_a_dead_server_is_not_opened(server: RedisServer) -> None:
    server.kill()
    where = f"127.0.0.1:{server.port}"
    for uri in (
        server.uri(),
        server.unix_uri(),
        f"redis+sentinel://{where}/keys",
        f"redis+cluster://{where}",
    ):
        assert seconds_until_unavailable(partial(open_redis, uri)) < GENEROUS_S


def test_failing_leaves_no_descriptor_behind(server: RedisServer, store: RedisStore) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    server.kill()
    before = descriptors()
    for _ in range(20):
        for call in EVERY_CALL.values():
            seconds_until_unavailable(partial(call, store))
        seconds_until_unavailable(partial(open_redis, server.uri()))
    assert descriptors() <= before


def test_a_server_that_comes_back_is_used_again(server: RedisServer, store: RedisStore) -> None:
    """And one that comes back empty is empty: nothing is remembered here."""
    server.kill()
    seconds_until_unavailable(lambda: store.get("key"))
    server.start()
    with pytest.raises(KeyNotFound):
        store.get("key")
    assert not store.list_all().blobs
    put(store, "key", b"new")
    assert contents(store) == {"key": b"new"}


# --- frozen ---


def sleep(server: RedisServer) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.unix))
        connection.sendall(b"DEBUG SLEEP 60\r\n")
        wait_until(lambda: not answers(server))


def answers(server: RedisServer) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(0.2)
        connection.connect(str(server.unix))
        connection.sendall(b"PING\r\n")
        try:
            return bool(connection.recv(10))
        except TimeoutError:
            return False


FREEZERS: dict[str, Callable[[RedisServer], object]] = {
    "SIGSTOP": lambda server: server.freeze(),
    "DEBUG SLEEP": sleep,
    "CLIENT PAUSE": lambda server: server.ask("CLIENT", "PAUSE", "60000", "ALL"),
}


@pytest.mark.parametrize("freezer", FREEZERS)
def test_every_call_to_a_frozen_server_ends_in_time(freezer: str) -> None:
    with redis_server("--enable-debug-command", "yes") as server, ThreadPoolExecutor(20) as threads:
        stores = {name: open_redis(server.uri()) for name in EVERY_CALL}  # locks of one store take turns
        put(stores["get"], "key", b"old")
        FREEZERS[freezer](server)
        calls: list[Callable[[], object]] = [partial(EVERY_CALL[name], stores[name]) for name in EVERY_CALL]
        calls.append(partial(open_redis, server.uri()))
        assert max(threads.map(seconds_until_unavailable, calls)) < GENEROUS_S
        for store in stores.values():
            store.close()


def test_every_call_to_a_frozen_cluster_ends_in_time() -> None:
    """Later than with one server: each node is asked for the others' whereabouts."""
    with redis_cluster() as cluster, ThreadPoolExecutor(20) as threads:
        stores = {name: open_redis(cluster.uri()) for name in EVERY_CALL}
        for node in cluster.nodes:
            node.freeze()
        calls: list[Callable[[], object]] = [partial(EVERY_CALL[name], stores[name]) for name in EVERY_CALL]
        calls.append(partial(open_redis, cluster.uri()))
        assert max(threads.map(seconds_until_unavailable, calls)) < 2 * GENEROUS_S
        for store in stores.values():
            store.close()


def test_a_write_that_meets_the_freeze_changes_nothing(server: RedisServer, store: RedisStore) -> None:
    """The lock was had before; after the thaw it is had again at once, though nobody could give it back."""
    before = contents(store)
    assert seconds_until_unavailable(lambda: put_after(store, server.freeze)) < GENEROUS_S
    server.thaw()
    assert contents(store) == before
    put(store, "key", b"new")
    assert contents(store) == before | {"key": b"new"}


def test_after_the_thaw_a_lock_whose_answer_was_lost_delays_nobody_for_long(
    server: RedisServer, store: RedisStore
) -> None:
    """The server carries out what it was sent while it was frozen: the lock is held, and nobody knows."""
    with redis_store(server.uri()) as other:
        server.freeze()
        seconds_until_unavailable(lambda: put(store, "key", b"lost"))
        server.thaw()
        wait_until(lambda: server.ask("EXISTS", "ks.keyfs/lock"))
        put(store, "key", b"mine")  # it is ours
        server.freeze()
        seconds_until_unavailable(lambda: put(store, "key", b"lost"))
        server.thaw()
        wait_until(lambda: server.ask("EXISTS", "ks.keyfs/lock"))
        put(other, "key", b"theirs")  # it ends before they give up
        assert store.get("key").data == b"theirs"


def test_each_write_renews_the_lock(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes much under one lock, as a copy does, does not lose it on the way."""
    monkeypatch.setattr("keyfs.store.redis_lock.LIFE_MS", 400)
    with store.lock():
        for number in range(6):
            over = time.monotonic() + 0.15
            wait_until(partial(lambda over: time.monotonic() > over, over))
            store.supersede([Replacement("key", b"%d" % number, 0o600, 0, None)])
    assert store.get("key").data == b"5"


# --- full, read-only ---


@pytest.mark.parametrize("when", ["before the lock", "with the lock held"])
def test_a_full_server_changes_nothing(server: RedisServer, store: RedisStore, when: str) -> None:
    def fill() -> None:
        server.ask("CONFIG", "SET", "maxmemory", "1")

    before = contents(store)
    if when == "before the lock":
        fill()
        for call in WRITES.values():
            with pytest.raises(StoreFull):
                call(store)
    else:
        with pytest.raises(StoreFull):
            put_after(store, fill)
    assert contents(store) == before
    server.ask("CONFIG", "SET", "maxmemory", "0")
    put(store, "key", b"new", "key.old/1")
    assert store.get("key").data == b"new"


def test_a_replica_is_read_only(server: RedisServer, store: RedisStore) -> None:
    before = contents(store)
    with redis_server("--replicaof", f"127.0.0.1 {server.port}") as replica:
        wait_until(lambda: replica.admin.info("replication")["master_link_status"] == "up")
        with closing(open_redis(replica.uri())) as copy:
            for call in READS.values():
                call(copy)
            for call in WRITES.values():
                with pytest.raises(ReadOnly):
                    call(copy)
            assert contents(copy) == before


def test_a_primary_that_was_demoted_meanwhile_changes_nothing(server: RedisServer, store: RedisStore) -> None:
    before = contents(store)
    with pytest.raises(ReadOnly):
        put_after(store, lambda: server.ask("REPLICAOF", "127.0.0.1", "1"))
    server.ask("REPLICAOF", "NO", "ONE")
    assert contents(store) == before
