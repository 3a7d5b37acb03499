"""What nobody expects under a prefix: other types, other people's keys, patterns, a server that lies."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyfs.errors import KeyfsError, KeyNotFound, MaterialCorrupt, StoreUnavailable
from keyfs.store.redis import RedisStore
from keyfs.testing.cutting_proxy import Answer, CuttingProxy, cutting_proxy
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import READS, WRITES, redis_store
from keyfs.testing.store_steps import contents, delete, put, set_aside
from keyfs.testing.watch_contract import arrived


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.ask("FLUSHALL")
    return running


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with redis_store(server.uri()) as store:
        put(store, "key", b"old")
        yield store


# --- other types, other values ---

OTHERS = {
    "hash": ("HSET", "f", "v"),
    "list": ("RPUSH", "v"),
    "set": ("SADD", "v"),
    "sorted set": ("ZADD", "1", "v"),
    "stream": ("XADD", "*", "f", "v"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_string_is_a_stray(server: RedisServer, store: RedisStore, kind: str) -> None:
    command, *words = OTHERS[kind]
    server.ask(command, "ks/odd", *words)
    listing = store.list_all()
    assert set(listing.blobs) == {"key"}
    assert listing.strays == {"odd": "not a string in Redis"}
    assert store.stat("odd") is None
    with pytest.raises(MaterialCorrupt):
        store.get("odd")
    several = store.get_many(["odd", "key", "absent"])
    assert [type(several[name]).__name__ for name in several] == ["MaterialCorrupt", "Blob", "KeyNotFound"]


@pytest.mark.parametrize(("name", "archive"), [("odd", None), ("odd", "odd.old/1"), ("key", "odd")])
def test_what_is_no_string_is_not_written_over(
    server: RedisServer, store: RedisStore, name: str, archive: str | None
) -> None:
    server.ask("HSET", "ks/odd", "field", "value")
    with pytest.raises(MaterialCorrupt):
        put(store, name, b"new", archive)
    assert server.ask("HGETALL", "ks/odd") == {b"field": b"value"}
    assert contents(store) == {"key": b"old"}


def test_what_is_no_string_can_be_set_aside_and_removed(server: RedisServer, store: RedisStore) -> None:
    for step in (set_aside, delete):
        server.ask("HSET", "ks/odd", "field", "value")
        step(store, "odd")
        assert not store.list_all().strays
    [aside] = server.ask("KEYS", "ks.keyfs/set-aside/*")
    assert server.ask("HGETALL", aside) == {b"field": b"value"}


def test_a_lock_that_is_no_string_is_no_lock(server: RedisServer, store: RedisStore) -> None:
    server.ask("HSET", "ks.keyfs/lock", "field", "value")
    with pytest.raises(MaterialCorrupt):
        put(store, "key", b"new")
    assert contents(store) == {"key": b"old"}


def test_a_value_that_cannot_be_decoded_is_there_and_stays(server: RedisServer, store: RedisStore) -> None:
    """Nobody reads it; a rotation archives it as it is."""
    server.ask("SET", "ks/key", "no base64!")
    facts = store.stat("key")
    assert facts == store.list_all().blobs["key"]
    with pytest.raises(MaterialCorrupt):
        store.get("key")
    put(store, "key", b"new", "key.old/1")
    assert store.get("key").data == b"new"
    assert server.ask("GET", "ks/key.old/1") == b"no base64!"
    assert facts == store.stat("key.old/1")


def test_an_empty_temporary_of_acra_is_listed(server: RedisServer, store: RedisStore) -> None:
    """Acra makes it with SETNX and fills it afterwards; if it dies in between, a check has to see it."""
    server.ask("SETNX", "ks/alice_hmac1234567890", "")
    assert store.list_all().blobs["alice_hmac1234567890"].size == 0


def test_names_that_are_none_are_strays(server: RedisServer, store: RedisStore) -> None:
    for name in ("", "a//b", "a/b/c/d", "./a", "a/..", "\0"):
        server.ask("SET", f"ks/{name}", "AAAA")
    listing = store.list_all()
    assert set(listing.blobs) == {"key"}
    assert set(listing.strays) == {"", "a//b", "a/b/c/d", "./a", "a/..", "\0"}


# --- other people's keys ---


def test_a_store_among_many_foreign_keys_is_complete(server: RedisServer, store: RedisStore) -> None:
    """Acra itself looks at ten keys and may take a store for empty."""
    pipe = server.admin.pipeline()
    for number in range(3000):
        pipe.set(f"session:{number}", "x")
    pipe.hset("ks", "f", "v")
    pipe.hset("ksx/key", "f", "v")
    pipe.set("KS/key", "x")
    pipe.execute()
    for number in range(1100):  # more than one round trip
        server.ask("SET", f"ks/many-{number}", "AAAA")
    assert len(store.list_all().blobs) == 1101
    assert not store.list_all().strays
    assert len(store.stat_many(store.list_all().blobs)) == 1101


PREFIXES = ["ks", "ks2", "k", "a*", "a?", "ab", "[ab]", "a\\*", "a-b", "^a", "a.b", "a.keyfs2", "ключ"]


def test_stores_under_similar_prefixes_do_not_see_each_other(server: RedisServer) -> None:
    """Neither in listings, nor by name, nor in what is pushed."""
    with ExitStack() as stack:
        stores = {prefix: stack.enter_context(redis_store(server.uri(prefix))) for prefix in PREFIXES}
        for prefix, store in stores.items():
            put(store, "key", prefix.encode())
        watches = {prefix: stack.enter_context(closing(store.watch())) for prefix, store in stores.items()}
        for prefix, store in stores.items():
            assert contents(store) == {"key": prefix.encode()}
            put(store, f"of-{prefix}", b"1")
        for prefix, watch in watches.items():
            assert arrived(watch, f"of-{prefix}").names == {f"of-{prefix}"}


def test_what_a_store_keeps_beside_itself_is_no_key_of_the_store_beside(server: RedisServer) -> None:
    """`a` has its lock at `a.keyfs/lock`: a store at `a.keyfs` sees it come and go, as nobody's key."""
    with redis_store(server.uri("a")) as store, redis_store(server.uri("a.keyfs")) as beside:
        put(store, "key", b"0")
        put(store, "old", b"0")
        set_aside(store, "old")
        put(beside, "key", b"1")
        with store.lock():
            assert {name for name in beside.list_all().blobs if "/" not in name} == {"key", "lock"}
            put(beside, "key", b"2")
        assert contents(store) == {"key": b"0"}
        assert beside.get("key").data == b"2"


def test_the_other_databases_of_a_server_are_others(server: RedisServer, store: RedisStore) -> None:
    uri = server.uri().replace("/0?", "/7?")
    with redis_store(uri) as seventh, redis_store(server.unix_uri() + "&db=7") as same:
        assert not seventh.list_all().blobs
        put(seventh, "key", b"7")
        assert same.get("key").data == b"7"
    assert contents(store) == {"key": b"old"}


def test_the_time_is_that_of_the_server(server: RedisServer, store: RedisStore) -> None:
    """To the microsecond, so that stamps of several hosts are in order."""

    def asked() -> int:
        seconds, microseconds = server.ask("TIME")
        return int(seconds) * 10**9 + int(microseconds) * 1000

    before = asked()
    assert before <= store.now_ns() <= asked()


# --- a server that lies ---


@pytest.fixture(scope="module")
def proxy(running: RedisServer) -> Iterator[CuttingProxy]:
    with cutting_proxy(running.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def deceived(proxy: CuttingProxy) -> Iterator[RedisStore]:
    with redis_store(f"redis://127.0.0.1:{proxy.port}?prefix=ks") as store:
        yield store


def test_a_key_that_a_scan_tells_twice_is_one(
    server: RedisServer, store: RedisStore, proxy: CuttingProxy, deceived: RedisStore
) -> None:
    """SCAN may do that while the table grows or shrinks."""
    proxy.on(b"SCAN", Answer(b"*2\r\n$1\r\n0\r\n*3\r\n" + b"$6\r\nks/key\r\n" * 3, stay=True))
    assert contents(deceived) == {"key": b"old"}


def test_a_key_that_goes_between_the_scan_and_the_look_is_not_listed(
    server: RedisServer, store: RedisStore, proxy: CuttingProxy, deceived: RedisStore
) -> None:
    proxy.on(b"SCAN", Answer(b"*2\r\n$1\r\n0\r\n*2\r\n$6\r\nks/key\r\n$7\r\nks/gone\r\n", stay=True))
    assert set(deceived.list_all().blobs) == {"key"}


ANSWERS = st.binary(max_size=40) | st.lists(
    st.sampled_from(
        [
            b"*",
            b"$",
            b"+",
            b"-",
            b":",
            b"%",
            b"~",
            b">",
            b"_",
            b"1",
            b"-1",
            b"\r\n",
            b"x",
            b"OK",
            b"MOVED 1 x",
        ]
    )
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(ANSWERS, st.sampled_from(sorted(READS | WRITES)))
def test_no_answer_whatever_lets_an_error_of_the_library_out(
    store: RedisStore, proxy: CuttingProxy, deceived: RedisStore, answer: bytes, call: str
) -> None:
    """Nor makes a call that only reads tell of bytes that are not there."""
    pattern = {"now_ns": b"TIME", "list_all": b"SCAN", "list_under": b"SCAN", "watch": b"HELLO"}
    proxy.on(pattern.get(call, b"GET" if call in READS else b"SET"), Answer(answer))
    with suppress(KeyfsError):
        (READS | WRITES)[call](deceived)
    proxy.forget()
    with suppress(KeyNotFound, StoreUnavailable):
        assert deceived.get("key").data in (b"old", b"new")
