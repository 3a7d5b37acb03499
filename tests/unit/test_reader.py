"""Opening blobs: what the cache may serve, which public half is the right one, what is never hidden."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyfs.broker import reader as reader_module
from keyfs.broker.reader import BlobReader
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import (
    InsecurePermissions,
    KeyNotFound,
    MasterKeyUnavailable,
    MaterialCorrupt,
    StoreUnavailable,
    UnsealFailed,
)
from keyfs.layout.base import KeyVersion
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.store.base import Blob
from keyfs.testing.builders import EVERY_REF, POISON, STORAGE, STORAGE_SYM, Keys, full_medium, in_memory
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore


@pytest.fixture
def medium() -> Medium:
    return full_medium()


@pytest.fixture
def keys(medium: Medium) -> Keys:
    return in_memory(medium)


def current(keys: Keys, ref: KeyRef) -> KeyVersion:
    return keys.keys.ring(ref).version(CURRENT)


def opened(keys: Keys, ref: KeyRef, half: Half = Half.SECRET) -> bytes:
    return keys.keys.reader.open(ref, current(keys, ref), half).material.reveal()


# --- the cache ---


def test_a_blob_is_fetched_once(keys: Keys) -> None:
    reader = keys.keys.reader
    assert not reader.is_warm(current(keys, STORAGE_SYM), Half.SECRET)
    first = opened(keys, STORAGE_SYM)
    assert reader.is_warm(current(keys, STORAGE_SYM), Half.SECRET)
    assert opened(keys, STORAGE_SYM) == first
    assert keys.store.counts["get"] == 1


def test_a_public_half_is_warm_when_its_private_half_is_known_too(keys: Keys) -> None:
    reader = keys.keys.reader
    reader.fetch(current(keys, STORAGE).part(Half.PUBLIC))
    assert not reader.is_warm(current(keys, STORAGE), Half.PUBLIC)
    first = opened(keys, STORAGE, Half.PUBLIC)
    assert reader.is_warm(current(keys, STORAGE), Half.PUBLIC)
    before = keys.store.counts["get"]
    assert opened(keys, STORAGE, Half.PUBLIC) == first
    assert keys.store.counts["get"] == before


@pytest.mark.parametrize("half", list(Half))
def test_what_is_in_memory_opens_without_the_store(keys: Keys, half: Half) -> None:
    """And what is not does not, in whichever order the halves of a pair come."""
    reader, version = keys.keys.reader, current(keys, STORAGE)
    wanted = [version.secret, version.public] if half is Half.PUBLIC else [version.secret]
    for part in reversed(wanted):
        assert part is not None
        assert not reader.is_warm(version, half)
        assert reader.open_warm(STORAGE, version, half) is None
        reader.prefetch([part])
    before = dict(keys.store.counts)
    warm = reader.open_warm(STORAGE, version, half)
    again = reader.open_warm(STORAGE, version, half)
    assert reader.is_warm(version, half)
    assert warm is not None
    assert warm == again == reader.open(STORAGE, version, half)
    assert keys.store.counts == before


def test_a_public_half_alone_is_warm_by_itself(keys: Keys) -> None:
    alone = current(keys, STORAGE)._replace(secret=None)
    keys.keys.reader.open(STORAGE, alone, Half.PUBLIC)
    assert keys.keys.reader.is_warm(alone, Half.PUBLIC)


def test_the_cache_never_serves_another_identity(keys: Keys, medium: Medium) -> None:
    """The index knows what is current; what lies in memory under the same name is asked for its identity."""
    opened(keys, STORAGE_SYM)
    medium.put("alice_storage_sym", keys.sealed(STORAGE_SYM, b"2" * 32))
    keys.keys.load()
    assert not keys.keys.reader.is_warm(current(keys, STORAGE_SYM), Half.SECRET)
    assert opened(keys, STORAGE_SYM) == b"2" * 32


def test_a_name_that_comes_back_with_old_facts_is_served_from_memory_again(
    keys: Keys, medium: Medium
) -> None:
    """Equal facts mean equal bytes: that is what the store promises."""
    first, blob = opened(keys, STORAGE_SYM), medium.blobs["alice_storage_sym"]
    medium.put("alice_storage_sym", keys.sealed(STORAGE_SYM, b"2" * 32))
    medium.set("alice_storage_sym", blob)
    assert opened(keys, STORAGE_SYM) == first
    assert keys.store.counts["get"] == 1


def test_an_inode_that_another_key_gets_does_not_bring_the_first_ones_public_half(
    keys: Keys, medium: Medium
) -> None:
    """Same inode, same time, same size: a file system gives out again what was freed."""
    opened(keys, STORAGE, Half.PUBLIC)
    facts = medium.blobs["alice_storage"].stat
    medium.set("alice_storage", None)
    other = medium.blobs[".poison_key/poison_key"]
    medium.set(".poison_key/poison_key", Blob(other.data, facts))
    keys.keys.load()
    assert opened(keys, POISON, Half.PUBLIC) == public_from_private(Secret(opened(keys, POISON)))


def test_a_new_private_half_under_the_same_name_brings_its_own_public_half(keys: Keys) -> None:
    first = opened(keys, STORAGE, Half.PUBLIC)
    keys.writer.rotate(STORAGE)
    second = opened(keys, STORAGE, Half.PUBLIC)
    assert first != second == public_from_private(Secret(opened(keys, STORAGE)))


def test_a_full_cache_still_reads(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "CACHE_BYTES", 700)
    monkeypatch.setattr(reader_module, "DERIVED_ENTRIES", 1)
    keys.keys.reader = reader = BlobReader(keys.store, LayoutV1(), keys.keys.protection)
    for _ in range(3):
        for ref in EVERY_REF:
            assert opened(keys, ref) == in_memory_again(keys, ref)
    assert not all(reader.is_warm(current(keys, ref), Half.SECRET) for ref in EVERY_REF)


def in_memory_again(keys: Keys, ref: KeyRef) -> bytes:
    reader = BlobReader(keys.store, LayoutV1(), keys.keys.protection)
    return reader.open(ref, current(keys, ref), Half.SECRET).material.reveal()


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_many_threads_fetch_while_the_cache_throws_out(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "CACHE_BYTES", 700)
    reader = BlobReader(keys.store, LayoutV1(), keys.keys.protection)
    parts = [current(keys, ref).part(Half.SECRET) for ref in EVERY_REF]

    def fetch(number: int) -> None:
        for turn in range(8000):
            part = parts[(number + turn) % len(parts)]
            assert reader.fetch(part).stat == part.stat

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(fetch, number) for number in range(6)]:
            done.result()


def test_only_sealed_bytes_are_kept(keys: Keys) -> None:
    secrets = [opened(keys, ref) for ref in EVERY_REF]
    kept = b"".join(blob.data for blob in keys.keys.reader._cache.values())
    assert not [secret for secret in secrets if secret in kept]


# --- opening ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_a_blob_of_another_key_does_not_open(keys: Keys, medium: Medium, ref: KeyRef) -> None:
    name = keys.keys.layout.places(ref).names[0]
    medium.put(name, keys.sealer.seal(Secret(b"x" * 32), b"somebody else"))
    keys.keys.load()
    with pytest.raises(UnsealFailed, match=r"does not open") as caught:
        opened(keys, ref)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "material"), [(STORAGE_SYM, b"x" * 31), (STORAGE, b"x" * 45)], ids=["31", "45"]
)
def test_a_blob_that_opens_to_no_key_is_corrupt(
    keys: Keys, medium: Medium, ref: KeyRef, material: bytes
) -> None:
    name = keys.keys.layout.places(ref).names[0]
    medium.put(name, keys.sealed(ref, material))
    keys.keys.load()
    with pytest.raises(MaterialCorrupt, match=name):
        opened(keys, ref)


def test_without_a_master_key_only_public_halves_are_read(keys: Keys, medium: Medium) -> None:
    keys.keys.reader = BlobReader(keys.store, LayoutV1(), None)
    with pytest.raises(MasterKeyUnavailable, match="--master-key"):
        opened(keys, STORAGE)
    assert opened(keys, STORAGE, Half.PUBLIC) == medium.blobs["alice_storage.pub"].data


def test_a_private_half_open_to_others_is_refused_as_acra_refuses_it(keys: Keys, medium: Medium) -> None:
    medium.put("alice_storage", medium.blobs["alice_storage"].data, mode=0o640)
    keys.keys.load()
    with pytest.raises(InsecurePermissions, match="chmod 600"):
        opened(keys, STORAGE)
    assert opened(keys, STORAGE, Half.PUBLIC)


# --- public halves ---


def test_the_public_half_belongs_to_the_private_half(keys: Keys) -> None:
    assert opened(keys, STORAGE, Half.PUBLIC) == public_from_private(Secret(opened(keys, STORAGE)))


def test_a_sound_public_half_of_another_key_is_not_served(
    keys: Keys, medium: Medium, caplog: pytest.LogCaptureFixture
) -> None:
    """A rotation is half-way through: the right one is derived, and the log says so."""
    right = opened(keys, STORAGE, Half.PUBLIC)
    medium.put("alice_storage.pub", generate_pair()[1])
    keys.keys.load()
    assert not keys.keys.reader.stored_matches(STORAGE, current(keys, STORAGE))
    with caplog.at_level(logging.INFO, "keyfs"):
        assert opened(keys, STORAGE, Half.PUBLIC) == right
    assert "pair.mismatch" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"UEC2", b"x" * 45])
def test_a_damaged_public_half_is_reported_not_replaced(keys: Keys, medium: Medium, damage: bytes) -> None:
    medium.put("alice_storage.pub", damage)
    keys.keys.load()
    with pytest.raises(MaterialCorrupt, match=r"alice_storage\.pub"):
        opened(keys, STORAGE, Half.PUBLIC)


def test_a_public_half_is_served_as_it_is_when_its_private_half_does_not_open(
    keys: Keys, medium: Medium
) -> None:
    stored = medium.blobs["alice_storage.pub"].data
    medium.put("alice_storage", b"x" * 89)
    keys.keys.load()
    assert opened(keys, STORAGE, Half.PUBLIC) == stored


def test_a_store_that_is_away_is_not_taken_for_a_private_half_that_does_not_open(keys: Keys) -> None:
    keys.keys.reader.fetch(current(keys, STORAGE).part(Half.PUBLIC))
    keys.store.before("get", failing(StoreUnavailable("away")), None)
    with pytest.raises(StoreUnavailable):
        opened(keys, STORAGE, Half.PUBLIC)


def test_a_blob_that_goes_away_is_not_found(keys: Keys, medium: Medium) -> None:
    version = current(keys, STORAGE_SYM)
    medium.set("alice_storage_sym", None)
    reader = BlobReader(MemoryStore(medium), LayoutV1(), keys.keys.protection)
    with pytest.raises(KeyNotFound):
        reader.open(STORAGE_SYM, version, Half.SECRET)
