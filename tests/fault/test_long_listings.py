"""Listings that come in many pages: nothing is lost between two of them, and no page takes much memory."""

import os
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from keyfs.broker.keystore import KeyStore
from keyfs.core.names import KeyRef
from keyfs.core.purposes import STORAGE_SYM
from keyfs.errors import StoreUnavailable
from keyfs.layout.v1 import LayoutV1
from keyfs.store.base import Pages
from keyfs.store.directory import DirectoryStore
from keyfs.store.redis import RedisStore
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.redis_stores import redis_store

MANY: Final = 3500
MILLION: Final = 1_000_000
PAGE: Final = 1000
VALUE: Final = b"A" * 104  # as long as a sealed symmetric key


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
        yield store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    return root


def name_of(number: int) -> str:
    return f"client-{number:06d}_storage_sym"


def fill(server: RedisServer, keys: int) -> None:
    for first in range(0, keys, 10_000):
        some = range(first, min(first + 10_000, keys))
        server.ask("MSET", *(word for number in some for word in (f"ks/{name_of(number)}", VALUE)))


def sizes(pages: Pages) -> list[int]:
    return [len(page.blobs) for page in pages]


def test_pages_of_redis_are_short(server: RedisServer, store: RedisStore) -> None:
    fill(server, MANY)
    found = sizes(store.list_pages())
    assert sum(found) >= MANY
    assert len(found) > 3
    assert max(found) <= 2 * PAGE, "SCAN may give somewhat more keys than it was asked for"
    assert set(store.list_all().blobs) == {name_of(number) for number in range(MANY)}


def test_pages_of_a_directory_are_short(root: Path) -> None:
    for number in range(MANY):
        (root / name_of(number)).write_bytes(b"0")
    found = sizes(DirectoryStore(root).list_pages())
    assert sum(found) == MANY
    assert max(found) <= PAGE


def test_what_stays_is_in_a_listing_while_the_table_of_keys_grows_and_shrinks(
    server: RedisServer, store: RedisStore
) -> None:
    """SCAN goes through a table whose size changes meanwhile: it may name a key twice, never not at all."""
    fill(server, MANY)
    extra = [f"ks/extra-{number}" for number in range(20 * PAGE)]
    keys = KeyStore(store, LayoutV1(), None)

    def pages() -> Pages:
        for page, turn in zip(store.list_pages(), count(), strict=False):
            if turn == 1:
                server.ask("MSET", *(word for key in extra for word in (key, "x")))
            elif turn == 2:
                server.ask("DEL", *extra)
            yield page

    keys.index.load(pages())
    assert len(keys.index) == MANY
    assert len(keys.index.blobs(KeyRef(STORAGE_SYM, "client-000000"))) == 1


def test_a_name_with_a_nul_is_a_stray_and_hides_nothing(server: RedisServer, store: RedisStore) -> None:
    fill(server, 5)
    server.ask("SET", b"ks/a\0b", "x")
    server.ask("SET", b"ks/a\0ks/b", "x")
    listing = store.list_all()
    assert set(listing.blobs) == {name_of(number) for number in range(5)}
    assert set(listing.strays) == {"a\0b", "a\0ks/b"}


def test_a_server_that_goes_away_between_two_pages_is_unavailable(
    server: RedisServer, store: RedisStore
) -> None:
    """What was listed so far is not taken for all there is."""
    fill(server, MANY)
    keys = KeyStore(store, LayoutV1(), None)
    keys.load()
    server.ask("DEL", f"ks/{name_of(0)}")
    with closing(store.list_pages()) as pages:
        next(pages)
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(StoreUnavailable):
            keys.index.reload(pages)
    assert len(keys.index) == MANY
    keys.load()
    assert len(keys.index) == MANY - 1


# --- a million; not part of scripts/test ---


def grown_by_loading(keys: KeyStore) -> int:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    keys.load()
    return resident() - before


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_million_keys_in_redis_are_loaded_and_listed_anew(server: RedisServer, store: RedisStore) -> None:
    fill(server, MILLION)
    keys = KeyStore(store, LayoutV1(), None)
    assert grown_by_loading(keys) <= MILLION * (160 + len(name_of(0)))
    assert len(keys.index) == MILLION
    ring = keys.ring(KeyRef(STORAGE_SYM, "client-777777"))
    server.ask("SET", f"ks/{name_of(999_999)}", VALUE[4:])
    assert {slot.ref.client for slot in keys.reload()} == {"client-999999"}
    assert keys.ring(ring.ref) is ring
    assert list(keys.index.clients(STORAGE_SYM)) == [f"client-{number:06d}" for number in range(MILLION)]


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_million_keys_in_a_directory_are_loaded(root: Path) -> None:
    for number in range(MILLION):
        os.close(os.open(root / name_of(number), os.O_CREAT | os.O_WRONLY, 0o600))
    keys = KeyStore(DirectoryStore(root), LayoutV1(), None)
    assert grown_by_loading(keys) <= MILLION * (160 + len(name_of(0)))
    assert len(keys.index) == MILLION
    assert not keys.reload()
