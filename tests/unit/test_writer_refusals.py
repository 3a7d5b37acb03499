"""`RingWriter`: a change that is refused on the way has changed nothing; and mending."""

from collections.abc import Callable

import pytest

from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.errors import (
    ClientIdTooLong,
    InvalidMaterial,
    KeyExists,
    KeyfsError,
    KeyNotFound,
    MasterKeyUnavailable,
    OperationRefused,
    StoreFull,
    UnsealFailed,
)
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.seal.pure import PureSealer
from keyfs.testing.builders import (
    EVERY_REF,
    MASTER_KEY,
    POISON,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
    new_material,
    on_store,
    snapshot,
)
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

BOBBY = parse_key_ref("storage/bobby")
PAIRS = [ref for ref in EVERY_REF if ref.purpose.is_pair]


@pytest.fixture
def medium() -> Medium:
    return full_medium()


@pytest.fixture
def keys(medium: Medium) -> Keys:
    return in_memory(medium)


Change = Callable[[RingWriter], object]
REFUSED: dict[str, tuple[type[KeyfsError], Change]] = {
    "generating what exists": (KeyExists, lambda w: w.generate(STORAGE)),
    "rotating what does not exist": (KeyNotFound, lambda w: w.rotate(BOBBY)),
    "importing over what must not exist": (
        KeyExists,
        lambda w: w.import_material(STORAGE, generate_pair()[0].reveal(), must_exist=False),
    ),
    "importing to what must exist": (
        KeyNotFound,
        lambda w: w.import_material(BOBBY, generate_pair()[0].reveal(), must_exist=True),
    ),
    "importing the wrong length": (InvalidMaterial, lambda w: w.import_material(STORAGE_SYM, b"x" * 31)),
    "importing nothing": (InvalidMaterial, lambda w: w.import_material(STORAGE_SYM, b"")),
    "importing a public half": (InvalidMaterial, lambda w: w.import_material(STORAGE, generate_pair()[1])),
    "importing no container": (InvalidMaterial, lambda w: w.import_material(STORAGE, b"REC2" + b"x" * 41)),
    "destroying the current version": (OperationRefused, lambda w: w.destroy(STORAGE, CURRENT)),
    "destroying what does not exist": (KeyNotFound, lambda w: w.destroy(STORAGE, "2026-01-01T00:00:00")),
    "destroying of an unknown key": (KeyNotFound, lambda w: w.destroy(BOBBY, "2026-01-01T00:00:00")),
    "rotating a legacy key": (OperationRefused, lambda w: w.rotate(parse_key_ref("legacy-zone/alice"))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_change_leaves_everything_as_it_was(keys: Keys, medium: Medium, what: str) -> None:
    error, change = REFUSED[what]
    before = snapshot(medium)
    with pytest.raises(error):
        change(keys.writer)
    assert snapshot(medium) == before


@pytest.mark.parametrize(("length", "fits"), [(233, True), (234, False), (256, False)])
def test_a_client_id_that_acra_could_not_rotate_is_refused(length: int, fits: bool) -> None:
    store = MemoryStore()
    store.name_limit = 255
    keys, ref = on_store(store), parse_key_ref("storage/" + "c" * length)
    if fits:
        keys.writer.generate(ref)
        return
    with pytest.raises(ClientIdTooLong, match="at most 233"):
        keys.writer.generate(ref)
    assert not store.medium.blobs


def test_without_a_master_key_nothing_is_made(medium: Medium) -> None:
    keys = in_memory(medium)
    keys.keys.protection = None
    before = snapshot(medium)
    with pytest.raises(MasterKeyUnavailable, match="--master-key"):
        keys.writer.rotate(STORAGE)
    with pytest.raises(MasterKeyUnavailable, match="--master-key"):
        keys.writer.generate(BOBBY)
    assert snapshot(medium) == before


class LyingSealer(PureSealer):
    """Seals something else than it is given."""

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        return super().seal(Secret(bytes(len(plaintext))), context)


class DeafSealer(PureSealer):
    """Seals so that nothing opens."""

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        return super().seal(plaintext, context + b"!")


@pytest.mark.parametrize("sealer", [LyingSealer, DeafSealer])
@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_a_blob_that_does_not_open_again_is_never_written(
    medium: Medium, sealer: type[PureSealer], ref: KeyRef
) -> None:
    keys = in_memory(medium, sealer=sealer(Secret(MASTER_KEY)))
    before = snapshot(medium)
    with pytest.raises(UnsealFailed):
        keys.writer.rotate(ref)
    assert snapshot(medium) == before
    assert keys.store.counts["supersede"] == 0


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
def test_a_store_that_refuses_lets_the_change_fail_and_the_next_one_pass(
    keys: Keys, medium: Medium, ref: KeyRef
) -> None:
    before = snapshot(medium)
    keys.store.before("supersede", failing(StoreFull("full")))
    with pytest.raises(StoreFull):
        keys.writer.rotate(ref)
    assert snapshot(medium) == before
    keys.writer.rotate(ref)
    keys.assert_sound(ref)


def test_an_answer_that_gets_lost_does_not_lose_a_version(keys: Keys) -> None:
    """The store did it, and then failed to say so: the next change goes on from what is there."""
    keys.store.after("supersede", failing(StoreFull("after all")))
    with pytest.raises(KeyfsError):
        keys.writer.import_material(STORAGE_SYM, b"1" * 32)
    assert not keys.writer.import_material(STORAGE_SYM, b"1" * 32).is_new
    keys.writer.rotate(STORAGE_SYM)
    assert keys.values(STORAGE_SYM)[1] == b"1" * 32
    assert len(keys.versions(STORAGE_SYM)) == 3


# --- mending ---


@pytest.mark.parametrize("ref", PAIRS, ids=str)
def test_mending_a_whole_pair_changes_nothing(keys: Keys, medium: Medium, ref: KeyRef) -> None:
    before = snapshot(medium)
    keys.writer.mend_public(ref)
    assert snapshot(medium) == before


def test_mending_what_is_not_there_changes_nothing(keys: Keys, medium: Medium) -> None:
    before = snapshot(medium)
    keys.writer.mend_public(BOBBY)
    assert snapshot(medium) == before


@pytest.mark.parametrize("ref", PAIRS, ids=str)
def test_mending_writes_the_missing_public_half(keys: Keys, medium: Medium, ref: KeyRef) -> None:
    public = keys.public(ref)
    name = keys.keys.layout.places(ref).names[1]
    medium.set(name, None)
    keys.writer.mend_public(ref)
    assert medium.blobs[name].data == public
    keys.assert_sound(ref)


def test_mending_replaces_the_public_half_of_another_key(keys: Keys, medium: Medium) -> None:
    foreign = generate_pair()[1]
    medium.put("alice_storage.pub", foreign)
    keys.writer.mend_public(STORAGE)
    keys.assert_sound(STORAGE)
    kept = [blob.data for blob in (*medium.blobs.values(), *medium.aside)]
    assert foreign in kept


def test_a_rotation_finishes_what_another_one_left_half_way(keys: Keys, medium: Medium) -> None:
    """The private half was switched, the public one was not: two versions later all halves match."""
    before = keys.values(STORAGE)
    material, _ = generate_pair()
    stamp = "2026-11-24T13:00:00"
    medium.set(f"alice_storage.old/{stamp}", medium.blobs["alice_storage"])
    medium.put("alice_storage", keys.sealed(STORAGE, material.reveal()))
    keys.clock.now_ns += 7200 * 10**9
    keys.writer.rotate(STORAGE)
    assert keys.values(STORAGE)[:2] == [*before, material.reveal()]
    keys.assert_sound(STORAGE)


def test_a_private_half_that_does_not_open_is_superseded_and_kept(keys: Keys, medium: Medium) -> None:
    damaged, public = b"x" * 89, medium.blobs["alice_storage.pub"].data
    medium.put("alice_storage", damaged)
    material = new_material(STORAGE)
    assert keys.writer.import_material(STORAGE, material).is_new
    retired = keys.keys.ring(STORAGE).versions[0]
    assert medium.blobs[retired.part(Half.SECRET).name].data == damaged
    assert medium.blobs[retired.part(Half.PUBLIC).name].data == public
    assert keys.secret(STORAGE) == material


def test_what_does_not_open_is_archived_after_all_before_it_whatever_the_clock(
    keys: Keys, medium: Medium
) -> None:
    before = keys.values(STORAGE)
    keys.writer.rotate(STORAGE)
    medium.put("alice_storage", b"x" * 89, mtime_ns=keys.clock.now_ns)
    keys.clock.now_ns -= 3600 * 10**9
    keys.writer.rotate(STORAGE)
    first, damaged, current = keys.versions(STORAGE)
    assert [keys.secret(STORAGE, first)] == before
    assert medium.blobs[f"alice_storage.old/{damaged}"].data == b"x" * 89
    assert current == CURRENT


def test_mending_archives_a_public_half_that_may_belong_to_what_cannot_be_read_now(
    keys: Keys, medium: Medium
) -> None:
    public = medium.blobs["alice_storage.pub"].data
    medium.put("alice_storage.old/2026-11-24T13:00:00", b"x" * 89)
    medium.put("alice_storage", keys.sealed(STORAGE, generate_pair()[0].reveal()))
    keys.clock.now_ns += 7200 * 10**9
    keys.writer.mend_public(STORAGE)
    first = keys.keys.ring(STORAGE).versions[0]
    assert medium.blobs[first.part(Half.PUBLIC).name].data == public
    assert not medium.aside
    assert keys.public(STORAGE) == public_from_private(Secret(keys.secret(STORAGE)))


def test_poison_pairs_live_in_their_own_directory(keys: Keys, medium: Medium) -> None:
    keys.writer.rotate(POISON)
    retired = keys.versions(POISON)[0]
    assert f".poison_key/poison_key.old/{retired}" in medium.blobs
    assert keys.keys.ring(POISON).version(retired).part(Half.PUBLIC).name.startswith(".poison_key/")
