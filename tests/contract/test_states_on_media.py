"""States and planned destructions are the same on every medium: `keyfs.testing.state_contract`."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from keyfs.store.base import Store
from keyfs.store.directory import DirectoryStore
from keyfs.testing.builders import Keys
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.redis_groups import Cluster, redis_cluster
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.redis_stores import open_redis
from keyfs.testing.ring_stores import SIGNATURE_KEY, rings_on
from keyfs.testing.state_contract import StateContract


@cache
def medium_of(place: Path) -> Medium:
    return Medium()


class TestInMemory(StateContract):
    def make_store(self, place: Path) -> Store:
        return MemoryStore(medium_of(place))


class TestInRings(StateContract):
    is_in_format = True
    signature_key = SIGNATURE_KEY

    def open_keys(self, place: Path) -> Keys:
        return rings_on(MemoryStore(medium_of(place)))

    def copy_target(self) -> Keys:
        return rings_on(MemoryStore(Medium()))


class TestInDirectory(StateContract):
    def make_store(self, place: Path) -> Store:
        (place / "keys").mkdir(0o700, exist_ok=True)
        return DirectoryStore(place / "keys")


class TestInRedis(StateContract):
    @pytest.fixture(autouse=True)
    def running(self, server: RedisServer) -> None:
        self.running_server = server

    def make_store(self, place: Path) -> Store:
        return open_redis(self.running_server.unix_uri(f"states-{place.name}"))


class TestInCluster(StateContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[Cluster]:
        with redis_cluster() as cluster:
            yield cluster

    @pytest.fixture(autouse=True)
    def running(self, cluster: Cluster) -> None:
        self.running_cluster = cluster

    def make_store(self, place: Path) -> Store:
        return open_redis(self.running_cluster.uri(f"states-{place.name}"))
