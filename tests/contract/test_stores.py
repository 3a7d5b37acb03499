"""Every store keeps what `keyfs.testing.store_contract` promises: the drivers, and the fake for tests."""

import os
import shutil
from functools import cache
from pathlib import Path

import pytest

from keyfs.layout.v1_names import is_public
from keyfs.store.base import Store
from keyfs.store.directory import DirectoryStore
from keyfs.testing.faults import FaultyStore
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.store_contract import StoreContract


def new_directory(path: Path) -> Path:
    path.mkdir(0o700, exist_ok=True)
    return path


class TestDirectoryStore(StoreContract):
    def make_store(self, place: Path) -> Store:
        return DirectoryStore(new_directory(place / "keys"))

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        new_directory((place / "keys" / archive).parent)
        os.link(place / "keys" / name, place / "keys" / archive)

    def take_away(self, place: Path) -> None:
        (place / "keys").rename(place / "away")


class TestSplitDirectoryStore(StoreContract):
    def make_store(self, place: Path) -> Store:
        private, public = new_directory(place / "private"), new_directory(place / "public")
        return DirectoryStore(private, public, is_public)

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        new_directory((place / "private" / archive).parent)
        os.link(place / "private" / name, place / "private" / archive)

    def take_away(self, place: Path) -> None:
        shutil.rmtree(place / "private")
        shutil.rmtree(place / "public")


class TestDirectoryStoreWithoutExchange(TestDirectoryStore):
    """As on a medium where two files cannot change places: the kernel says EINVAL for a flag it has not."""

    @pytest.fixture(autouse=True)
    def no_exchange(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("keyfs.store.files._RENAME_EXCHANGE", 1 << 7)


@cache
def medium_of(place: Path) -> Medium:
    return Medium()


class TestMemoryStore(StoreContract):
    def make_store(self, place: Path) -> Store:
        return MemoryStore(medium_of(place))

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        medium_of(place).set(archive, medium_of(place).blobs[name])

    def take_away(self, place: Path) -> None:
        medium_of(place).is_gone = True


class TestFaultyStore(StoreContract):
    """As long as no fault is asked for, nobody notices it."""

    def make_store(self, place: Path) -> Store:
        return FaultyStore(MemoryStore(medium_of(place)))

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        medium_of(place).set(archive, medium_of(place).blobs[name])

    def take_away(self, place: Path) -> None:
        medium_of(place).is_gone = True
