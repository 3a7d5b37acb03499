"""A rewrite in Redis that others, a cut connection or a lost lock come across."""

import base64
from collections.abc import Callable, Iterator

import pytest

from keyfs.errors import StoreBusy, StoreUnavailable
from keyfs.store.redis import RedisStore
from keyfs.testing.cutting_proxy import CutReply, CutRequest, CuttingProxy, First, Hold, cutting_proxy
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.redis_stores import redis_store
from keyfs.testing.store_steps import contents, rewrite

LOCK = "ks.keyfs/lock"
OLD = {"key": b"old", "key.old/1": b"old"}
NEW = dict.fromkeys(OLD, b"new")


@pytest.fixture(autouse=True)
def stopped_rotation(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    for name, data in OLD.items():
        server.ask("SET", f"ks/{name}", base64.b64encode(data))


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[CuttingProxy]:
    with cutting_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: CuttingProxy) -> Iterator[RedisStore]:
    with redis_store(f"redis://127.0.0.1:{proxy.port}?prefix=ks") as store:
        yield store


@pytest.fixture
def truth(server: RedisServer) -> Iterator[Callable[[], dict[str, bytes]]]:
    """What is in the store, seen past the proxy."""
    with redis_store(server.uri()) as store:
        yield lambda: contents(store)


Truth = Callable[[], dict[str, bytes]]


def rewrite_both(store: RedisStore) -> bool:
    return rewrite(store, "key", b"old", b"new", "key.old/1")


@pytest.mark.parametrize("after", [0, 3, 30])
def test_a_rewrite_whose_answer_is_lost_is_done(
    proxy: CuttingProxy, store: RedisStore, truth: Truth, after: int
) -> None:
    proxy.on(b"EXEC", CutReply(after))
    assert rewrite_both(store)
    assert len(proxy.sprung) == 1
    assert truth() == NEW


def test_a_rewrite_that_never_arrived_has_changed_nothing(
    proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    proxy.on(b"EXEC", CutRequest())
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        rewrite_both(store)
    assert truth() == OLD
    assert rewrite_both(store)
    assert truth() == NEW


def test_a_rewrite_that_arrives_late_changes_nothing_any_more(
    proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    proxy.on(b"EXEC", Hold())
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        rewrite_both(store)
    proxy.release()
    assert truth() == OLD


@pytest.mark.parametrize("name", OLD)
def test_what_others_write_in_the_last_moment_is_not_overwritten(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth, name: str
) -> None:
    proxy.on(b"EXEC", First(lambda: server.cli("SET", f"ks/{name}", "dGhlaXJz")))
    assert not rewrite_both(store)
    assert truth() == OLD | {name: b"theirs"}


@pytest.mark.parametrize("command", [f"DEL {LOCK}", f"SET {LOCK} another"])
def test_a_lock_that_is_lost_before_a_rewrite_changes_nothing(
    server: RedisServer, store: RedisStore, truth: Truth, command: str
) -> None:
    with store.lock():
        server.cli(*command.split())
        with pytest.raises(StoreBusy):
            store.rewrite(["key"], b"old", b"new")
    assert truth() == OLD


def test_a_lock_that_is_lost_in_the_last_moment_changes_nothing(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    proxy.on(b"EXEC", First(lambda: server.cli("SET", LOCK, "another")))
    assert not rewrite_both(store)
    assert truth() == OLD
    server.ask("DEL", LOCK)


def test_a_value_with_line_ends_holds_the_bytes_all_the_same(
    server: RedisServer, store: RedisStore, truth: Truth
) -> None:
    """Acra tolerates them, so a key may have been put there by hand."""
    server.ask("SET", "ks/key", b"b2\r\nxk\n")
    assert rewrite(store, "key", b"old", b"new")
    assert truth() == OLD | {"key": b"new"}


@pytest.mark.parametrize("value", [b"!", b"", b"b2x"])
def test_a_value_that_is_no_base64_holds_other_bytes(
    server: RedisServer, store: RedisStore, value: bytes
) -> None:
    server.ask("SET", "ks/key", value)
    assert not rewrite(store, "key", b"old", b"new")
    assert server.ask("GET", "ks/key") == value


def test_a_key_keeps_no_end_that_it_had_not(server: RedisServer, store: RedisStore) -> None:
    assert rewrite_both(store)
    assert server.ask("TTL", "ks/key") == -1


@pytest.mark.parametrize("lost", ["line 1", "line 2"])
def test_a_line_whose_answer_is_lost_is_there_once(proxy: CuttingProxy, store: RedisStore, lost: str) -> None:
    for line in ("line 1", "line 2"):
        if line == lost:
            proxy.on(b"EXEC", CutReply())
        store.append_beside("audit.log", line.encode())
    assert store.read_beside("audit.log") == b"line 1\nline 2\n"


def test_lines_of_two_at_the_same_moment_are_both_there(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore
) -> None:
    with redis_store(server.uri()) as other:
        proxy.on(b"EXEC", First(lambda: other.append_beside("audit.log", b"theirs")))
        store.append_beside("audit.log", b"ours")
    assert store.read_beside("audit.log") == b"theirs\nours\n"
