"""What a rotation asks of Redis: nothing twice. Each question is a wait for the network."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from keyfs import app
from keyfs.store.base import Replacement
from keyfs.testing.redis_servers import RedisServer, redis_server

NAME = "alice1_storage_sym"
TOLERANCE_NS = 5_000_000  # for two clocks, in the moment that a lock is held
ARCHIVE = f"{NAME}.old/2026-11-24T02:29:36.711888287"


def test_a_switch_looks_once_and_writes_once() -> None:
    with redis_server() as server, closing(app.open_store(server.uri())) as store, store.lock():
        store.supersede([Replacement(NAME, b"first", 0o600, 0, None)])
        server.ask("CONFIG", "RESETSTAT")
        store.supersede([Replacement(NAME, b"second", 0o600, 0, ARCHIVE)])
        asked = {
            str(name).removeprefix("cmdstat_"): facts["calls"]
            for name, facts in server.admin.info("commandstats").items()
        }
        assert (store.get(NAME).data, store.get(ARCHIVE).data) == (b"second", b"first")
    look = {"watch": 1, "get": 3}  # the lock, the key, its archive: sent together
    write = {"multi": 1, "set": 2, "pexpire": 1, "exec": 1}
    assert {name: asked[name] for name in asked if not name.startswith("config")} == look | write


def test_who_takes_the_lock_hears_what_time_it_is() -> None:
    with redis_server() as server, closing(app.open_store(server.uri())) as store:
        with store.lock():
            server.ask("CONFIG", "RESETSTAT")
            before, told, after = time_of(server), store.now_ns(), time_of(server)
            assert server.admin.info("commandstats")["cmdstat_time"]["calls"] == 2, "both are the test's"
            with ThreadPoolExecutor(1) as threads:
                assert threads.submit(store.now_ns).result() >= after, "who does not hold the lock asks"
        assert before - TOLERANCE_NS <= told <= after + TOLERANCE_NS
        assert store.now_ns() >= after
        assert server.admin.info("commandstats")["cmdstat_time"]["calls"] == 4


def time_of(server: RedisServer) -> int:
    seconds, microseconds = server.ask("TIME")
    return (int(seconds) * 1_000_000 + int(microseconds)) * 1000
