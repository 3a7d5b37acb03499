"""`KeyStore`: reads that race with other writers, news that are taken in exactly once, and the end."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from rekeyed import ClientKeys, opened

from keyfs.broker.keystore import READ_TRIES
from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.purposes import STORAGE as STORAGE_PURPOSE
from keyfs.errors import AccessDenied, KeyNotFound, StoreUnavailable, UnsealFailed
from keyfs.layout.base import Slot
from keyfs.store.base import Blob, BlobStat
from keyfs.testing.builders import (
    EVERY_REF,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
    new_material,
)
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

BOBBY = parse_key_ref("storage-sym/bobby")


@pytest.fixture
def medium() -> Medium:
    return full_medium()


@pytest.fixture
def keys(medium: Medium) -> Iterator[Keys]:
    keys = in_memory(medium)
    with closing(keys.keys):
        yield keys


@pytest.fixture
def outside(medium: Medium) -> Keys:
    """The same medium as another program has it."""
    outside = in_memory(medium)
    outside.clock.now_ns += 3600 * 10**9
    return outside


# --- reading ---


@pytest.mark.parametrize(
    ("ref", "half"),
    [(r, h) for r in EVERY_REF for h in Half if h is Half.SECRET or r.purpose.is_pair],
    ids=str,
)
def test_what_was_rotated_outside_is_read_with_its_own_facts(
    keys: Keys, outside: Keys, ref: KeyRef, half: Half
) -> None:
    """The index is older than the store: the bytes are new, so the facts must be."""
    outside.writer.rotate(ref)
    opened, version = keys.keys.read(ref, CURRENT, half)
    assert opened.material == outside.keys.read(ref, CURRENT, half)[0].material
    assert opened.stat == version.part(half).stat
    assert version == outside.keys.ring(ref).version(CURRENT)


def test_a_retired_version_that_moved_is_found_again(keys: Keys, outside: Keys, medium: Medium) -> None:
    """Someone puts the store in order: the same bytes, another blob."""
    keys.writer.rotate(STORAGE_SYM)
    retired = keys.versions(STORAGE_SYM)[0]
    name = f"alice_storage_sym.old/{retired}"
    medium.put(name, medium.blobs[name].data)
    opened, version = keys.keys.read(STORAGE_SYM, retired, Half.SECRET)
    assert opened.stat == version.part(Half.SECRET).stat == medium.blobs[name].stat


def test_a_blob_that_vanishes_for_a_moment_is_looked_for_again(keys: Keys, medium: Medium) -> None:
    """Programs that know no better remove a file before they write it anew."""
    blob = medium.blobs["alice_storage_sym"]
    medium.set("alice_storage_sym", None)
    keys.store.after("get", lambda: None)
    keys.store.before("stat", lambda: medium.set("alice_storage_sym", blob))
    assert keys.secret(STORAGE_SYM)


def test_a_blob_that_vanished_for_good_is_not_found(keys: Keys, medium: Medium) -> None:
    medium.set("alice_storage_sym", None)
    with pytest.raises(KeyNotFound):
        keys.secret(STORAGE_SYM)
    with pytest.raises(KeyNotFound):
        keys.keys.ring(STORAGE_SYM)


def test_a_key_that_is_rotated_all_the_time_is_read_all_the_same(keys: Keys, outside: Keys) -> None:
    """Nobody waits for ever for a quiet moment."""
    values = [outside.secret(STORAGE_SYM)]

    def rotate() -> None:
        outside.writer.rotate(STORAGE_SYM)
        values.append(outside.secret(STORAGE_SYM))

    keys.store.before("get", rotate, None)
    assert keys.secret(STORAGE_SYM) == values[-1]
    assert len(values) <= READ_TRIES + 1


def test_a_version_and_a_half_that_are_not_there_are_not_found(keys: Keys) -> None:
    with pytest.raises(KeyNotFound, match="has no version 1"):
        keys.secret(STORAGE_SYM, "1")
    with pytest.raises(KeyNotFound, match="has no public half"):
        keys.public(STORAGE_SYM)
    with pytest.raises(KeyNotFound, match="storage-sym/bobby"):
        keys.secret(BOBBY)


def test_a_store_that_fails_is_not_asked_again(keys: Keys) -> None:
    keys.store.before("get", failing(StoreUnavailable("away")), None)
    with pytest.raises(StoreUnavailable):
        keys.secret(STORAGE_SYM)
    assert keys.store.counts["get"] == 1


# --- news ---


def destroy_the_first(outside: Keys) -> None:
    outside.writer.rotate(STORAGE)
    outside.writer.destroy(STORAGE, outside.versions(STORAGE)[0])


CHANGES: dict[str, Callable[[Keys], object]] = {
    "a new key": lambda outside: outside.writer.generate(BOBBY),
    "a rotation": lambda outside: outside.writer.rotate(STORAGE_SYM),
    "a rotation of a pair": lambda outside: outside.writer.rotate(STORAGE),
    "a destruction": destroy_the_first,
}


def view(keys: Keys) -> object:
    return {ring.ref: ring for ring in keys.keys.rings()}, keys.keys.index.strays


@pytest.mark.parametrize("change", CHANGES)
def test_news_are_taken_in(keys: Keys, outside: Keys, change: str) -> None:
    with closing(keys.keys.watch()):
        CHANGES[change](outside)
        keys.keys.refresh()
        assert view(keys) == view(outside)
        assert not keys.keys.has_changes()


def test_no_version_is_missing_while_a_lot_of_news_is_taken_in(
    keys: Keys, outside: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.keys.watch()
    for _ in range(20):
        outside.writer.rotate(STORAGE)
    index, seen = keys.keys.index, []
    apply = index.apply

    def watched(name: str, stat: BlobStat | None) -> set[Slot]:
        changed = apply(name, stat)
        held = {v.secret.stat.identity for v in index.ring(STORAGE).versions if v.secret is not None}
        seen.append((index.ring(STORAGE).version(CURRENT).part(Half.SECRET).stat.identity, held))
        return changed

    before = index.ring(STORAGE).version(CURRENT).part(Half.SECRET).stat.identity
    monkeypatch.setattr(index, "apply", watched)
    keys.keys.refresh()
    assert len(seen) >= 20
    assert all(before in held for current, held in seen if current != before)
    assert all(len(held) >= 20 for current, held in seen if current != before)


def test_without_a_watch_there_is_nothing_to_take_in(keys: Keys, outside: Keys) -> None:
    outside.writer.generate(BOBBY)
    assert not keys.keys.has_changes()
    keys.keys.refresh()
    with pytest.raises(KeyNotFound):
        keys.keys.ring(BOBBY)


def test_watching_lists_what_is_there_by_then(keys: Keys, outside: Keys) -> None:
    outside.writer.generate(BOBBY)
    keys.keys.watch()
    assert keys.keys.ring(BOBBY)


def test_after_lost_events_everything_is_listed_again(keys: Keys, outside: Keys, medium: Medium) -> None:
    keys.keys.watch()
    watches, medium.watches[:] = list(medium.watches), []
    outside.writer.generate(BOBBY)
    medium.watches[:] = watches
    watches[0].note(None)
    keys.keys.refresh()
    assert view(keys) == view(outside)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("not yours")])
def test_a_failed_look_is_repeated_in_full(
    keys: Keys, outside: Keys, error: StoreUnavailable | AccessDenied
) -> None:
    keys.keys.watch()
    outside.writer.generate(BOBBY)
    outside.writer.rotate(STORAGE)
    keys.store.before("stat", failing(error), 2)
    with pytest.raises(type(error)):
        keys.keys.refresh()
    assert keys.keys.has_changes()
    assert keys.keys.is_suspect
    keys.keys.refresh()
    assert view(keys) == view(outside)
    assert not keys.keys.has_changes()
    assert not keys.keys.is_suspect


# --- looking at one ring, and at all ---


def test_relisting_one_ring_tells_what_the_store_holds(keys: Keys, outside: Keys, medium: Medium) -> None:
    outside.writer.rotate(STORAGE)
    assert keys.keys.relist(STORAGE) == outside.keys.ring(STORAGE)
    for name in list(medium.blobs):
        if name.startswith("alice_storage"):
            medium.set(name, None)
    assert keys.keys.relist(STORAGE) is None
    assert keys.keys.relist(BOBBY) is None


def test_a_ring_that_is_as_it_was_is_not_built_again(keys: Keys) -> None:
    before = keys.keys.ring(STORAGE)
    assert keys.keys.relist(STORAGE) is before


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
def test_a_rotation_lists_each_history_once(keys: Keys, outside: Keys, ref: KeyRef) -> None:
    """The look before it, under the same lock, has seen the rest."""
    keys.writer.rotate(ref)
    before = keys.store.counts["list_under"]
    keys.writer.rotate(ref)
    assert keys.store.counts["list_under"] - before == len(keys.keys.layout.places(ref).directories)
    assert keys.keys.ring(ref) == outside.keys.relist(ref)


def test_a_ring_that_vanishes_while_all_are_walked_is_left_out(keys: Keys) -> None:
    rings = keys.keys.rings()
    first = next(rings)
    for ref in EVERY_REF:
        keys.keys.index.replace(ref, {})
    assert list(rings) == []
    assert first.ref in EVERY_REF


def test_rings_can_be_those_of_one_purpose(keys: Keys) -> None:
    keys.writer.import_material(BOBBY, new_material(BOBBY))
    assert [ring.ref for ring in keys.keys.rings(STORAGE_PURPOSE)] == [STORAGE]
    assert len(list(keys.keys.rings())) == len(EVERY_REF) + 1


def test_closing_ends_the_watch_and_is_harmless_twice(keys: Keys, medium: Medium) -> None:
    keys.keys.watch()
    assert medium.watches
    keys.keys.close()
    keys.keys.close()
    assert not medium.watches


# --- what does not open ---


def test_a_damaged_blob_is_fetched_again_but_opened_once(medium: Medium) -> None:
    """Each try may be a call to a KMS."""
    kms = ClientKeys()
    medium.put("alice_storage_sym", b"kms:damaged")
    keys = opened(MemoryStore(medium), kms, legacy=False)
    for calls in (1, 2, 3):
        with pytest.raises(UnsealFailed):
            keys.read(STORAGE_SYM, CURRENT, Half.SECRET)
        assert kms.calls == calls


def test_a_blob_that_was_mended_under_the_facts_of_the_damaged_one_is_read(medium: Medium) -> None:
    keys = in_memory(medium)
    good = medium.blobs["alice_storage_sym"]
    before = keys.secret(STORAGE_SYM)
    medium.blobs["alice_storage_sym"] = Blob(good.data[:-1] + b"\0", good.stat)
    keys.keys.reader.refetch(keys.keys.ring(STORAGE_SYM).version(CURRENT))
    with pytest.raises(UnsealFailed):
        keys.secret(STORAGE_SYM)
    medium.blobs["alice_storage_sym"] = good
    assert keys.secret(STORAGE_SYM) == before
