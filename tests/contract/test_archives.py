"""The archive beside a key store, on every medium: nothing leaves the store without it, all comes back."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keyfs import app
from keyfs.broker.archive import archive, archived, purge, restore
from keyfs.broker.archive_resealing import reseal_archive
from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.resealing import Resealer
from keyfs.broker.writer import RingWriter
from keyfs.core.archived import NAME, as_lines
from keyfs.core.names import Half
from keyfs.core.secret import Secret
from keyfs.errors import (
    KeyExists,
    KeyNotFound,
    MaterialCorrupt,
    OperationRefused,
    StoreBusy,
    StoreFull,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.seal.protection import CellProtection, Protections
from keyfs.seal.pure import PureSealer
from keyfs.store.ring_changes import RingMedium
from keyfs.testing.builders import AUDIT_LOG, EVERY_REF, MASTER_KEY, STORAGE, STORAGE_SYM, Keys, on_store
from keyfs.testing.faults import failing
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.redis_stores import open_redis
from keyfs.testing.ring_stores import rings_on, rings_under

PLACES = [f"{medium}-{layout}" for medium in ("memory", "directory", "redis") for layout in ("v1", "v2")]
OTHER_KEY = bytes(range(7, 39))
on_v1 = pytest.mark.parametrize(
    "keys", PLACES[::2], indirect=True
)  # rings are signed, too: see the last test


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


def under_another_key(keys: Keys) -> RekeyReport:
    """The report of a change of the master key; the key store has both from then on."""
    new, old = (CellProtection(PureSealer(Secret(key))) for key in (OTHER_KEY, MASTER_KEY))
    keys.keys.protection = Protections([new, old])
    report = RekeyReport()
    rekey(keys.keys, new, report)
    return report


@on_v1
def test_another_master_key_is_one_for_the_archive_too(keys: Keys) -> None:
    values = {ref: keys.values(ref) for ref in EVERY_REF}
    labels = [f"{ref}/{archive(keys.keys, ref, everything)[0].id}" for ref in EVERY_REF]
    before = archived(keys.keys)
    report = under_another_key(keys)
    assert (report.rewrapped, report.failed) == (3 * len(EVERY_REF), {})
    after = archived(keys.keys)
    assert [replace(one, blobs=()) for one in after.values()] == [
        replace(one, blobs=()) for one in before.values()
    ]
    for label in list(after):
        restore(keys.keys, label)
    assert len(labels) == len(EVERY_REF)
    anew = on_store(keys.store, sealer=PureSealer(Secret(OTHER_KEY)))
    assert {ref: anew.values(ref) for ref in EVERY_REF} == values
    assert under_another_key(keys).rewrapped == 0


@on_v1
def test_what_in_the_archive_cannot_be_sealed_anew_is_named_and_stays(keys: Keys) -> None:
    archive(keys.keys, AUDIT_LOG, everything)
    first, second = archived(keys.keys).values()
    spoiled = replace(first, blobs=(replace(first.blobs[0], data=b"x" * 76),))
    strange = replace(first, version="1", blobs=(replace(first.blobs[0], name="README"),))
    keys.store.write_beside(NAME, as_lines([spoiled, second, strange]))
    report = under_another_key(keys)
    assert {name: type(exc) for name, exc in report.failed.items()} == {
        f"{spoiled.label} in the archive": UnsealFailed,
        f"{strange.label} in the archive": OperationRefused,
    }
    after = list(archived(keys.keys).values())
    assert after[::2] == [spoiled, strange]
    assert after[1] != second


@on_v1
def test_a_damaged_archive_keeps_no_key_from_being_sealed_anew(keys: Keys) -> None:
    keys.store.write_beside(NAME, b"{")
    report = under_another_key(keys)
    assert {name: type(exc) for name, exc in report.failed.items()} == {NAME: MaterialCorrupt}
    assert keys.store.read_beside(NAME) == b"{"


@on_v1
def test_what_somebody_archives_meanwhile_is_not_written_over(keys: Keys) -> None:
    archive(keys.keys, AUDIT_LOG, everything)
    [first, second] = archived(keys.keys)
    text = keys.store.read_beside(NAME) or b""
    one, other = text.splitlines()
    keys.store.write_beside(NAME, one + b"\n")
    keys.store.after("read_beside", lambda: keys.store.append_beside(NAME, other))
    keys.keys.protection = Protections(
        [CellProtection(PureSealer(Secret(key))) for key in (OTHER_KEY, MASTER_KEY)]
    )
    report = reseal_archive(keys.keys, Resealer(keys.keys.protection.members[0], keys.keys.protection))
    assert report.rewrapped == 2
    assert list(archived(keys.keys)) == [first, second]


def test_an_archive_is_not_written_once_the_lock_has_ended(
    keys: Keys, request: pytest.FixtureRequest
) -> None:
    """In Redis it ends by itself; somebody else may hold it by then."""
    if request.node.callspec.params["keys"] != "redis":
        return
    server: RedisServer = request.getfixturevalue("server")
    archive(keys.keys, AUDIT_LOG, everything)
    before, [first, second] = keys.store.read_beside(NAME), archived(keys.keys)
    for work, step in (
        (lambda: purge(keys.keys, [first]), "read_beside"),
        (lambda: restore(keys.keys, second), "supersede"),
        (lambda: archive(keys.keys, STORAGE, everything), "append_beside"),
    ):
        keys.store.after(step, lambda: server.ask("SET", "keys.keyfs/lock", "another"))
        with pytest.raises(StoreBusy):
            work()
        server.ask("DEL", "keys.keyfs/lock")
        assert (keys.store.read_beside(NAME) or b"").startswith(before or b"-")
    keys.keys.reload()
    assert len(keys.versions(STORAGE)) == 3


def test_another_master_key_is_one_for_what_was_taken_out_of_key_rings() -> None:
    medium = MemoryStore()
    old = rings_under(medium, MASTER_KEY)
    writer = RingWriter(old)
    for _ in range(3):
        writer.import_material(STORAGE_SYM, os.urandom(32))
    values = read_all(old)
    archive(old, STORAGE_SYM, everything)
    both = rings_under(medium, OTHER_KEY, MASTER_KEY)
    report = RekeyReport()
    assert both.protection is not None
    rekey(both, both.protection.members[0], report)
    assert (report.rewrapped, report.failed) == (3, {})
    new = rings_under(medium, OTHER_KEY)
    for label in archived(new):
        restore(new, label)
    assert read_all(new) == values
    assert archived(new) == {}


def read_all(keys: KeyStore) -> list[bytes]:
    return [
        keys.read(STORAGE_SYM, version.id, Half.SECRET)[0].material.reveal()
        for version in keys.ring(STORAGE_SYM).versions
    ]
