"""A migration between key stores in memory: odd key rings, what is told of differences, what is compared."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyfs.broker.copying import copy
from keyfs.broker.import_plan import OnConflict
from keyfs.broker.importing import Target
from keyfs.broker.migrating import MigrationReport, migrate, verify
from keyfs.core.names import Half, KeyRef
from keyfs.core.rings import COMPROMISED, DESTROYED, PRE_ACTIVE, Ring
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import KeyExists, OperationRefused, StoreUnavailable
from keyfs.layout.differences import NOTES
from keyfs.testing.builders import EVERY_REF, HMAC_SYM, STORAGE, STORAGE_SYM, Keys, in_memory
from keyfs.testing.medium import Medium
from keyfs.testing.ring_stores import put_ring, ring_at, ring_key, rings_in_memory
from keyfs.testing.store_steps import put

PATH = "client/alice/storage-sym"
DAY_NS = 86_400 * NANOSECONDS


def rotated(made: Keys, *refs: KeyRef, versions: int = 3) -> Keys:
    for _ in range(versions):
        for ref in refs:
            made.writer.rotate(ref) if made.keys.index.has(ref) else made.writer.generate(ref)
    made.keys.reload()
    return made


def migrated(source: Keys, target: Keys, *, dry_run: bool = False) -> MigrationReport:
    for made in (source, target):
        made.keys.reload()
    report = migrate(source.keys, Target(target.keys, target.writer, OnConflict.FOLLOW, dry_run))
    target.keys.reload()
    verify(source.keys, target.keys, report)
    return report


def edited(medium: Medium, ring: Ring) -> Keys:
    """The key store once somebody wrote this ring."""
    put_ring(medium, PATH, ring)
    return rings_in_memory(medium)


def ring_of_three() -> tuple[Medium, Ring]:
    medium = Medium()
    rotated(rings_in_memory(medium), STORAGE_SYM)
    return medium, ring_at(medium, PATH)


def secrets(made: Keys, ref: KeyRef = STORAGE_SYM) -> list[bytes]:
    """The bytes of all versions that were not destroyed, oldest first, the current one last."""
    made.keys.reload()
    return [made.secret(ref, v.id) for v in made.keys.ring(ref).versions if v.secret is not None]


def test_there_and_back_everything_is_equal_but_fractions_of_seconds() -> None:
    source = rotated(in_memory(Medium()), *EVERY_REF)
    rings, back = rings_in_memory(Medium()), in_memory(Medium())
    for one, other in ((source, rings), (rings, back)):
        report = migrated(one, other)
        assert not report.failed
        assert report.verified == (6, 18, 24)
    for ref in EVERY_REF:
        assert secrets(back, ref) == secrets(source, ref)
        back.assert_sound(ref)
        times = [
            [(v.created_ns or 0) // NANOSECONDS for v in k.keys.ring(ref).versions] for k in (source, back)
        ]
        assert times[0] == times[1]


def test_a_newer_version_that_never_was_current_is_told_and_stays_so() -> None:
    """As an interrupted rotation of Acra's leaves it."""
    medium, ring = ring_of_three()
    source = edited(medium, replace(ring, current=2))
    one, two, three = (source.secret(STORAGE_SYM, number) for number in "123")
    rings, files = Medium(), in_memory(Medium())
    for target in (rings_in_memory(rings), files):
        for _ in range(2):
            report = migrated(source, target)
            assert not report.failed
            assert report.notes["never-current"] == ["storage-sym/alice/3"]
            assert target.secret(STORAGE_SYM) == two
            assert secrets(target) == [one, three, two]
    assert ring_at(rings, PATH).current == 2
    assert [key.seqnum for key in ring_at(rings, PATH).keys] == [1, 2, 3]
    again = rings_in_memory(Medium())
    assert not migrated(files, again).failed
    assert secrets(again) == [one, three, two]


def test_numbers_dates_states_and_tombstones_of_a_ring_are_those_of_the_source() -> None:
    medium, ring = ring_of_three()
    first, second, third = ring.keys
    odd = replace(
        ring,
        keys=(
            first.destroyed(),
            replace(second, state=COMPROMISED, until_ns=second.until_ns + DAY_NS, raw=b""),
            replace(third, until_ns=third.since_ns, raw=b""),
        ),
    )
    source, there = edited(medium, odd), Medium()
    for _ in range(2):
        report = migrated(source, rings_in_memory(there))
        assert not report.failed
        assert not report.notes
        found = ring_at(there, PATH)
        assert found.current == odd.current
        facts = [[(k.seqnum, k.state, k.since_ns, k.until_ns) for k in one.keys] for one in (odd, found)]
        assert facts[0] == facts[1]
        assert [bool(key.data) for key in found.keys] == [False, True, True]


def test_a_ring_of_tombstones_alone_is_one_there() -> None:
    """Its numbers must not be used again."""
    medium, there = Medium(), Medium()
    source = edited(medium, Ring(PATH.encode(), (ring_key(1, DESTROYED), ring_key(2, DESTROYED)), 2))
    report = migrated(source, rings_in_memory(there))
    assert not report.failed
    assert [key.seqnum for key in ring_at(there, PATH).keys] == [1, 2]
    target = rings_in_memory(there)
    target.writer.rotate(STORAGE_SYM)
    assert ring_at(there, PATH).current == 3


def test_an_empty_ring_is_no_key() -> None:
    source = edited(Medium(), Ring(PATH.encode()))
    target = rings_in_memory(Medium())
    assert not migrated(source, target).failed
    assert not target.keys.index.has(STORAGE_SYM)


def test_a_state_that_is_not_said_yet_is_said_in_the_ring_that_is_there() -> None:
    medium, ring = ring_of_three()
    there = Medium()
    migrated(rings_in_memory(medium), rings_in_memory(there))
    first, *others = ring.keys
    source = edited(medium, replace(ring, keys=(replace(first, state=COMPROMISED, raw=b""), *others)))
    before = ring_at(there, PATH)
    assert not migrated(source, rings_in_memory(there)).failed
    after = ring_at(there, PATH)
    assert [key.state for key in after.keys] == [COMPROMISED, PRE_ACTIVE, PRE_ACTIVE]
    assert [key.data for key in after.keys] == [key.data for key in before.keys]
    assert after.keys[1:] == before.keys[1:]


def test_what_the_target_destroyed_is_refused_and_not_brought_back_under_its_number() -> None:
    medium, _ = ring_of_three()
    there = Medium()
    migrated(rings_in_memory(medium), rings_in_memory(there))
    destroyed = ring_at(there, PATH)
    put_ring(there, PATH, replace(destroyed, keys=(destroyed.keys[0].destroyed(), *destroyed.keys[1:])))
    before = ring_at(there, PATH)
    report = migrated(rings_in_memory(medium), rings_in_memory(there))
    assert isinstance(report.failed[STORAGE_SYM], KeyExists)
    assert "it was destroyed" in str(report.failed[STORAGE_SYM])
    assert ring_at(there, PATH) == before


@pytest.mark.parametrize(
    ("source", "target", "codes"),
    [
        (in_memory, rings_in_memory, {"numbers": 4, "year": 6}),
        (rings_in_memory, in_memory, {"stamps": 4, "validity": 6}),
        (in_memory, in_memory, {}),
        (rings_in_memory, rings_in_memory, {}),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_a_layout_cannot_say_is_told(
    source: Callable[[Medium], Keys], target: Callable[[Medium], Keys], codes: dict[str, int], dry_run: bool
) -> None:
    here = rotated(source(Medium()), STORAGE, HMAC_SYM)
    there = target(Medium())
    report = migrate(here.keys, Target(there.keys, there.writer, OnConflict.FOLLOW, dry_run))
    assert {code: len(paths) for code, paths in report.notes.items()} == codes
    assert report.notes.keys() <= NOTES.keys()
    there.keys.reload()
    assert there.keys.index.has(STORAGE) != dry_run


def test_what_does_not_read_back_is_a_failure_of_that_key() -> None:
    """A medium that loses what it acknowledged, once all was written."""
    source, medium = rotated(in_memory(Medium()), STORAGE_SYM, HMAC_SYM), Medium()
    target = in_memory(medium)
    report = migrate(source.keys, Target(target.keys, target.writer, OnConflict.FOLLOW))
    lost = source.keys.ring(HMAC_SYM).versions[0].part(Half.SECRET)
    del medium.blobs[lost.name]
    target.keys.reload()
    verify(source.keys, target.keys, report)
    assert set(report.failed) == {HMAC_SYM}
    assert isinstance(report.failed[HMAC_SYM], StoreUnavailable)
    assert report.verified == (1, 3, 3)


def test_versions_in_another_order_are_no_migration() -> None:
    source, target = rotated(in_memory(Medium()), STORAGE_SYM), in_memory(Medium())
    report = migrate(source.keys, Target(target.keys, target.writer, OnConflict.FOLLOW))
    names = [version.part(Half.SECRET).name for version in source.keys.ring(STORAGE_SYM).versions[:2]]
    contents = [target.store.get(name).data for name in reversed(names)]
    for name, data in zip(names, contents, strict=True):
        put(target.store, name, data)
    target.keys.reload()
    verify(source.keys, target.keys, report)
    assert set(report.failed) == {STORAGE_SYM}


def test_what_is_made_meanwhile_is_migrated_in_a_further_round() -> None:
    medium, target = Medium(), in_memory(Medium())
    other = rotated(in_memory(medium), STORAGE, HMAC_SYM)
    source = in_memory(medium)
    target.store.after("supersede", lambda: other.writer.rotate(STORAGE), 5)
    report = migrated(source, target)
    assert not report.failed
    assert len(secrets(target, STORAGE)) == 4
    assert secrets(target, STORAGE) == secrets(source, STORAGE)


def test_a_copy_between_layouts_is_refused_and_says_what_does_it() -> None:
    source, target = rotated(in_memory(Medium()), STORAGE), rings_in_memory(Medium())
    with pytest.raises(OperationRefused, match="use keyfs migrate"):
        copy(source.keys, target.keys)
    assert not target.keys.index.has(STORAGE)
