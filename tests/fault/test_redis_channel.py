"""The channel when the server dies, is frozen, lies, or refuses: never an answer to another question."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from keyfs.errors import AccessDenied, StoreUnavailable
from keyfs.store.base import Blob, Channel
from keyfs.store.redis import RedisStore
from keyfs.testing.channel_contract import answers, same_as_get_many
from keyfs.testing.cutting_proxy import Answer, CutReply, CutRequest, CuttingProxy, cutting_proxy
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import open_redis, redis_store
from keyfs.testing.store_steps import put
from keyfs.testing.waiting import wait_until

TRIES = 150  # more than one client of redis-py may have connections


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    if not running.is_running:
        running.start()
    running.ask("FLUSHALL")
    return running


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    with redis_store(server.uri()) as store:
        for name in ("key", "other"):
            put(store, name, name.encode() * 10)
        yield store


@contextmanager
def channel_of(store: RedisStore) -> Iterator[Channel]:
    channel = store.channel()
    assert channel is not None
    with closing(channel):
        yield channel


def answers_until_lost(channel: Channel) -> list[tuple[str, Blob | None]]:
    found: list[tuple[str, Blob | None]] = []
    try:
        while True:
            found += answers(channel, 1)
    except StoreUnavailable:
        return found


@contextmanager
def channel_through(proxy: CuttingProxy) -> Iterator[Channel]:
    with redis_store(f"redis://127.0.0.1:{proxy.port}/0?prefix=ks") as store, channel_of(store) as channel:
        yield channel


# --- what a value can be ---

VALUES = {
    "with line feeds": b"a2V5\r\na2V5\n",
    "empty": b"",
    "no base64": b"no base64!",
    "too much padding": b"AAAA=",
    "half a group": b"AAA",
    "not ASCII": b"\xff\xfe",
    "looks like a reply": b"$-1\r\n",
    "long": b"QUFB" * 60_000,  # more than one read
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_is_read_as_get_many_reads_it(server: RedisServer, store: RedisStore, value: bytes) -> None:
    server.admin.set("ks/odd", value)
    with channel_of(store) as channel:
        assert channel.ask(["key", "odd", "other"])
        assert answers(channel, 3) == same_as_get_many(store, ["key", "odd", "other"])


@pytest.mark.parametrize(
    "command", ["HSET ks/odd f v", "RPUSH ks/odd v", "SADD ks/odd v", "XADD ks/odd * f v"]
)
def test_what_is_no_string_is_no_blob_and_disturbs_nobody(
    server: RedisServer, store: RedisStore, command: str
) -> None:
    server.ask(*command.split())
    with channel_of(store) as channel:
        assert channel.ask(["key", "odd", "other"])
        found = answers(channel, 3)
    assert found == same_as_get_many(store, ["key", "odd", "other"])
    assert found[1] == ("odd", None)


# --- connections that end ---


def test_a_reply_that_is_cut_anywhere_is_no_blob(server: RedisServer, store: RedisStore) -> None:
    """The first of two questions is answered, or not, but never by a part, nor by the second's answer."""
    whole = same_as_get_many(store, ["key", "other"])
    reply_size = len(b"$16\r\n\r\n") * 2 + len(server.admin.get("ks/key") + server.admin.get("ks/other"))
    with cutting_proxy(server.port) as proxy:
        for after in (*range(0, reply_size, 7), reply_size - 1):
            with channel_through(proxy) as channel:
                proxy.on(b"ks/other", CutReply(after))
                assert channel.ask(["key", "other"])
                found = answers_until_lost(channel)
                assert found == whole[: len(found)]
                assert len(found) < 2


@pytest.mark.parametrize("trap", [CutReply(), CutRequest()])
def test_a_question_that_is_cut_is_not_answered(
    server: RedisServer, store: RedisStore, trap: CutReply | CutRequest
) -> None:
    with cutting_proxy(server.port) as proxy, channel_through(proxy) as channel:
        proxy.on(b"ks/key", trap)
        assert channel.ask(["key"])
        with pytest.raises(StoreUnavailable):
            answers(channel, 1)


def test_after_a_restart_a_new_channel_answers(server: RedisServer, store: RedisStore) -> None:
    with channel_of(store) as channel:
        server.kill()
        with pytest.raises(StoreUnavailable):
            answers(channel, 1)
        with pytest.raises(StoreUnavailable):
            store.channel()
        server.start()
        with channel_of(store) as other:
            assert other.ask(["key"])
            assert answers(other, 1) == [("key", None)]  # it was not saved


def test_channels_can_be_opened_again_and_again(store: RedisStore) -> None:
    for _ in range(TRIES):
        with channel_of(store) as channel:
            assert channel.ask(["key"])
    assert store.get("key").data == b"key" * 10


def test_an_idle_channel_that_the_server_closes_is_readable_and_lost(
    server: RedisServer, store: RedisStore
) -> None:
    with channel_of(store) as channel:
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert channel.wait(10_000)
        with pytest.raises(StoreUnavailable):
            channel.take()


# --- a server that does not read ---


def test_a_frozen_server_is_asked_until_it_takes_no_more_and_then_answers_all_in_order(
    server: RedisServer,
) -> None:
    """Nothing blocks, nothing is lost: what did not go out as a whole goes out when there is room."""
    with redis_store(server.unix_uri()) as store:
        names = [f"key-{number:03}" + "x" * 240 for number in range(1000)]
        for name in names:
            put(store, name, name.encode())
        whole = {name: store.get(name) for name in names}
        with channel_of(store) as channel:
            server.freeze()
            asked: list[str] = []
            while channel.ask(names):
                asked += names
            assert not channel.ask(["key"])
            server.thaw()
            assert answers(channel, len(asked)) == [(name, whole[name]) for name in asked]
            assert channel.ask(names[:1])
            assert answers(channel, 1) == [(names[0], whole[names[0]])]


# --- a server that refuses, or lies ---

REFUSALS = [
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-MOVED 3999 127.0.0.1:6381\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-NOPERM this user has no permissions\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-MASTERDOWN Link with MASTER is down\r\n",
    b"-ERR\r\n",
]


@pytest.mark.parametrize("reply", REFUSALS)
def test_a_refusal_is_no_blob(server: RedisServer, store: RedisStore, reply: bytes) -> None:
    """`get_many` is asked then, which tells why; the channel goes on."""
    with cutting_proxy(server.port) as proxy, channel_through(proxy) as channel:
        proxy.on(b"ks/key", Answer(reply, stay=True))
        assert channel.ask(["key"])
        assert answers(channel, 1) == [("key", None)]
        assert channel.ask(["other"])
        assert answers(channel, 1) == [("other", store.get("other"))]


LIES = [
    b":1\r\n",
    b"*1\r\n$4\r\nQUFB\r\n",
    b"%0\r\n",
    b"#f\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*0\r\n",
    b"$4\r\nQUFB\r\n$4\r\nQUJD\r\n",  # one answer too many
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"$four\r\nQUFB\r\n",
]


@pytest.mark.parametrize("reply", LIES)
def test_after_a_lie_nothing_is_believed(server: RedisServer, store: RedisStore, reply: bytes) -> None:
    with cutting_proxy(server.port) as proxy, channel_through(proxy) as channel:
        proxy.on(b"ks/key", Answer(reply, stay=True))
        assert channel.ask(["key"])
        with pytest.raises(StoreUnavailable):
            answers(channel, 1)


def test_a_channel_with_a_wrong_password_is_not_opened() -> None:
    """The store was opened with the one that was right at that time."""
    acl = ["user keyfs on >right ~* &* +@all"]
    with redis_server(acl=acl) as server, redis_store(server.uri(user="keyfs:right")) as store:
        put(store, "key", b"1")
        with channel_of(store) as channel:
            server.ask("ACL", "SETUSER", "keyfs", "resetpass", ">other")
            with pytest.raises(AccessDenied):
                store.channel()
            assert channel.ask(["key"])  # who is in is in
            assert answers(channel, 1) == [("key", store.get("key"))]


def test_a_right_that_is_taken_away_is_taken_away_on_the_channel_too() -> None:
    acl = ["user keyfs on >right ~* &* +@all"]
    with redis_server(acl=acl) as server, redis_store(server.uri(user="keyfs:right")) as store:
        put(store, "key", b"1")
        with channel_of(store) as channel:
            server.ask("ACL", "SETUSER", "keyfs", "-get", "-mget")
            assert channel.ask(["key"])
            assert answers(channel, 1) == [("key", None)]
            with pytest.raises(AccessDenied):
                store.get("key")


def test_no_connection_stays_when_a_store_and_its_channel_are_closed(server: RedisServer) -> None:
    def connections() -> int:
        return int(server.admin.info("clients")["connected_clients"])

    before = connections()
    store = open_redis(server.uri())
    channel = store.channel()
    assert channel is not None
    assert connections() == before + 2
    store.close()
    channel.close()
    wait_until(lambda: connections() == before)
