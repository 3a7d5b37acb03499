"""Keys of own purposes behave alike in every store; and a joined store is a store like any other."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest

from keyfs.store.annex import DirectoryAnnex, Present
from keyfs.store.base import Store
from keyfs.store.directory import DirectoryStore
from keyfs.store.joined import JoinedStore
from keyfs.store.redis import RedisStore
from keyfs.store.redis_uri import parse_redis_uri
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.own_contract import OwnContract
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.store_contract import StoreContract


@cache
def medium_of(place: Path, part: str) -> Medium:
    return Medium()


def in_directory(place: Path) -> Store:
    root = place / "keys"
    root.mkdir(0o700, exist_ok=True)
    return JoinedStore(DirectoryStore(root), DirectoryAnnex(root))


def in_memory(place: Path) -> Store:
    return JoinedStore(MemoryStore(medium_of(place, "main")), Present(MemoryStore(medium_of(place, "annex"))))


def in_redis(server: RedisServer, place: Path) -> Store:
    prefix = f"ks-{place.name}"
    parts = [RedisStore(*parse_redis_uri(server.unix_uri(p), {})) for p in (prefix, f"{prefix}.keyfs/own")]
    return JoinedStore(parts[0], Present(parts[1]))


class InRedis:
    server: RedisServer

    @pytest.fixture(scope="class")
    @classmethod
    def medium(cls) -> Iterator[RedisServer]:
        with redis_server() as server:
            yield server

    @pytest.fixture(autouse=True)
    def running(self, medium: RedisServer) -> Iterator[None]:
        self.server = medium
        yield
        medium.ask("FLUSHALL")

    def make_store(self, place: Path) -> Store:
        return in_redis(self.server, place)


class TestOwnInDirectory(OwnContract):
    def make_store(self, place: Path) -> Store:
        return in_directory(place)


class TestOwnInMemory(OwnContract):
    def make_store(self, place: Path) -> Store:
        return in_memory(place)


class TestOwnInRedis(InRedis, OwnContract):
    pass


class TestJoinedDirectory(StoreContract):
    """With an annex that nobody ever made."""

    def make_store(self, place: Path) -> Store:
        return in_directory(place)

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        (place / "keys" / archive).parent.mkdir(0o700, exist_ok=True)
        (place / "keys" / archive).hardlink_to(place / "keys" / name)

    def take_away(self, place: Path) -> None:
        (place / "keys").rename(place / "away")


class TestJoinedMemory(StoreContract):
    identity_is_of_bytes: ClassVar[bool] = False

    def make_store(self, place: Path) -> Store:
        return in_memory(place)

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        medium = medium_of(place, "main")
        medium.set(archive, medium.blobs[name])

    def take_away(self, place: Path) -> None:
        for part in ("main", "annex"):
            medium_of(place, part).is_gone = True
