"""The Redis watch: whoever changes a key, it is told; what happens to the connection is told too."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keyfs.errors import StoreUnavailable
from keyfs.store.redis import RedisStore
from keyfs.store.redis_watch import RedisWatch
from keyfs.store.watching import Changes
from keyfs.testing.cutting_proxy import CutReply, CuttingProxy, cutting_proxy
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import redis_store
from keyfs.testing.store_steps import contents, put
from keyfs.testing.waiting import wait_until
from keyfs.testing.watch_contract import arrived

THREAD = "keyfs-redis-watch"
NOTICED_S = 10.0  # about two seconds on an idle machine


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with redis_store(server.uri()) as store:
        put(store, "key", b"old")
        yield store


@pytest.fixture
def watch(store: RedisStore) -> Iterator[RedisWatch]:
    with closing(store.watch()) as watch:
        yield watch


def lost(watch: RedisWatch) -> bool:
    """Wait for the news that something may have been missed; names may come before and after."""
    wait_until(lambda: watch._lost, NOTICED_S)
    changes = watch.take()
    return changes.lost and watch.is_connected


def hears(watch: RedisWatch, server: RedisServer, name: str = "news") -> bool:
    server.cli("SET", f"ks/{name}", "AAAA")
    return name in arrived(watch, name).names


# --- whoever changes what ---

CHANGES = [
    ("SET ks/key AAAA", {"key"}),
    ("SETNX ks/new AAAA", {"new"}),
    ("MSET ks/one AAAA ks/two AAAA", {"one", "two"}),
    ("DEL ks/key", {"key"}),
    ("UNLINK ks/key", {"key"}),
    ("GETDEL ks/key", {"key"}),
    ("RENAME ks/key ks/key.old/1", {"key", "key.old/1"}),
    ("RENAME ks/key elsewhere", {"key"}),
    ("COPY ks/key ks/copy", {"copy"}),
    ("APPEND ks/key AAAA", {"key"}),
    ("PEXPIRE ks/key 20", {"key"}),
    ("SET ks/fleeting AAAA PX 20", {"fleeting"}),
    ("HSET ks/hash f v", {"hash"}),
    ("MOVE ks/key 7", {"key"}),
]


@pytest.mark.parametrize(("command", "names"), CHANGES, ids=[command for command, _ in CHANGES])
def test_a_change_by_a_third_party_is_told(
    server: RedisServer, watch: RedisWatch, command: str, names: set[str]
) -> None:
    server.cli(*command.split())
    changes = arrived(watch, *names)
    assert changes == Changes(frozenset(names), lost=False)


def test_the_end_of_a_key_that_expires_is_told(
    server: RedisServer, store: RedisStore, watch: RedisWatch
) -> None:
    """At the latest when the server notices it by itself."""
    server.cli("SET", "ks/fleeting", "AAAA", "PX", "30")
    arrived(watch, "fleeting")
    wait_until(lambda: "fleeting" in watch.take().names)
    assert store.stat("fleeting") is None


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"])
def test_after_everything_changed_everything_is_to_be_listed(
    server: RedisServer, watch: RedisWatch, command: str
) -> None:
    server.cli(*command.split())
    assert lost(watch)
    assert hears(watch, server)


def test_an_evicted_key_is_told(server: RedisServer, watch: RedisWatch) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "1")
    assert "key" in arrived(watch, "key").names


def test_keys_of_others_are_not_told(server: RedisServer, watch: RedisWatch) -> None:
    """Nor our own lock, nor names that no blob can have."""
    for key in ("ks", "ks2/key", "k", "KS/key", "ks.keyfs/lock", "ks/", "ks/a//b", "ks/../x", "xks/key"):
        server.cli("SET", key, "AAAA")
    server.cli("SET", "ks/last", "AAAA")
    assert arrived(watch, "last").names == {"last"}


def test_names_of_any_bytes_are_told(server: RedisServer, watch: RedisWatch) -> None:
    names = ["ключ", "a b", "a\nb", "\udcff\udcfe", "x" * 5000, "a*b"]
    for name in names:
        server.ask("SET", os.fsencode(f"ks/{name}"), "AAAA")
    assert arrived(watch, *names).names == set(names)


def test_many_changes_at_once_are_all_told(server: RedisServer, watch: RedisWatch) -> None:
    """More than a socket takes at once."""
    names = {f"a-rather-long-name-of-a-client-{number}_storage_sym" for number in range(20_000)}
    pipe = server.admin.pipeline()
    for name in names:
        pipe.set(f"ks/{name}", "AAAA")
    pipe.execute()
    changes = arrived(watch, *names)
    assert changes == Changes(frozenset(names), lost=False)


# --- whatever happens to the connection ---


def test_a_connection_that_is_killed_comes_back_by_itself(server: RedisServer, watch: RedisWatch) -> None:
    for _ in range(3):
        assert server.ask("CLIENT", "KILL", "TYPE", "normal") >= 1
        assert lost(watch)
        assert hears(watch, server)


def test_what_happens_while_nobody_listens_is_not_told_but_called_lost(
    server: RedisServer, store: RedisStore, watch: RedisWatch
) -> None:
    server.kill()
    wait_until(lambda: not watch.is_connected, NOTICED_S)
    assert watch.take() == Changes(frozenset(), lost=False)
    server.start()
    server.cli("SET", "ks/key", "AAAA")
    wait_until(lambda: watch.is_connected, NOTICED_S)
    assert lost(watch)
    assert hears(watch, server)
    assert set(contents(store)) == {"key", "news"}


def test_a_lost_connection_wakes_who_waits_for_the_descriptor(server: RedisServer, watch: RedisWatch) -> None:
    """Once when it is lost, and once when it is back: the loop learns of both."""
    server.kill()
    assert select.select([watch.fileno()], [], [], NOTICED_S)[0]
    assert not watch.is_connected
    watch.take()
    assert not select.select([watch.fileno()], [], [], 0)[0]
    server.start()
    assert select.select([watch.fileno()], [], [], NOTICED_S)[0]
    assert watch.pending()


def test_a_frozen_server_is_noticed_and_heard_again_after_the_thaw(
    server: RedisServer, watch: RedisWatch
) -> None:
    server.freeze()
    wait_until(lambda: not watch.is_connected, NOTICED_S)
    server.thaw()
    wait_until(lambda: watch.is_connected, NOTICED_S)
    assert lost(watch)
    assert hears(watch, server)


def test_an_idle_connection_stays_although_the_server_ends_idle_ones(
    server: RedisServer, watch: RedisWatch
) -> None:
    """It asks for a word every second; the server counts that as life."""
    server.ask("CONFIG", "SET", "timeout", "2")
    over = time.monotonic() + 11
    wait_until(lambda: time.monotonic() > over, 20)
    assert watch.take() == Changes(frozenset(), lost=False)
    assert watch.is_connected
    assert hears(watch, server)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[CuttingProxy]:
    with cutting_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def distant(proxy: CuttingProxy) -> Iterator[RedisWatch]:
    with redis_store(f"redis://127.0.0.1:{proxy.port}?prefix=ks") as store, closing(store.watch()) as watch:
        yield watch


@pytest.mark.parametrize("after", [0, 2])
def test_a_connection_cut_in_the_middle_of_an_answer_is_lost(
    server: RedisServer, proxy: CuttingProxy, distant: RedisWatch, after: int
) -> None:
    proxy.on(b"PING", CutReply(after))
    assert lost(distant)
    assert hears(distant, server)


def test_a_silent_network_is_noticed(server: RedisServer, proxy: CuttingProxy, distant: RedisWatch) -> None:
    proxy.stop_forwarding()
    wait_until(lambda: not distant.is_connected, NOTICED_S)
    proxy.go_on()
    assert lost(distant)
    assert hears(distant, server)


# --- the end ---


def threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("state", ["connected", "killed", "frozen", "just lost"])
def test_nothing_stays_after_the_end(server: RedisServer, store: RedisStore, state: str) -> None:
    """Whatever the connection is at; and nobody waits long for it."""
    store.get("key")
    before = descriptors()
    watches = [store.watch() for _ in range(3)]
    assert threads() == 3
    if state == "just lost":
        server.ask("CLIENT", "KILL", "TYPE", "normal")
    elif state != "connected":
        server.kill() if state == "killed" else server.freeze()
        wait_until(lambda: not any(watch.is_connected for watch in watches), NOTICED_S)
    began = time.monotonic()
    for watch in watches:
        watch.close()
        watch.close()
    assert time.monotonic() - began < 3 * 1.5
    wait_until(lambda: threads() == 0)
    wait_until(lambda: descriptors() <= before)
    assert not any(watch.is_connected for watch in watches)
    assert not watches[0].take().names


def test_a_watch_that_cannot_be_had_leaves_nothing(server: RedisServer, store: RedisStore) -> None:
    server.kill()
    before = descriptors()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            store.watch()
    assert threads() == 0
    assert descriptors() <= before
