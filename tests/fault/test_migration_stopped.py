"""A migration that dies at any step is finished by the next one; the source never notices."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from keyfs.broker.import_plan import OnConflict
from keyfs.broker.importing import Target
from keyfs.broker.migrating import MigrationReport, migrate, verify
from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.states import KeyState
from keyfs.errors import StoreUnavailable
from keyfs.store.directory import DirectoryStore
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys, in_memory, on_store, snapshot
from keyfs.testing.faults import failing
from keyfs.testing.folders import in_memory as memory_folder
from keyfs.testing.medium import Medium
from keyfs.testing.ring_stores import rings_in_memory, rings_on

STEPS = 400  # more than any of these migrations takes
REFS = (STORAGE, STORAGE_SYM)
Open = Callable[[Medium], Keys]
either_way = pytest.mark.parametrize(
    ("open_source", "open_target"),
    [(a, b) for a in (in_memory, rings_in_memory) for b in (in_memory, rings_in_memory)],
)


class Death(BaseException):
    """Nothing catches it."""


def filled(made: Keys) -> Keys:
    """Two keys with two versions each; those of one of them are not to be read."""
    for ref in REFS:
        made.writer.generate(ref)
        made.writer.rotate(ref)
    first = made.keys.ring(STORAGE_SYM).versions[0].id
    for version, state in ((first, KeyState.COMPROMISED), (CURRENT, KeyState.SUSPENDED)):
        StateWriter(made.keys).set(STORAGE_SYM, version, state, "why")
    return made


def run(source: Keys, target: Keys) -> MigrationReport:
    report = migrate(source.keys, Target(target.keys, target.writer, OnConflict.FOLLOW))
    target.keys.reload()
    verify(source.keys, target.keys, report)
    return report


def said(made: Keys, ref: KeyRef) -> list[KeyState]:
    made.keys.reload()
    ring = made.keys.ring(ref)
    return [made.keys.states.of(ring, version).state for version in ring.versions]


def assert_migrated(source: Keys, target: Keys) -> None:
    report = run(source, target)
    assert not report.failed
    assert report.verified == (2, 4, 6)
    for ref in REFS:
        assert target.values(ref) == source.values(ref)
        assert said(target, ref) == said(source, ref)
        assert not target.keys.ring(ref).orphans
    assert not target.keys.index.strays


def assert_no_key_is_current_before_its_history(source: Keys, target: Keys) -> None:
    for ref in REFS:
        if target.keys.index.has(ref) and target.versions(ref)[-1] == CURRENT:
            assert target.values(ref) == source.values(ref)


@either_way
def test_a_target_that_goes_away_at_any_call(open_source: Open, open_target: Open) -> None:
    """Before the call took effect, or after it."""
    here = Medium()
    source = filled(open_source(here))
    before = snapshot(here)
    for method in ("supersede", "lock", "write_beside"):
        for when in ("before", "after"):
            assert calls_survived(source, open_target, method, when) > 1
    assert snapshot(here) == before


def calls_survived(source: Keys, open_target: Open, method: str, when: str) -> int:
    """At how many calls of *method* it was stopped, and then finished."""
    for call in range(1, STEPS):
        there = Medium()
        target = open_target(there)
        begun = target.store.counts[method]
        plan = target.store.before if when == "before" else target.store.after
        plan(method, failing(StoreUnavailable("gone")), call)
        with suppress(StoreUnavailable):
            run(source, target)
        is_through = target.store.counts[method] - begun < call
        left = open_target(there)
        assert_no_key_is_current_before_its_history(source, left)
        assert_migrated(source, left)
        if is_through:
            return call
    pytest.fail("it never came through")


def directory(root: Path, layout: str, dies_at: int = -1) -> tuple[Keys, list[str]]:
    """The key store in *root*; it dies at that step, and these are the steps so far."""
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) == dies_at:
            raise Death

    store = DirectoryStore(root, on_step=step)
    return (rings_on(store) if layout == "v2" else on_store(store)), steps


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_a_process_that_dies_at_any_step_in_a_directory(tmp_path: Path, layout: str) -> None:
    source = filled(in_memory(Medium()))
    with memory_folder(tmp_path) as place:
        die_at_each_step(place, source, layout)


def die_at_each_step(place: Path, source: Keys, layout: str) -> None:
    for dies_at in range(1, STEPS):
        root = place / str(dies_at)
        root.mkdir(0o700)
        target, steps = directory(root, layout, dies_at)
        with suppress(Death):
            run(source, target)
        left, _ = directory(root, layout)
        assert_no_key_is_current_before_its_history(source, left)
        assert_migrated(source, left)
        names = {path.name for path in root.rglob("*") if path.is_file()}
        assert not any(name.endswith(".new") for name in names), names
        if len(steps) < dies_at:
            assert dies_at > 4
            return
    pytest.fail("it never came through")
