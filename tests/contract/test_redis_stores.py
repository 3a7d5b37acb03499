"""The Redis driver keeps what `keyfs.testing.store_contract` promises, over every way to a real server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from keyfs.store.base import Store
from keyfs.store.redis import RedisStore
from keyfs.store.redis_uri import parse_redis_uri
from keyfs.testing.certificates import Authority
from keyfs.testing.channel_contract import ChannelContract
from keyfs.testing.redis_groups import Cluster, SentinelGroup, redis_cluster, sentinel_group
from keyfs.testing.redis_servers import RedisServer, redis_server
from keyfs.testing.store_contract import StoreContract

PASSWORD = "s3cr:t@w#rd/?"
QUOTED = "s3cr%3At%40w%23rd%2F%3F"
# All that keyfs needs, on the keys PREFIX/* and PREFIX.keyfs/*; a cluster needs +cluster|slots too.
READING = "+get +mget +type +exists +scan +time +pttl +@connection"
RIGHTS = f"{READING} +set +del +renamenx +pexpire +watch +unwatch +multi +exec +wait"


def prefix_of(place: Path) -> str:
    """One for each test: they share a server, so that each store has others' keys around it."""
    return "ks-" + hashlib.sha256(str(place).encode()).hexdigest()[:12]


class RedisContract(StoreContract, ChannelContract):
    """The suite for one server; others say which one."""

    identity_is_of_bytes: ClassVar[bool] = True

    @pytest.fixture(autouse=True)
    def running(self, medium: object) -> Iterator[None]:
        """Whatever was taken away for a test is there again for the next one."""
        assert isinstance(medium, RedisServer)
        self.server = medium
        yield
        if not medium.is_running:
            medium.start()

    def uri(self, prefix: str) -> str:
        raise NotImplementedError

    def make_store(self, place: Path) -> Store:
        return RedisStore(*parse_redis_uri(self.uri(prefix_of(place)), {}))

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        prefix = prefix_of(place)
        self.server.ask("COPY", f"{prefix}/{name}", f"{prefix}/{archive}")

    def take_away(self, place: Path) -> None:
        self.server.kill()


class TestOverUnixSocket(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def medium(cls) -> Iterator[RedisServer]:
        with redis_server() as server:
            yield server

    def uri(self, prefix: str) -> str:
        return self.server.unix_uri(prefix)


class TestAsUserWithPassword(RedisContract):
    passwords = (PASSWORD, QUOTED)

    @pytest.fixture(scope="class")
    @classmethod
    def medium(cls) -> Iterator[RedisServer]:
        with redis_server(acl=[f"user keyfs on >{PASSWORD} ~ks-* {RIGHTS}"]) as server:
            yield server

    def uri(self, prefix: str) -> str:
        return self.server.uri(prefix, user=f"keyfs:{QUOTED}")


class TestOverTLS(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def medium(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
        with redis_server(authority=Authority(tmp_path_factory.mktemp("ca"))) as server:
            yield server

    def uri(self, prefix: str) -> str:
        return self.server.uri(prefix)


class TestUnderSentinel(RedisContract):
    @pytest.fixture(scope="class")
    @classmethod
    def group(cls) -> Iterator[SentinelGroup]:
        with sentinel_group() as group:
            yield group

    @pytest.fixture
    def medium(self, group: SentinelGroup) -> RedisServer:
        self.all = group
        return group.primary

    def uri(self, prefix: str) -> str:
        return self.all.uri(prefix)


class TestInCluster(StoreContract):
    identity_is_of_bytes: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[Cluster]:
        with redis_cluster() as cluster:
            yield cluster

    @pytest.fixture(autouse=True)
    def running(self, cluster: Cluster) -> Iterator[None]:
        """Whatever was taken away for a test is there again for the next one."""
        self.all = cluster
        yield
        for node in cluster.nodes:
            if not node.is_running:
                node.start()
        cluster.wait_until_whole()

    def make_store(self, place: Path) -> Store:
        return RedisStore(*parse_redis_uri(self.all.uri(prefix_of(place)), {}))

    def test_there_is_no_channel(self, store: Store) -> None:
        assert store.channel() is None

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        prefix = prefix_of(place)
        value = self.all.ask("GET", f"{prefix}/{name}")
        assert isinstance(value, bytes)
        self.all.ask("SET", f"{prefix}/{archive}", value)

    def take_away(self, place: Path) -> None:
        for node in self.all.nodes:
            node.kill()
