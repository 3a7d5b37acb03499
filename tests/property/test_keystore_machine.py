"""Key stores of both layouts, in memory and in a directory, in lockstep, against one model."""

from contextlib import suppress
from copy import deepcopy
from dataclasses import replace

import pytest
from dying import Change, die_at
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    rule,
)
from keystore_model import (
    Graves,
    Model,
    Version,
    contents,
    destroy,
    held,
    is_repetitive,
    is_within,
    opened,
    values_in,
)
from lockstep import PAIRS, REFS, SYMMETRIC, Changes, choices, material, refs

from keyfs.broker.check import check
from keyfs.broker.import_plan import Action, OnConflict
from keyfs.broker.importing import ImportReport
from keyfs.broker.keystore import KeyStore
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.writer import RingWriter
from keyfs.core import bundles
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.secret import Secret
from keyfs.core.states import KeyState, moves
from keyfs.errors import (
    KeyNotFound,
)
from keyfs.testing.backups import backup_of, restore_into
from keyfs.testing.builders import MASTER_KEY, NOON_NS, Keys
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

Backup = tuple[list[bundles.Bundle], Model, Graves]  # of each of both; and what is in it
CALLS = ("lock", "supersede", "delete", "write_beside")


class Death(BaseException):
    """Nothing catches it."""


class Lockstep(Changes):
    """And backs them up, loses them, and dies."""

    backups = Bundle("backups")

    def __init__(self) -> None:
        super().__init__()
        self.vague: set[bytes] = set()

    # --- backups ---

    @rule(target=backups)
    def back_up(self) -> Backup:
        """As it is now, of each of both; what is destroyed is in it as that."""
        return [backup_of(keys.keys) for keys in self.both], deepcopy(self.model), deepcopy(self.graves)

    @rule(backup=backups, policy=st.sampled_from(OnConflict))
    def restore(self, backup: Backup, policy: OnConflict) -> None:
        """Older, newer or another one: nothing that is there goes; of each key all is added, or nothing."""
        wanted, reports = self.chosen(backup), self.restored(backup, policy)
        assert reports[0].failed.keys() == reports[1].failed.keys()
        for ref, values in wanted.items():
            before, after = self.values(ref), values_in(self.both[0])[ref]
            is_left = after == before
            assert is_left or ref not in reports[0].failed
            assert is_within(before, after)
            assert is_left or is_within(values, after)
            assert set(after) <= {*before, *values}
            rows = [row for row in reports[0].rows if row.ref == ref]
            is_refused = any(row.action in (Action.CONFLICT, Action.SKIP) for row in rows)
            self.take(ref, after, [] if is_refused else backup[1][ref])

    def chosen(self, backup: Backup) -> dict[KeyRef, list[bytes]]:
        """Of which keys it is clear what an import of them comes to."""
        return {
            ref: values
            for ref, values in contents(backup[1]).items()
            if not is_repetitive(self.values(ref), values) and not self.vague.intersection(values)
        }

    def restored(self, backup: Backup, policy: OnConflict = OnConflict.REFUSE) -> list[ImportReport]:
        """The same happens to the same versions in both."""
        reports, wanted = [], self.chosen(backup)
        for keys, whole in zip(self.both, backup[0], strict=True):
            part = replace(whole, keys=tuple(key for key in whole.keys if key.ref in wanted))
            reports.append(restore_into(keys.keys, keys.writer, part, policy))
        here, there = ([(row.ref, row.action) for row in report.rows] for report in reports)
        assert here == there
        return reports

    def take(self, ref: KeyRef, after: list[bytes], told: list[Version]) -> None:
        """What there is now; what was said of it here counts more than what a backup says."""
        said = {version.data: version.said for version in told if version.said is not None}
        if self.exists(ref):  # what comes back of it was destroyed; what was imported anew was not
            buried = {data for _, data in self.graves.get(ref, [])}.difference(self.values(ref))
            said |= dict.fromkeys(buried, KeyState.DESTROYED)
        said |= {v.data: v.said for v in self.model.get(ref, []) if v.said is not None}
        self.model[ref] = [Version(data, said.get(data)) for data in after]
        self.retire(ref)

    @rule(backup=backups)
    def lose_everything_and_restore(self, backup: Backup) -> None:
        self.twins.lose()
        self.both, self.model, self.graves = self.twins.open(), {}, {}
        self.vague.clear()
        for report in self.restored(backup):
            assert not report.failed
        for ref, values in self.chosen(backup).items():
            self.graves[ref] = backup[2].get(ref, [])
            self.take(ref, values, backup[1][ref])

    # --- crashes ---

    def crash(self, change: Change, died: tuple[int, str, int]) -> None:
        """In a process that is killed at a step; in memory, at a call. Then others look."""
        step, call, number = died
        die_at(step, self.twins.place, change)
        keys = self.both[0]
        keys.store.before(call, die, number)
        with suppress(Death):
            change(keys.keys, keys.writer)
        self.both = self.twins.open()

    @rule(
        ref=refs,
        choice=choices,
        died=st.tuples(st.integers(0, 14), st.sampled_from(CALLS), st.integers(1, 2)),
        mends_first=st.booleans(),
    )
    def crash_of_an_import(
        self, ref: KeyRef, choice: int, died: tuple[int, str, int], mends_first: bool
    ) -> None:
        """The old or the new version is current, and all others are there; it can be done again."""
        data, before = material(ref, choice), self.values(ref)
        self.crash(lambda _keys, writer: writer.import_material(ref, data), died)
        after = before if before[-1:] == [data] else [*before, data]
        for keys in self.both:
            assert values_in(keys).get(ref, []) in (before, after)
            if mends_first:
                mend(keys)
            keys.writer.import_material(ref, data)
            mend(keys)
        if after != before:
            self.append(ref, data)

    @rule(
        ref=refs,
        which=st.integers(0, 3),
        died=st.tuples(st.integers(0, 5), st.sampled_from(CALLS), st.integers(1, 3)),
    )
    def crash_of_a_destruction(self, ref: KeyRef, which: int, died: tuple[int, str, int]) -> None:
        """It is there or not, and all others are; it can be done again."""
        versions = self.model.get(ref, [])
        if which < len(versions) - 1:
            victims, before = [held(keys, ref)[which] for keys in self.both], self.values(ref)

            def change(keys: KeyStore, _writer: RingWriter) -> None:
                there = [v.id for v in keys.ring(ref).versions if v.secret is not None]
                StateWriter(keys).destroy(ref, there[which], is_forced=True)

            self.crash(change, died)
            gone = versions.pop(which).data
            for keys, victim in zip(self.both, victims, strict=True):
                assert values_in(keys).get(ref, []) in (before, self.values(ref))
                mend(keys)
                with suppress(KeyNotFound):
                    destroy(keys, ref, victim)
            if self.layout == "v2":
                self.graves.setdefault(ref, []).append((victims, gone))
            else:
                self.vague.add(gone)  # it may have died before it said so to anybody

    @rule(
        ref=refs,
        state=st.sampled_from([KeyState.SUSPENDED, KeyState.COMPROMISED]),
        died=st.tuples(st.integers(0, 3), st.sampled_from(CALLS), st.integers(1, 2)),
    )
    def crash_of_a_state(self, ref: KeyRef, state: KeyState, died: tuple[int, str, int]) -> None:
        """The old or the new one; it can be said again."""
        if not self.exists(ref):
            return
        version = self.model[ref][-1]
        now = version.state(is_current=True)
        if state in moves(now, is_current=True):
            self.crash(lambda keys, _writer: StateWriter(keys).set(ref, CURRENT, state), died)
            for keys in self.both:
                ring = keys.keys.ring(ref)
                assert keys.keys.states.of(ring, ring.version(CURRENT)).state in (now, state)
                StateWriter(keys.keys, keys.clock).set(ref, CURRENT, state)
            version.said = state


def die() -> None:
    raise Death


def mend(keys: Keys) -> None:
    """A repair leaves nothing to be repaired."""
    keys.keys.load()
    assert check(keys.keys, keys.writer, settle_s=0).is_clean
    keys.keys.load()
    assert not check(keys.keys, settle_s=0).findings


class LockstepV1(Lockstep):
    layout = "v1"


class LockstepV2(Lockstep):
    layout = "v2"


LENGTH = settings(stateful_step_count=20)
# A key ring is parsed as a whole for each look: it takes longer.
FEWER = settings(LENGTH, max_examples=max(1, LENGTH.max_examples * 2 // 5))
TestKeyStoresOfV1 = LockstepV1.TestCase
TestKeyStoresOfV1.settings = LENGTH
TestKeyStoresOfV2 = LockstepV2.TestCase
TestKeyStoresOfV2.settings = FEWER


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_what_a_medium_holds_is_sealed(layout: str) -> None:
    """No version lies anywhere in plain, not even under a name that nobody asks for."""
    medium = Medium()
    keys = opened(MemoryStore(medium), layout, NOON_NS)
    for ref in REFS:
        for choice in range(4):
            keys.writer.import_material(ref, material(ref, choice))
    stored = b"".join(blob.data for blob in medium.blobs.values())
    for plain in (*PAIRS, *SYMMETRIC, MASTER_KEY, Secret(MASTER_KEY).reveal()):
        assert plain not in stored
