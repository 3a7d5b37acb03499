"""A connection that is cut at the worst moment: the driver looks what has happened, and never guesses."""

from collections.abc import Callable, Iterator

import pytest

from keyfs.core.names import CURRENT
from keyfs.errors import StoreBusy, StoreUnavailable
from keyfs.store.redis import RedisStore
from keyfs.testing.builders import STORAGE, Keys
from keyfs.testing.cutting_proxy import CutReply, CutRequest, CuttingProxy, First, Hold, Trap, cutting_proxy
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import READS, put_after, redis_store
from keyfs.testing.ring_stores import rings_on
from keyfs.testing.store_steps import contents, put
from keyfs.testing.waiting import wait_until

OLD = {"key": b"old", "other": b"0"}
NEW = {"key": b"new", "key.old/1": b"old", "other": b"0"}
LOCK = "ks.keyfs/lock"
COMMANDS = {"now_ns": b"TIME", "list_all": b"SCAN", "list_under": b"SCAN", "watch": b"HELLO"}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server, redis_store(server.uri()) as store:
        for name, data in OLD.items():
            put(store, name, data)
        store.write_beside("note", b"a note")
        yield server


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


@pytest.mark.parametrize("after", [0, 1, 5, 9])
@pytest.mark.parametrize("call", READS)
def test_an_answer_cut_in_the_middle_is_no_answer(
    proxy: CuttingProxy, store: RedisStore, call: str, after: int
) -> None:
    """And what is left of it is nobody else's answer."""
    proxy.on(COMMANDS.get(call, b"MGET"), CutReply(after))
    with pytest.raises(StoreUnavailable):
        READS[call](store)
    assert len(proxy.sprung) == 1
    READS[call](store)
    assert contents(store) == OLD


def test_a_silent_network_is_no_answer_and_a_late_answer_nobodys(
    proxy: CuttingProxy, store: RedisStore
) -> None:
    proxy.stop_forwarding()
    with pytest.raises(StoreUnavailable):
        store.get("key")
    proxy.go_on()
    assert store.get("other").data == b"0"
    assert contents(store) == OLD


# --- the transaction ---


@pytest.mark.parametrize("after", [0, 3, 12, 30])
def test_a_write_whose_answer_is_lost_is_done(
    proxy: CuttingProxy, store: RedisStore, truth: Truth, after: int
) -> None:
    """It has happened, and nobody does it again."""
    proxy.on(b"EXEC", CutReply(after))
    put(store, "key", b"new", "key.old/1")
    assert len(proxy.sprung) == 1
    assert truth() == NEW
    put(store, "key", b"newer", "key.old/2")
    assert truth() == NEW | {"key": b"newer", "key.old/2": b"new"}


def test_a_first_write_whose_answer_is_lost_is_done(
    proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    proxy.on(b"EXEC", CutReply())
    put(store, "fresh", b"new", "fresh.old/1")
    assert truth() == OLD | {"fresh": b"new"}


def test_a_write_that_never_arrived_has_changed_nothing(
    proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    """And says so."""
    proxy.on(b"EXEC", CutRequest())
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        put(store, "key", b"new", "key.old/1")
    assert truth() == OLD
    put(store, "key", b"new", "key.old/1")
    assert truth() == NEW


@pytest.mark.parametrize("name", ["key", "fresh"])
@pytest.mark.parametrize("when", ["before the lock is given back", "at the end"])
def test_a_write_that_arrives_late_changes_nothing_any_more(
    proxy: CuttingProxy, store: RedisStore, truth: Truth, name: str, when: str
) -> None:
    """What was called unchanged stays so, whenever the network delivers what it held back."""
    proxy.on(b"EXEC", Hold())
    if when != "at the end":
        proxy.on(b"DEL", First(proxy.release))
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        put(store, name, b"new", f"{name}.old/1")
    proxy.release()
    assert truth() == OLD


def test_a_write_after_which_the_server_is_gone_may_have_happened(
    proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    """Nobody can tell, and that is what is said."""
    proxy.on(b"EXEC", CutReply(for_good=True))
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        put(store, "key", b"new", "key.old/1")
    assert truth() == NEW


def test_a_write_is_known_by_its_archive_when_someone_wrote_after_it(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    """Someone who takes no lock, between the lost answer and our look."""
    proxy.on(b"EXEC", CutReply())
    proxy.on(b"WATCH", First(lambda: proxy.on(b"WATCH", First(third_party))))

    def third_party() -> None:
        server.cli("SET", "ks/key", "dGhlaXJz")

    put(store, "key", b"new", "key.old/1")
    assert truth() == NEW | {"key": b"theirs"}


@pytest.mark.parametrize("trap", [CutReply(), CutRequest()])
def test_a_lock_whose_answer_is_lost_is_had_at_once(
    server: RedisServer,
    proxy: CuttingProxy,
    store: RedisStore,
    truth: Truth,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits until it ends."""
    monkeypatch.setattr("keyfs.store.redis_lock.LIFE_MS", 60_000)
    proxy.on(b"PX", trap)
    with pytest.raises(StoreUnavailable):
        put(store, "key", b"lost")
    put(store, "key", b"new", "key.old/1")
    assert truth() == NEW
    assert not server.ask("EXISTS", LOCK)


def test_a_lock_that_could_not_be_given_back_ends_by_itself(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    """The write is done all the same; the next one of ours does not wait for it."""
    proxy.on(b"DEL", CutRequest())
    put(store, "key", b"new", "key.old/1")
    put(store, "other", b"0")
    assert truth() == NEW
    proxy.on(b"DEL", CutRequest())
    put(store, "other", b"0")
    wait_until(lambda: not server.ask("EXISTS", LOCK))


# --- a key ring: first a new value, then one in the place of exactly what was read ---


@pytest.fixture
def ring(server: RedisServer, store: RedisStore) -> Iterator[tuple[Keys, Callable[[], list[str]]]]:
    """A key store of layout v2 through the proxy, and the versions of its key past that."""
    with redis_store(server.uri()) as apart:
        yield rings_on(store), lambda: versions_of(rings_on(apart))


def versions_of(keys: Keys) -> list[str]:
    return keys.versions(STORAGE) if keys.keys.index.has(STORAGE) else []


Ring = tuple[Keys, Callable[[], list[str]]]
history = pytest.mark.parametrize("history", [[], [CURRENT], ["1", CURRENT]], ids=len)


def write_into(keys: Keys, history: list[str]) -> None:
    for number in range(len(history)):
        (keys.writer.rotate if number else keys.writer.generate)(STORAGE)


@history
def test_a_ring_that_was_written_and_whose_answer_is_lost_is_written_once(
    proxy: CuttingProxy, ring: Ring, history: list[str]
) -> None:
    keys, there = ring
    write_into(keys, history)
    proxy.on(b"EXEC", CutReply())
    (keys.writer.rotate if history else keys.writer.generate)(STORAGE)
    assert there() == [*(str(n + 1) for n in range(len(history))), CURRENT]
    assert keys.secret(STORAGE) == keys.secret(STORAGE, str(len(history) + 1))


@history
@pytest.mark.parametrize("trap", [CutRequest(), Hold()])
def test_a_ring_that_was_not_written_is_as_it_was(
    proxy: CuttingProxy, ring: Ring, history: list[str], trap: Trap
) -> None:
    """Also when the network delivers it later; and then the next rotation is the next version."""
    keys, there = ring
    write_into(keys, history)
    proxy.on(b"EXEC", trap)
    change = keys.writer.rotate if history else keys.writer.generate
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        change(STORAGE)
    proxy.release()
    assert there() == history
    change(STORAGE)
    assert len(there()) == len(history) + 1


# --- others, between our look and our write ---


def test_what_others_write_meanwhile_is_archived_in_its_turn(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    """No version is lost to a race with someone who takes no lock."""
    proxy.on(b"EXEC", First(lambda: server.cli("SET", "ks/key", "dGhlaXJz")))
    put(store, "key", b"new", "key.old/1")
    assert truth() == OLD | {"key": b"new", "key.old/1": b"theirs"}


def test_an_archive_that_is_taken_meanwhile_is_not_overwritten(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth
) -> None:
    proxy.on(b"EXEC", First(lambda: server.cli("SET", "ks/key.old/1", "dGhlaXJz")))
    with pytest.raises(StoreUnavailable, match="nothing was changed"):
        put(store, "key", b"new", "key.old/1")
    assert truth() == OLD | {"key.old/1": b"theirs"}


@pytest.mark.parametrize("command", [f"DEL {LOCK}", f"SET {LOCK} another", f"PEXPIRE {LOCK} 1"])
@pytest.mark.parametrize("when", ["before the look", "after the look"])
def test_a_lock_that_is_lost_changes_nothing(
    server: RedisServer, proxy: CuttingProxy, store: RedisStore, truth: Truth, command: str, when: str
) -> None:
    def lose() -> None:
        server.cli(*command.split())
        wait_until(lambda: server.ask("GET", LOCK) in (None, b"another"))

    if when == "after the look":
        proxy.on(b"EXEC", First(lose))
    with pytest.raises(StoreBusy):
        put_after(store, lose if when == "before the look" else lambda: None)
    assert truth() == OLD
    assert server.ask("GET", LOCK) == (b"another" if "another" in command else None)
