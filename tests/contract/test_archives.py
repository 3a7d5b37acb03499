"""The archive beside a key store, on every medium: nothing leaves the store without it, all comes back."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keyfs import app
from keyfs.broker.archive import archive, archived, purge, restore
from keyfs.core.archived import NAME
from keyfs.errors import KeyExists, KeyNotFound, MaterialCorrupt, StoreFull
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.store.ring_changes import RingMedium
from keyfs.testing.builders import AUDIT_LOG, EVERY_REF, STORAGE, Keys, on_store
from keyfs.testing.faults import failing
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.redis_stores import open_redis
from keyfs.testing.ring_stores import rings_on

PLACES = [f"{medium}-{layout}" for medium in ("memory", "directory", "redis") for layout in ("v1", "v2")]


def everything(ring: KeyRing) -> tuple[KeyVersion, ...]:
    return ring.versions


@pytest.fixture(params=PLACES)
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keys]:
    """A key store with three versions of every key."""
    place, _, layout = request.param.partition("-")
    medium: RingMedium = MemoryStore()
    if place == "directory":
        app.init_store(f"dir:{tmp_path / 'keys'}", layout)
        medium = app.open_store(f"dir:{tmp_path / 'keys'}")
    if place == "redis":
        server: RedisServer = request.getfixturevalue("server")
        server.ask("FLUSHALL")
        medium = open_redis(server.unix_uri("keys"))
    made = rings_on(medium) if layout == "v2" else on_store(medium)
    for ref in EVERY_REF:
        made.writer.generate(ref)
        made.writer.rotate(ref)
        made.writer.rotate(ref)
    with closing(made.keys):
        yield made


def test_what_is_archived_is_out_of_the_store_and_comes_back_as_it_was(keys: Keys) -> None:
    for ref in EVERY_REF:
        before, values = keys.keys.ring(ref), keys.values(ref)
        gone = archive(keys.keys, ref, lambda ring: ring.versions[:1])
        assert [version.id for version in gone] == [before.versions[0].id]
        assert keys.values(ref) == values[1:]
        keys.assert_sound(ref)
        label = f"{ref}/{gone[0].id}"
        assert label in archived(keys.keys)
        restore(keys.keys, label)
        keys.keys.load()
        assert keys.values(ref) == values
        assert [(v.id, v.created_ns, v.retired_ns) for v in keys.keys.ring(ref).versions] == [
            (v.id, v.created_ns, v.retired_ns) for v in before.versions
        ]
        keys.assert_sound(ref)
    assert archived(keys.keys) == {}


def test_what_is_current_is_never_archived(keys: Keys) -> None:
    """Whatever is asked for."""
    for ref in EVERY_REF:
        current = keys.secret(ref)
        assert len(archive(keys.keys, ref, everything)) == 2
        assert keys.values(ref) == [current]
        assert archive(keys.keys, ref, everything) == ()


def test_an_archive_holds_no_key_in_plain(keys: Keys) -> None:
    retired = keys.values(STORAGE)[:-1] + keys.values(AUDIT_LOG)[:-1]
    for ref in (STORAGE, AUDIT_LOG):
        archive(keys.keys, ref, everything)
    blobs = [blob.data for one in archived(keys.keys).values() for blob in one.blobs]
    assert len(archived(keys.keys)) == 4
    assert not [value for value in retired for blob in blobs if value in blob]


def test_what_cannot_be_archived_stays(keys: Keys) -> None:
    values = keys.values(STORAGE)
    keys.store.before("append_beside", failing(StoreFull("no room")))
    with pytest.raises(StoreFull):
        archive(keys.keys, STORAGE, everything)
    keys.store.mend()
    keys.keys.load()
    assert keys.values(STORAGE) == values


def test_one_who_died_in_between_is_followed_by_one_who_finishes(keys: Keys) -> None:
    """In the archive, and still in the store: it is there once, and leaves the store."""
    keys.store.before("delete", failing(StoreFull("died")))
    with pytest.raises(StoreFull):
        archive(keys.keys, STORAGE, everything)
    keys.store.mend()
    there = list(archived(keys.keys))
    assert len(there) == 2
    assert len(archive(keys.keys, STORAGE, everything)) == 2
    assert list(archived(keys.keys)) == there
    data = keys.keys.store.read_beside(NAME)
    assert data is not None
    assert data.count(b"\n") == 2


def test_purge_removes_for_good_and_nothing_else(keys: Keys) -> None:
    archive(keys.keys, STORAGE, everything)
    first, second = archived(keys.keys)
    with pytest.raises(KeyNotFound, match="nothing/there is not in the archive"):
        purge(keys.keys, [first, "nothing/there"])
    assert list(archived(keys.keys)) == [first, second]
    purge(keys.keys, [first])
    assert list(archived(keys.keys)) == [second]
    with pytest.raises(KeyNotFound):
        restore(keys.keys, first)
    restore(keys.keys, second)
    assert len(keys.versions(STORAGE)) == 2


def test_nothing_is_overwritten_by_a_restored_version(keys: Keys) -> None:
    data = keys.keys.store.read_beside(NAME)
    archive(keys.keys, STORAGE, everything)
    label = next(iter(archived(keys.keys)))
    kept = keys.keys.store.read_beside(NAME) or b""
    restore(keys.keys, label)
    keys.keys.store.write_beside(NAME, kept)
    values = keys.values(STORAGE)
    with pytest.raises(KeyExists):
        restore(keys.keys, label)
    assert (data, keys.values(STORAGE)) == (None, values)


def test_a_damaged_archive_is_told_and_nothing_is_taken_out_of_the_store(keys: Keys) -> None:
    archive(keys.keys, AUDIT_LOG, everything)
    keys.keys.store.append_beside(NAME, b'{"key": "storage')
    values = keys.values(STORAGE)
    with pytest.raises(MaterialCorrupt, match=r"line 3 of archive\.jsonl beside the key store is damaged"):
        archive(keys.keys, STORAGE, everything)
    assert keys.values(STORAGE) == values
