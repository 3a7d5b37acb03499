"""Keys of own purposes behave alike in every store; and a joined store is a store like any other."""

import hashlib
from collections.abc import Callable, Iterator
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
from keyfs.testing.redis_groups import Cluster, redis_cluster
from keyfs.testing.redis_servers import RedisServer
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


def in_redis(uri: Callable[[str], str], place: Path) -> Store:
    """Under a prefix of its own: the tests share a server."""
    prefix = "ks-" + hashlib.sha256(str(place).encode()).hexdigest()[:12]
    main, annex = (RedisStore(*parse_redis_uri(uri(p), {})) for p in (prefix, f"{prefix}.keyfs/own"))
    return JoinedStore(main, Present(annex))


class TestOwnInDirectory(OwnContract):
    def make_store(self, place: Path) -> Store:
        return in_directory(place)


class TestOwnInMemory(OwnContract):
    def make_store(self, place: Path) -> Store:
        return in_memory(place)


class TestOwnInRedis(OwnContract):
    @pytest.fixture(autouse=True)
    def running(self, server: RedisServer) -> None:
        self.uri = server.unix_uri

    def make_store(self, place: Path) -> Store:
        return in_redis(self.uri, place)


class TestOwnInCluster(OwnContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[Cluster]:
        with redis_cluster() as cluster:
            yield cluster

    @pytest.fixture(autouse=True)
    def running(self, cluster: Cluster) -> None:
        self.uri = cluster.uri

    def make_store(self, place: Path) -> Store:
        return in_redis(self.uri, place)


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
