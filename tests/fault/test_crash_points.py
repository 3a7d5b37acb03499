"""kill -9 at every step of every change: each version that was readable before is readable after."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_cases import CASES, PAIR, STEPS_OF_RING, SYMMETRIC, Case, repair
from dying import (
    Change,
    Death,
    Place,
    Value,
    assert_clean,
    assert_mends,
    assert_survived,
    become_nobody,
    die_at,
    give_to_nobody,
    need_root,
    new_place,
    values,
)

from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, KeyRef
from keyfs.testing.folders import in_memory

Values = dict[str, Value]
# Read before each change and after: a change of one key must not touch another.
BYSTANDERS = [KeyRef(p.STORAGE, "bystander"), KeyRef(p.HMAC_SYM, "alice")]
IN_RINGS = ["generate a pair", "later rotation of a pair", "amendment of a pair"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def place_with(folder: Path, ref: KeyRef, history: int, kind: str = "v1") -> Place:
    """A new key store with so many versions of the key; a copy of the first one made below this parent."""
    template = folder.parent / "template"
    if not template.exists():
        fill(place_at(template, kind), ref, history)
    shutil.copytree(template, folder)
    return place_at(folder, kind)


def place_at(folder: Path, kind: str) -> Place:
    public = folder / "public" if kind == "v1 split" else None
    return new_place(folder / "keys", kind[:2], public)


def fill(place: Place, ref: KeyRef, history: int) -> None:
    _, writer = place.open()
    for other in BYSTANDERS:
        writer.generate(other)
        writer.rotate(other)
    if history:
        writer.generate(ref)
    for _ in range(history - 1):
        writer.rotate(ref)


def others(place: Place) -> list[Values]:
    keys, _ = place.open()
    return [values(keys, ref) for ref in BYSTANDERS]


def deaths(tmp_path: Path, case: Case, kind: str = "v1") -> Iterator[tuple[Place, Death]]:
    """The same change again and again, killed one step later each time, until it gets to its end."""
    for step in itertools.count():
        place = place_with(tmp_path / str(step), case.ref, case.history, kind)
        before, bystanders = values(place.open()[0], case.ref), others(place)
        death = die_at(step, place, case.change)
        assert_survived(place, case.ref, before, amends=case.amends)
        assert others(place) == bystanders
        yield place, death
        if not death.was_killed:
            assert len(set(death.steps)) >= case.least_steps_in(place.layout), death.steps
            return


@pytest.mark.parametrize("kind", ["v1", "v1 split", "v2"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_change_that_dies_leaves_all_versions_and_can_be_mended(
    tmp_path: Path,
    folder: Path,
    request: pytest.FixtureRequest,
    case: Case,
    kind: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """On a disk and in memory: only a disk gives the inode number of a removed file to the next one."""
    steps: list[str] = []
    for place, death in deaths(tmp_path if kind == "v1" else folder, case, kind):
        steps = death.steps
        assert_mends(place, case.ref)
        keys, writer = place.open()
        before = values(keys, case.ref)
        made = writer.rotate(case.ref) if before else writer.generate(case.ref)
        assert made.id == CURRENT
        assert_survived(place, case.ref, before)
        assert len(values(place.open()[0], case.ref)) == len(before) + 1
        assert_clean(place)
    record_testsuite_property(request.node.name, ", ".join(steps))


@pytest.mark.parametrize(
    ("case", "layout"), [*((case, "v1") for case in CASES), *((case, "v2") for case in IN_RINGS)]
)
def test_a_change_that_dies_can_be_followed_by_a_rotation_at_once(
    folder: Path, case: str, layout: str
) -> None:
    ref = CASES[case].ref
    for place, _ in deaths(folder, CASES[case], layout):
        keys, writer = place.open()
        before = values(keys, ref)
        (writer.rotate if before else writer.generate)(ref)
        assert_survived(place, ref, before)
        assert_mends(place, ref)
        assert len(values(place.open()[0], ref)) == len(before) + 1


def second_deaths(
    folder: Path, case: Case, change: Change, layout: str = "v1"
) -> Iterator[tuple[Place, Values, Death]]:
    """After each death of the case's change *change* dies, at each of its steps, until it gets to its end."""
    for first in range(case.least_steps_in(layout)):
        for step in itertools.count():
            place = place_with(folder / f"{first}-{step}", case.ref, case.history, layout)
            die_at(first, place, case.change)
            before = values(place.open()[0], case.ref)
            death = die_at(step, place, change)
            yield place, before, death
            if not death.was_killed:
                break


@pytest.mark.parametrize(
    ("case", "layout"),
    [
        ("first rotation of a pair", "v1"),
        ("later rotation of a symmetric key", "v1"),
        ("later rotation of a pair", "v2"),
    ],
)
def test_a_rotation_that_dies_twice_loses_nothing_either(folder: Path, case: str, layout: str) -> None:
    killed, least = 0, CASES[case].least_steps_in(layout)
    for place, before, death in second_deaths(folder, CASES[case], CASES[case].change, layout):
        assert_survived(place, CASES[case].ref, before)
        assert_mends(place, CASES[case].ref)
        killed += death.was_killed
    assert killed >= least**2 - least


@pytest.mark.parametrize("case", ["later rotation of a pair", "amendment of a pair", "generate a pair"])
def test_a_repair_that_dies_can_be_repeated(folder: Path, case: str) -> None:
    """For every state that a rotation can leave, and for every step of mending it."""
    repairs = 0
    for place, before, death in second_deaths(folder, CASES[case], repair):
        after = values(place.open()[0], CASES[case].ref)
        assert [secret for secret, _ in after.values() if secret] == [secret for secret, _ in before.values()]
        assert_mends(place, CASES[case].ref)
        repairs += death.was_killed
    assert repairs >= 3


def destroy_oldest(ref: KeyRef) -> Change:
    return lambda keys, writer: writer.destroy(ref, keys.ring(ref).versions[0].id, is_forced=True)


@pytest.mark.parametrize(
    ("ref", "least_steps", "layout"),
    [(PAIR, 2, "v1"), (SYMMETRIC, 1, "v1"), (PAIR, STEPS_OF_RING, "v2")],
    ids=["pair", "symmetric", "v2"],
)
def test_a_destruction_that_dies_can_be_repeated(
    folder: Path, ref: KeyRef, least_steps: int, layout: str
) -> None:
    for step in itertools.count():
        place = place_with(folder / str(step), ref, 4, layout)
        before = values(place.open()[0], ref)
        oldest, *others = before
        death = die_at(step, place, destroy_oldest(ref))
        keys, writer = place.open()
        after = values(keys, ref)
        assert {version: after[version] for version in others} == {v: before[v] for v in others}
        assert set(after) <= set(before), "half of a version has become a version"
        assert_mends(place, ref)
        if oldest in after:
            writer.destroy(ref, oldest, is_forced=True)
        assert list(values(place.open()[0], ref)) == others
        if not death.was_killed:
            assert len(death.steps) >= least_steps
            return


def test_a_rotation_that_cannot_link_never_leaves_half_a_copy(folder: Path) -> None:
    """Linux allows no hard link of a file that is another user's and cannot be written: it is copied."""
    need_root("to make a file that is another user's")

    def rotate_as_nobody(_keys: KeyStore, writer: RingWriter) -> None:
        become_nobody()
        writer.rotate(SYMMETRIC)

    for step in itertools.count():
        place = place_with(folder / str(step), SYMMETRIC, 2)
        give_to_nobody(place)
        key = place.root / "alice_storage_sym"
        key.chmod(0o644)
        os.chown(key, 0, 0)
        before = values(place.open()[0], SYMMETRIC)
        death = die_at(step, place, rotate_as_nobody)
        secrets = [secret for secret, _ in values(place.open()[0], SYMMETRIC).values()]
        assert {secret for secret, _ in before.values()} <= set(secrets)
        assert not die_at(1000, place, rotate_as_nobody).was_killed
        after = values(place.open()[0], SYMMETRIC)
        assert len({secret for secret, _ in after.values()}) == len(after), "a version is there twice"
        assert_mends(place, SYMMETRIC)
        if not death.was_killed:
            assert any(name.startswith("copy") for name in death.steps), "it was linked"
            return
