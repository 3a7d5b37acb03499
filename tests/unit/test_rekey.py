"""Changing the master key in a key store in memory: what is sealed anew, what stays, and what ends it."""

import pytest
from rekeyed import (
    NEW_KEY,
    OLD_KEY,
    Change,
    ClientKeys,
    Recorded,
    full,
    opened,
    under,
    versions_under,
    writer_under,
)

from keyfs.core.label import Label
from keyfs.core.names import parse_key_ref
from keyfs.core.secret import Secret
from keyfs.errors import (
    AccessDenied,
    KeyServiceUnavailable,
    OperationRefused,
    RotationConflict,
    StoreFull,
    UnsealFailed,
)
from keyfs.seal.pure import PureSealer
from keyfs.testing.builders import AUDIT_LOG, EVERY_REF, STORAGE, STORAGE_SYM, snapshot
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

BLOBS = 3 * len(EVERY_REF)


@pytest.fixture
def medium() -> Medium:
    return full(Medium())


def sealed_blobs(medium: Medium) -> set[str]:
    return {name for name in medium.blobs if ".pub" not in name}


def test_everything_opens_to_the_same_under_the_new_key_alone(medium: Medium) -> None:
    """Ids, times, sizes, modes and public halves are as they were."""
    before, public = versions_under(medium, under(OLD_KEY)), snapshot(medium)
    report = Change(medium).run()
    assert (report.rewrapped, report.already, report.failed, report.left_out) == (BLOBS, 0, {}, {})
    assert versions_under(medium, under(NEW_KEY)) == before
    after = snapshot(medium)
    assert {name for name in after if after[name] != public[name]} == sealed_blobs(medium)


def test_nothing_opens_under_the_old_key_any_more(medium: Medium) -> None:
    Change(medium).run()
    sealer = PureSealer(Secret(OLD_KEY))
    layout = opened(MemoryStore(medium), under(NEW_KEY)).layout
    for name in sealed_blobs(medium):
        with pytest.raises(UnsealFailed):
            sealer.unseal(medium.blobs[name].data, layout.label(layout.slots(name)[0].ref, name).context)


def test_a_second_run_changes_nothing(medium: Medium) -> None:
    Change(medium).run()
    before = snapshot(medium)
    report = Change(medium).run()
    assert (report.rewrapped, report.already) == (0, BLOBS)
    assert snapshot(medium) == before


def test_a_dry_run_counts_and_writes_nothing_not_even_a_lock(medium: Medium) -> None:
    before = snapshot(medium)
    change = Change(medium)
    report = change.run(dry_run=True)
    assert (report.rewrapped, report.already) == (BLOBS, 0)
    assert snapshot(medium) == before
    assert not {"lock", "rewrite", "append_beside"} & set(change.store.counts)


def test_an_empty_key_store_is_done_at_once() -> None:
    report = Change(Medium()).run()
    assert (report.rewrapped, report.already, report.rounds) == (0, 0, 1)


# --- what cannot be sealed anew ---


def test_a_damaged_blob_is_named_and_all_others_are_done(medium: Medium) -> None:
    name = f"{STORAGE_SYM.client}_storage_sym"
    damaged = bytearray(medium.blobs[name].data)
    damaged[-1] ^= 1
    medium.put(name, bytes(damaged))
    report = Change(medium).run()
    assert {name: type(exc) for name, exc in report.failed.items()} == {name: UnsealFailed}
    assert report.rewrapped == BLOBS - 1
    assert medium.blobs[name].data == damaged


def test_a_blob_that_may_not_be_written_is_named_and_all_others_are_done(medium: Medium) -> None:
    change = Change(medium)
    change.store.before("rewrite", failing(AccessDenied("not yours")), 3)
    report = change.run()
    assert [type(exc) for exc in report.failed.values()] == [AccessDenied]
    assert report.rewrapped == BLOBS - 1


def test_what_does_not_open_to_the_same_when_sealed_anew_is_left_as_it_was(medium: Medium) -> None:
    class Wrong(Recorded):
        def seal(self, plaintext: Secret, label: Label) -> bytes:
            return super().seal(Secret(bytes(len(plaintext))), label)

    before = snapshot(medium)
    report = Change(medium, Wrong(under(NEW_KEY))).run()
    assert (report.rewrapped, len(report.failed)) == (0, BLOBS)
    assert snapshot(medium) == before


def test_strays_are_told_of_and_not_touched(medium: Medium) -> None:
    medium.put("README", b"hello")
    report = Change(medium).run()
    assert list(report.left_out) == ["README"]
    assert medium.blobs["README"].data == b"hello"


def test_legacy_keys_are_sealed_anew_and_plain_ones_are_not() -> None:
    medium = full(Medium(), 1)
    sealed = PureSealer(Secret(OLD_KEY)).seal(Secret(b"k" * 32), b"alice")
    medium.put("alice_zone_sym", sealed)
    medium.put("auth_key", b"a" * 32)
    report = Change(medium).run()
    assert report.rewrapped == len(EVERY_REF) + 1
    assert medium.blobs["auth_key"].data == b"a" * 32
    with PureSealer(Secret(NEW_KEY)).unseal(medium.blobs["alice_zone_sym"].data, b"alice") as secret:
        assert secret.reveal() == b"k" * 32


# --- what a stopped rotation left ---


def orphaned(medium: Medium) -> str:
    """A second name of a current blob."""
    blob = medium.blobs["alice_storage_sym"]
    name = "alice_storage_sym.old/2030-01-01T00:00:00.000001"
    medium.set(name, blob)
    return name


def test_the_second_name_of_a_current_blob_stays_its_second_name(medium: Medium) -> None:
    orphan = orphaned(medium)
    before = versions_under(medium, under(OLD_KEY))
    report = Change(medium).run()
    assert report.rewrapped == BLOBS
    assert medium.blobs[orphan] == medium.blobs["alice_storage_sym"]
    assert versions_under(medium, under(NEW_KEY)) == before
    assert opened(MemoryStore(medium), under(NEW_KEY)).ring(STORAGE_SYM).orphans == (orphan,)


def test_a_run_that_was_killed_between_two_names_is_taken_up(medium: Medium) -> None:
    orphan = orphaned(medium)
    before, half_done = versions_under(medium, under(OLD_KEY)), medium.blobs[orphan]
    Change(medium).run()
    medium.set(orphan, half_done)
    assert versions_under(medium, under(NEW_KEY), under(OLD_KEY)) != before
    Change(medium).run()
    assert medium.blobs[orphan] == medium.blobs["alice_storage_sym"]
    assert versions_under(medium, under(NEW_KEY)) == before


def test_names_that_were_copied_apart_still_hold_the_same_bytes(medium: Medium) -> None:
    """Then `check` goes on to know them for what they are."""
    orphan = orphaned(medium)
    medium.put(orphan, medium.blobs[orphan].data, 0o600, 1)
    Change(medium).run()
    assert medium.blobs[orphan].data == medium.blobs["alice_storage_sym"].data
    assert medium.blobs[orphan].stat.mtime_ns == 1


# --- others, at the same time ---


def test_a_rotation_between_our_look_and_our_write_loses_nothing(medium: Medium) -> None:
    """What it archived is under another name then, and is found in the next round."""
    before = versions_under(medium, under(OLD_KEY))
    change = Change(medium)
    others = writer_under(MemoryStore(medium), under(NEW_KEY), under(OLD_KEY))
    # The lock is not the point here: an Acra tool takes none.
    change.store.after("get", lambda: others.rotate(STORAGE), 2)
    report = change.run()
    after = versions_under(medium, under(NEW_KEY))
    assert len(after[str(STORAGE)]) == 4
    assert {old[-1] for old in before[str(STORAGE)]} <= {new[-1] for new in after[str(STORAGE)]}
    assert report.rounds > 1


def test_keys_that_are_rotated_all_the_time_under_the_new_key_are_no_obstacle(medium: Medium) -> None:
    change = Change(medium)
    others = writer_under(MemoryStore(medium), under(NEW_KEY), under(OLD_KEY))
    change.store.before("lock", lambda: others.rotate(STORAGE_SYM), None)
    change.run()
    versions_under(medium, under(NEW_KEY))


def test_someone_who_goes_on_sealing_under_the_old_key_is_told_of(
    medium: Medium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyfs.broker.rekey.ROUNDS", 4)
    change = Change(medium)
    others = writer_under(MemoryStore(medium), under(OLD_KEY), under(NEW_KEY))
    ref = parse_key_ref("storage-sym/bobby")
    others.generate(ref)
    change.store.before("lock", lambda: others.rotate(ref), None)
    with pytest.raises(RotationConflict, match=r"need the old master key: \d+ \(first: bobby_storage_sym\)"):
        change.run()
    change.store.mend()
    change.run()
    versions_under(medium, under(NEW_KEY))


# --- errors on the way ---


@pytest.mark.parametrize("error", [StoreFull("no room"), KeyServiceUnavailable("away")])
def test_an_error_of_the_medium_ends_it_and_what_is_done_is_done(
    medium: Medium, error: StoreFull | KeyServiceUnavailable
) -> None:
    before = versions_under(medium, under(OLD_KEY))
    change = Change(medium)
    change.store.before("rewrite", failing(error), 7)
    with pytest.raises(type(error)):
        change.run()
    assert change.report.rewrapped == 6
    assert versions_under(medium, under(OLD_KEY), under(NEW_KEY)) == before
    assert change.run().already == 6
    assert versions_under(medium, under(NEW_KEY)) == before


def test_the_newest_version_of_a_key_comes_first(medium: Medium) -> None:
    change = Change(medium)
    change.store.before("rewrite", failing(StoreFull("no room")), 3)
    with pytest.raises(StoreFull):
        change.run()
    keys = opened(MemoryStore(medium), under(NEW_KEY), under(OLD_KEY))
    names = [version.secret.name for version in keys.ring(AUDIT_LOG).versions if version.secret]
    done = [name for name in names if keys.ring(AUDIT_LOG) and is_new(medium, name)]
    assert done == names[1:]


def is_new(medium: Medium, name: str) -> bool:
    try:
        PureSealer(Secret(NEW_KEY)).unseal(medium.blobs[name].data, b"secure_log_key")
    except UnsealFailed:
        return False
    return True


def test_no_plaintext_is_left_whatever_happens(medium: Medium) -> None:
    old, new = Recorded(under(OLD_KEY)), Recorded(under(NEW_KEY))
    change = Change(medium, new, [old])
    change.store.before("rewrite", failing(StoreFull("no room")), 5)
    with pytest.raises(StoreFull):
        change.run()
    assert old.all_wiped
    assert new.all_wiped
    change.run()
    assert old.all_wiped
    assert new.all_wiped


# --- another way of sealing ---


def test_a_kms_with_a_key_for_each_client_and_back(medium: Medium) -> None:
    before, kms = versions_under(medium, under(OLD_KEY)), ClientKeys()
    Change(medium, kms).run()
    assert all(medium.blobs[name].data.startswith(b"kms:") for name in sealed_blobs(medium))
    Change(medium, under(NEW_KEY), [kms]).run()
    assert versions_under(medium, under(NEW_KEY)) == before


def test_a_kms_that_goes_away_on_the_way_ends_it_and_what_is_done_is_done(medium: Medium) -> None:
    before = versions_under(medium, under(OLD_KEY))
    kms = ClientKeys({8: KeyServiceUnavailable("away")})
    with pytest.raises(KeyServiceUnavailable):
        Change(medium, kms).run()
    Change(medium, kms).run()
    Change(medium, under(NEW_KEY), [kms]).run()
    assert versions_under(medium, under(NEW_KEY)) == before


def test_a_key_that_the_new_way_of_sealing_has_none_for_is_refused_before_anything_is_written(
    medium: Medium,
) -> None:
    """Acra's KMS of each client has none for keys of programs that it no longer ships."""
    medium.put("alice_zone_sym", PureSealer(Secret(OLD_KEY)).seal(Secret(b"k" * 32), b"alice"))
    before = snapshot(medium)
    with pytest.raises(OperationRefused, match="none for legacy-zone-sym/alice: nothing was changed"):
        Change(medium, ClientKeys()).run()
    assert snapshot(medium) == before
