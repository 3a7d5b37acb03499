"""Both layouts on both media do the same: `keyfs.testing.layout_contract`, `….keeping_contract`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from strangers import Raw

from keyfs.core.names import KeyRef
from keyfs.testing.folders import in_memory
from keyfs.testing.keeping_contract import KeepingContract
from keyfs.testing.layout_contract import LayoutContract
from keyfs.testing.layout_site import Told
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import SharedStore, shared_store


class OnMedium(KeepingContract, LayoutContract):
    """The raw medium, too."""

    def raw(self, store: SharedStore) -> Raw:
        raise NotImplementedError

    def files(self, store: SharedStore) -> dict[str, bytes]:
        return self.raw(store).files()

    def put(self, store: SharedStore, name: str, data: bytes) -> None:
        self.raw(store).put(name, data)


class InV1(OnMedium):
    layout = "v1"
    blob = "alice_storage_sym"
    left_over = "alice_storage_sym1234567890"

    def told(self, store: SharedStore) -> dict[KeyRef, list[Told]]:
        return self.raw(store).read_v1(store.master_key)


class InV2(OnMedium):
    layout = "v2"
    blob = "client/alice/storage-sym.keyring"
    left_over = "client/alice/storage-sym.keyring.new"

    def told(self, store: SharedStore) -> dict[KeyRef, list[Told]]:
        return self.raw(store).read_v2(store.master_key)


class OnDirectory(OnMedium):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Path]:
        with in_memory(tmp_path) as folder:
            yield folder

    def make_store(self, place: Path, layout: str) -> SharedStore:
        return shared_store(place, f"dir:{place}/keys", layout)

    def raw(self, store: SharedStore) -> Raw:
        return Raw(root=store.master_key.parent / "keys")


class OnRedis(OnMedium):
    @pytest.fixture(autouse=True)
    def running(self, server: RedisServer) -> None:
        server.admin.flushall()
        self.running_server = server

    def make_store(self, place: Path, layout: str) -> SharedStore:
        return shared_store(place, self.running_server.unix_uri(place.name), layout)

    def raw(self, store: SharedStore) -> Raw:
        return Raw(server=self.running_server, prefix=store.master_key.parent.name)


class TestV1OnDirectory(InV1, OnDirectory): ...


class TestV1OnRedis(InV1, OnRedis): ...


class TestV2OnDirectory(InV2, OnDirectory): ...


class TestV2OnRedis(InV2, OnRedis): ...
