"""A backup into a key store: nothing is lost, nothing is overwritten, and it can be stopped anywhere."""

from collections.abc import Iterable
from contextlib import suppress

import pytest
from bundled import actions, contents, exported, restore

from keyfs.broker.import_plan import OnConflict
from keyfs.broker.importing import Target, import_bundle
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion, decode, encode
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.own import OwnKind, OwnSpec
from keyfs.core.purposes import Purpose, Shape
from keyfs.core.secret import Secret
from keyfs.errors import KeyExists, MaterialCorrupt, RotationConflict, StoreUnavailable
from keyfs.testing.builders import (
    EVERY_REF,
    HMAC_SYM,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
    snapshot,
)
from keyfs.testing.medium import Medium


def rotated(*refs: KeyRef, versions: int = 3, later_ns: int = 0) -> Keys:
    made = in_memory(Medium())
    made.clock.now_ns += later_ns
    for _ in range(versions):
        for ref in refs:
            made.writer.rotate(ref) if made.keys.index.has(ref) else made.writer.generate(ref)
    return made


def copy_of(made: Keys) -> Keys:
    """Another key store, which has the same."""
    other = in_memory(Medium())
    assert not restore(exported(made), other).failed
    return other


def assert_paired(made: Keys, ref: KeyRef) -> None:
    """Nothing is left over, and stored halves belong together. Two histories in one may overlap in time."""
    ring = made.keys.ring(ref)
    assert not ring.orphans
    assert [v.id for v in ring.versions if v.retired_ns is None] == [CURRENT]
    assert not ref.purpose.is_pair or all(made.keys.reader.stored_matches(ref, v) for v in ring.versions)


def test_everything_comes_back_with_names_and_times() -> None:
    made = rotated(*EVERY_REF)
    other = in_memory(Medium())
    report = restore(exported(made), other)
    assert {row.action.value for row in report.rows} == {"add"}
    for ref in EVERY_REF:
        assert other.versions(ref) == made.versions(ref)
        assert other.values(ref) == made.values(ref)
        other.assert_sound(ref)
        times = [
            [(v.created_ns, v.retired_ns) for v in keys.keys.ring(ref).versions] for keys in (made, other)
        ]
        assert times[0] == times[1]
    assert contents(exported(other)) == contents(exported(made))


def test_a_backup_has_one_form_and_it_is_read_back() -> None:
    bundle = exported(rotated(*EVERY_REF))
    with encode(bundle) as data:
        again = decode(data)
        assert contents(again) == contents(bundle)
        assert encode(again) == data
    assert "Secret" in repr(bundle)
    assert repr(bundle).count("bytes>") == bundle.count()[2]


def test_a_second_import_and_a_dry_run_change_nothing() -> None:
    made = rotated(*EVERY_REF)
    medium = full_medium()
    other = in_memory(medium)
    before = snapshot(medium)
    report = restore(exported(made), other, OnConflict.NEWER_VERSION, dry_run=True)
    assert {row.action.value for row in report.rows} == {"add", "supersede"}
    assert snapshot(medium) == before
    whole = copy_of(made)
    bundle = exported(made)
    assert {row.action.value for row in restore(bundle, whole).rows} == {"equal"}


def test_another_current_version_is_a_conflict_and_nothing_of_that_key_is_changed() -> None:
    made, other = rotated(STORAGE, HMAC_SYM), rotated(STORAGE, versions=1)
    before = other.values(STORAGE)
    report = restore(exported(made), other)
    assert set(report.failed) == {STORAGE}
    assert isinstance(report.failed[STORAGE], KeyExists)
    assert other.values(STORAGE) == before
    assert other.values(HMAC_SYM) == made.values(HMAC_SYM)
    wanted = [("hmac-sym/alice", "add")] * 3 + [("storage/alice", a) for a in ("skip", "skip", "conflict")]
    assert actions(report) == wanted


def test_skip_leaves_the_key_as_it_is_and_is_no_failure() -> None:
    made, other = rotated(STORAGE), rotated(STORAGE, versions=1)
    before = other.values(STORAGE)
    report = restore(exported(made), other, OnConflict.SKIP)
    assert not report.failed
    assert {row.action.value for row in report.rows} == {"skip"}
    assert other.values(STORAGE) == before


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
def test_newer_version_supersedes_and_loses_nothing(ref: KeyRef) -> None:
    made, other = rotated(ref), rotated(ref, versions=2, later_ns=500_000_000)
    ours, theirs = other.values(ref), made.values(ref)
    for _ in range(2):  # the second time there is nothing to do
        report = restore(exported(made), other, OnConflict.NEWER_VERSION)
        assert not report.failed
        assert sorted(other.values(ref)) == sorted([*ours, *theirs])
        assert other.values(ref)[-1] == theirs[-1]
        assert_paired(other, ref)
    assert {row.action.value for row in report.rows} == {"equal"}


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
def test_a_backup_that_goes_on_where_the_key_store_stands_keeps_the_order(ref: KeyRef) -> None:
    """What is current in the key store retires as what it is in the backup, not as the newest."""
    made = rotated(ref, versions=2)
    other = copy_of(made)
    for _ in range(3):
        made.writer.rotate(ref)
    assert set(restore(exported(made), other).failed) == {ref}
    assert not restore(exported(made), other, OnConflict.NEWER_VERSION).failed
    assert other.values(ref) == made.values(ref)
    assert other.versions(ref) == made.versions(ref)
    other.assert_sound(ref)


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
def test_follow_goes_on_where_the_key_store_stands_and_supersedes_nothing_else(ref: KeyRef) -> None:
    made = rotated(ref, versions=2)
    other, strange = copy_of(made), rotated(ref, versions=2, later_ns=500_000_000)
    made.writer.rotate(ref)
    assert not restore(exported(made), other, OnConflict.FOLLOW).failed
    assert other.values(ref) == made.values(ref)
    assert other.versions(ref) == made.versions(ref)
    other.assert_sound(ref)
    before = strange.values(ref)
    report = restore(exported(made), strange, OnConflict.FOLLOW)
    assert isinstance(report.failed[ref], KeyExists)
    assert strange.values(ref) == before


def test_a_backup_that_is_older_than_the_key_store_changes_nothing() -> None:
    made = rotated(STORAGE, STORAGE_SYM)
    old = exported(made)
    for ref in (STORAGE, STORAGE_SYM):
        made.writer.rotate(ref)
    report = restore(old, made)
    assert not report.failed
    assert {row.action.value for row in report.rows} == {"equal"}


def test_a_version_that_was_destroyed_comes_back_at_its_place() -> None:
    made = rotated(STORAGE, versions=4)
    old, values, versions = exported(made), made.values(STORAGE), made.versions(STORAGE)
    made.writer.destroy(STORAGE, versions[1])
    report = restore(old, made)
    assert [row.action.value for row in report.rows] == ["equal", "add", "equal", "equal"]
    assert made.values(STORAGE) == values
    assert made.versions(STORAGE) == versions


def test_another_key_under_the_name_of_a_retired_version_is_never_touched() -> None:
    made = rotated(STORAGE_SYM)
    bundle = exported(made)
    (key,) = bundle.keys
    first = key.versions[0]
    false = BundledVersion(first.id, None, False, first.created_ns, first.retired_ns, Secret(b"x" * 32), None)
    forged = Bundle("v1", 0, (BundledKey(key.ref, (false, *key.versions[1:])),))
    before = made.values(STORAGE_SYM)
    for policy in (OnConflict.REFUSE, OnConflict.NEWER_VERSION):
        report = restore(forged, made, policy)
        assert "another key has this name" in str(report.failed[STORAGE_SYM])
        assert made.values(STORAGE_SYM) == before


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
@pytest.mark.parametrize("policy", [OnConflict.REFUSE, OnConflict.NEWER_VERSION])
def test_an_import_that_dies_at_any_step_is_finished_by_the_next(ref: KeyRef, policy: OnConflict) -> None:
    made = rotated(ref)
    bundle = exported(made)
    for step in range(100):
        medium = Medium()
        other = in_memory(medium)
        if policy is OnConflict.NEWER_VERSION:
            other.clock.now_ns += 500_000_000
            other.writer.generate(ref)
        ours = other.values(ref) if policy is OnConflict.NEWER_VERSION else []
        dying = Dying(other, step)
        with suppress(StoreUnavailable):
            restore(bundle, other, policy)
        dying.stop()
        after = in_memory(medium)
        assert not restore(bundle, after, policy).failed
        assert sorted(after.values(ref)) == sorted([*ours, *made.values(ref)])
        assert after.values(ref)[-1] == made.values(ref)[-1]
        assert_paired(after, ref)
        if not dying.has_died:
            assert step >= 3
            return
    pytest.fail("it never came through")


class Dying:
    """A medium that fails at one of the switches, and at all after it."""

    def __init__(self, made: Keys, step: int) -> None:
        self._left = step
        self.has_died = False
        self._store = made.store
        self._supersede = made.store.supersede
        made.store.supersede = self.supersede  # type: ignore[method-assign]  # a stand-in for one method

    def supersede(self, replacements: Iterable[object]) -> None:
        for replacement in list(replacements):
            if self._left == 0:
                self.has_died = True
                raise StoreUnavailable("gone")
            self._left -= 1
            self._supersede([replacement])  # type: ignore[list-item]  # a stand-in for one method

    def stop(self) -> None:
        self._store.supersede = self._supersede  # type: ignore[method-assign]  # a stand-in for one method


def test_a_version_that_vanishes_meanwhile_is_never_taken_for_a_free_place() -> None:
    """By someone who takes no lock: what else there is of the key would be overwritten."""
    made, other = rotated(STORAGE_SYM), rotated(STORAGE_SYM, later_ns=500_000_000)
    first, *_ = other.versions(STORAGE_SYM)
    other.keys.reload()
    other.store.delete([f"alice_storage_sym.old/{first}"])
    report = import_bundle(exported(made), Target(other.keys, other.writer, OnConflict.NEWER_VERSION))
    assert isinstance(report.failed[STORAGE_SYM], RotationConflict)
    other.keys.reload()
    assert len(other.values(STORAGE_SYM)) == 2


def test_what_is_wrong_with_one_key_keeps_no_other_from_being_imported() -> None:
    made = rotated(STORAGE_SYM, HMAC_SYM)
    bundle = exported(made)
    zero = BundledVersion(CURRENT, None, True, 0, None, Secret(bytes(32)), None)
    keys = tuple(BundledKey(k.ref, (zero,)) if k.ref == HMAC_SYM else k for k in bundle.keys)
    other = in_memory(Medium())
    report = restore(Bundle("v1", 0, keys), other)
    assert set(report.failed) == {HMAC_SYM}
    assert isinstance(report.failed[HMAC_SYM], MaterialCorrupt)
    assert other.values(STORAGE_SYM) == made.values(STORAGE_SYM)
    assert not other.keys.index.has(HMAC_SYM)


def test_a_public_half_alone_is_completed_by_the_whole_backup() -> None:
    made = rotated(STORAGE, versions=1)
    bundle = exported(made)
    (key,) = bundle.keys
    (version,) = key.versions
    half = BundledVersion(CURRENT, None, True, None, None, None, version.public)
    other = in_memory(Medium())
    assert not restore(Bundle("v1", 0, (BundledKey(STORAGE, (half,)),)), other).failed
    assert [row.action.value for row in restore(bundle, other).rows] == ["add"]
    other.assert_sound(STORAGE)
    assert other.values(STORAGE) == made.values(STORAGE)


def test_versions_out_of_a_layout_without_stamps_get_stamps_in_their_order() -> None:
    """Seconds are all that v2 has: two versions of one second stay two, in order."""
    noon_ns = 1_795_521_600_000_000_000
    versions = tuple(
        BundledVersion(
            str(n), None, n == 4, noon_ns, None if n == 4 else noon_ns, Secret(bytes([n]) * 32), None
        )
        for n in range(1, 5)
    )
    other = in_memory(Medium())
    assert not restore(Bundle("v2", 0, (BundledKey(STORAGE_SYM, versions),)), other).failed
    assert other.values(STORAGE_SYM) == [bytes([n]) * 32 for n in range(1, 5)]


def test_an_own_purpose_is_written_down_and_read_as_one() -> None:
    purpose = Purpose("tls", Shape.OWN, own=OwnSpec(OwnKind.PEM))
    version = BundledVersion(CURRENT, None, True, 17, None, Secret(b"any bytes"), None)
    bundle = Bundle("v1", 0, (BundledKey(KeyRef(purpose, "www.example.org"), (version,)),))
    with encode(bundle) as data:
        (opaque,) = decode(data).keys
        (known,) = decode(data, [purpose]).keys
    assert opaque.ref.purpose.own == OwnSpec(OwnKind.OPAQUE)
    assert known.ref.purpose.own == OwnSpec(OwnKind.PEM)
