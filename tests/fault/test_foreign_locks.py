"""Acra's locks in key stores of layout v2: taken to write, not to read; waited for, and left to others."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from keyfs.errors import StoreBusy
from keyfs.store.directory import DirectoryStore
from keyfs.store.redis import RedisStore
from keyfs.store.redis_foreign_lock import key_lock
from keyfs.testing.builders import STORAGE, Keys
from keyfs.testing.cutting_proxy import First, cutting_proxy
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import open_redis, redis_store
from keyfs.testing.ring_stores import rings_on

LOCK = b"ring/.lock"


def keys_in(root: Path) -> Keys:
    return rings_on(DirectoryStore(root, lock_wait_s=0.2))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    return root


@contextmanager
def flocked(path: Path, how: int) -> Iterator[None]:
    """As Acra does it: open, truncate, lock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


@pytest.mark.parametrize("how", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_a_writer_waits_for_acra_and_a_reader_does_not(root: Path, how: int) -> None:
    keys_in(root).writer.generate(STORAGE)
    with flocked(root / ".lock", how):
        keys = keys_in(root)
        before = keys.secret(STORAGE)
        with pytest.raises(StoreBusy, match=r"another program holds .*/\.lock"):
            keys.writer.rotate(STORAGE)
        assert keys_in(root).secret(STORAGE) == before
    keys.writer.rotate(STORAGE)


def test_acra_cannot_lock_while_a_ring_is_changed(root: Path) -> None:
    keys = keys_in(root)
    tried: list[bool] = []

    def try_it() -> None:
        with suppress(BlockingIOError), flocked(root / ".lock", fcntl.LOCK_SH | fcntl.LOCK_NB):
            tried.append(True)
        tried.append(False)

    for method in ("list_under", "supersede"):
        keys.store.before(method, try_it, call=None)
    keys.writer.generate(STORAGE)
    assert len(tried) >= 2
    assert not any(tried)
    with flocked(root / ".lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        pass


def test_the_lock_file_is_made_as_acra_makes_it(root: Path) -> None:
    old = os.umask(0o077)
    try:
        keys_in(root).writer.generate(STORAGE)
    finally:
        os.umask(old)
    assert (root / ".lock").stat().st_mode & 0o777 == 0o644
    assert (root / ".lock").stat().st_size == 0


# --- in Redis ---


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


OPENED: list[RedisStore] = []


@pytest.fixture
def server(shared: RedisServer) -> Iterator[RedisServer]:
    shared.admin.flushall()
    yield shared
    while OPENED:
        OPENED.pop().close()


def rings_in(server: RedisServer) -> Keys:
    OPENED.append(open_redis(server.unix_uri("ring")))
    return rings_on(OPENED[-1])


def test_a_change_holds_the_key_that_acra_sets(server: RedisServer) -> None:
    keys = rings_in(server)
    held: list[tuple[bytes | None, bool]] = []

    def look() -> None:
        held.append((server.admin.get(LOCK), 0 < server.admin.pttl(LOCK) <= 10_000))

    for method in ("list_under", "supersede"):
        keys.store.before(method, look, call=None)
    keys.writer.generate(STORAGE)
    assert len(held) >= 2
    assert set(held) == {(b"locked", True)}
    assert not server.admin.exists(LOCK)


def test_who_has_the_key_is_waited_for_and_reading_goes_on(server: RedisServer) -> None:
    keys = rings_in(server)
    keys.writer.generate(STORAGE)
    server.admin.set(LOCK, b"locked", ex=10)
    assert len(rings_in(server).secret(STORAGE)) == 45
    with pytest.raises(StoreBusy, match="another program holds"), key_lock(server.admin, LOCK, 0.1):
        pass
    threading.Timer(0.2, lambda: server.admin.delete(LOCK)).start()
    keys.writer.rotate(STORAGE)
    assert keys.versions(STORAGE) == ["1", "current"]


@pytest.mark.parametrize("left_ms", [None, 10_000, 9_990, 1_000])
def test_a_lock_that_another_one_took_meanwhile_is_noticed_and_left_alone(
    server: RedisServer, left_ms: int | None
) -> None:
    """Acra lets go of the lock, whoever has it; and the lock ends while a writer sleeps."""
    with key_lock(server.admin, LOCK) as held:
        held.demand()
        server.admin.delete(LOCK)
        if left_ms is not None:
            threading.Event().wait(0.05)
            server.admin.set(LOCK, b"locked", px=left_ms)
        with pytest.raises(StoreBusy, match="ended before the write"):
            held.demand()
    assert bool(server.admin.exists(LOCK)) == (left_ms is not None)


def test_a_writer_whose_lock_ended_writes_nothing(server: RedisServer) -> None:
    keys = rings_in(server)
    keys.writer.generate(STORAGE)
    before = server.admin.get(b"ring/client/alice/storage.keyring")
    keys.store.before("supersede", lambda: server.admin.delete(LOCK))
    with pytest.raises(StoreBusy):
        keys.writer.rotate(STORAGE)
    assert server.admin.get(b"ring/client/alice/storage.keyring") == before
    keys.writer.rotate(STORAGE)


def test_a_ring_that_was_written_without_a_lock_is_not_overwritten(server: RedisServer) -> None:
    """The switch is made only if the ring is what was read."""
    keys = rings_in(server)
    keys.writer.generate(STORAGE)
    ring = b"ring/client/alice/storage.keyring"
    with pytest.MonkeyPatch.context() as patch:
        original = RedisStore.rewrite

        def raced(self: RedisStore, names: list[str], expected: bytes, data: bytes) -> bool:
            server.admin.set(ring, b"AAAA")
            return original(self, names, expected, data)

        patch.setattr(RedisStore, "rewrite", raced)
        with pytest.raises(StoreBusy, match="someone else wrote"):
            keys.writer.rotate(STORAGE)
    assert server.admin.get(ring) == b"AAAA"


@pytest.mark.parametrize("key", ["ring.keyfs/lock", "ring/.lock"])
def test_a_key_without_an_end_is_removed_and_one_with_an_end_is_not(server: RedisServer, key: str) -> None:
    store = rings_on(open_redis(server.unix_uri("ring"))).store
    server.ask("SET", key, "locked", "PX", 60_000)
    assert store.stuck_locks() == ()
    assert not store.break_lock(key)
    assert server.ask("GET", key) == b"locked"
    server.ask("PERSIST", key)
    assert store.stuck_locks() == (key,)
    assert store.break_lock(key)
    assert not store.break_lock(key)
    assert server.ask("EXISTS", key) == 0


def test_who_takes_a_lock_in_the_moment_in_which_it_is_removed_keeps_it(server: RedisServer) -> None:
    with (
        cutting_proxy(server.port) as proxy,
        redis_store(f"redis://127.0.0.1:{proxy.port}?prefix=ring") as store,
    ):
        server.ask("SET", "ring/.lock", "locked")

        def take() -> None:
            server.ask("DEL", "ring/.lock")
            server.ask("SET", "ring/.lock", "locked", "NX", "EX", 10)

        proxy.on(b"EXEC", First(take))
        assert not store.break_lock("ring/.lock")
        assert server.ask("PTTL", "ring/.lock") > 0


def test_what_is_no_string_is_no_lock_of_anybody(server: RedisServer) -> None:
    store = rings_on(open_redis(server.unix_uri("ring"))).store
    server.ask("HSET", "ring/.lock", "field", "value")
    assert store.stuck_locks() == ("ring/.lock",)
    assert not store.break_lock("ring/.lock")
    assert server.ask("EXISTS", "ring/.lock") == 1
