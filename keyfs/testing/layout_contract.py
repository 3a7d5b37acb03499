"""What every layout promises on every medium, operation by operation, as tests that each of them passes.

Each is asserted by what keyfs itself says afterwards, on another host too, and by what a stranger reads.
"""
# ruff: noqa: S101 - tests state what holds by asserting it

from contextlib import nullcontext

import pytest

from keyfs.broker.inventory import inventory
from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.states import KeyState
from keyfs.errors import (
    InvalidMaterial,
    KeyDestroyed,
    KeyExists,
    KeyExpired,
    KeyNotFound,
    KeyRevoked,
    OperationRefused,
)
from keyfs.testing.builders import EVERY_REF, STORAGE, new_material
from keyfs.testing.layout_site import FEW, LayoutSite, Opened, halves_of, names_of, refs
from keyfs.testing.shared_store import SharedStore


class LayoutContract(LayoutSite):
    """What is done to single keys. Subclasses as of `LayoutSite`."""

    # --- generate ---

    @pytest.mark.parametrize("ref", EVERY_REF, ids=str)
    def test_generate_makes_the_first_version_and_no_other(self, store: SharedStore, ref: KeyRef) -> None:
        """What is there is refused, and is what it was."""
        with store.opened() as (keys, writer):
            made = writer.generate(ref)
            assert (made.id, made.number) == (CURRENT, "1" if self.layout == "v2" else "")
            before = self.read_apart(store)
            with pytest.raises(KeyExists):
                writer.generate(ref)
            assert self.read_apart(store) == before == {ref: halves_of(keys, ref)}
        assert len(before[ref]) == 1

    # --- rotate ---

    @refs
    def test_rotate_keeps_every_version_under_its_name(
        self, store: SharedStore, here: Opened, elsewhere: Opened, ref: KeyRef
    ) -> None:
        """In the order of their ages; whoever rotates, and others are as they were."""
        before = self.read_apart(store)
        names = names_of(here[0], ref)
        for keys, writer in (elsewhere, here):
            writer.rotate(ref)
            keys.reload()
            assert halves_of(keys, ref)[: len(before[ref])] == before[ref]
        after = self.read_apart(store)
        assert after[ref] == halves_of(here[0], ref)
        assert len(set(after[ref])) == len(before[ref]) + 2
        assert {other: after[other] for other in FEW if other != ref} == {
            other: before[other] for other in FEW if other != ref
        }
        assert names_of(here[0], ref)[:2] == names[:2]

    def test_rotate_makes_no_key(self, store: SharedStore) -> None:
        """That is what generate is for."""
        with store.opened() as (_, writer), pytest.raises(KeyNotFound):
            writer.rotate(STORAGE)
        assert self.read_apart(store) == {}

    @refs
    def test_rotate_takes_bytes_and_the_same_bytes_once(
        self, store: SharedStore, here: Opened, ref: KeyRef
    ) -> None:
        """And refuses what is no key."""
        keys, writer = here
        data = new_material(ref, 7)
        assert [writer.import_material(ref, data).is_new for _ in range(2)] == [True, False]
        with pytest.raises(InvalidMaterial):
            writer.import_material(ref, data[:-1])
        assert keys.read(ref, CURRENT, Half.SECRET)[0].material.reveal() == data
        assert [secret for secret, _ in self.read_apart(store)[ref]][-1] == data

    # --- read ---

    @refs
    def test_read_gives_each_half_of_each_version_by_name(
        self, store: SharedStore, elsewhere: Opened, ref: KeyRef
    ) -> None:
        """As the stranger reads it; and nothing where there is nothing."""
        keys, _ = elsewhere
        wanted = {
            (name, half): data
            for one in self.told(store)[ref]
            for name in {one.name or CURRENT, CURRENT if one.is_current else one.name}
            for half, data in zip(Half, one.halves, strict=True)
        }
        for (name, half), data in wanted.items():
            with nullcontext() if data is not None else pytest.raises(KeyNotFound):
                assert keys.read(ref, name, half)[0].material.reveal() == data
        for name in ("99", "2001-01-01T00:00:00.5", ""):
            with pytest.raises(KeyNotFound):
                keys.read(ref, name, Half.SECRET)

    # --- list ---

    def test_list_has_a_row_for_each_half_of_each_version(
        self, store: SharedStore, elsewhere: Opened
    ) -> None:
        """With the size it has once opened, and none that is newer before one that is older."""
        rows = inventory(elsewhere[0], with_history=True)
        told = self.told(store)
        assert {(row.purpose, row.client) for row in rows} == {(r.purpose.name, r.client) for r in FEW}
        for ref, found in told.items():
            mine = [row for row in rows if (row.purpose, row.client) == (ref.purpose.name, ref.client)]
            halves = [data for one in found for data in one.halves if data is not None]
            assert [row.size for row in mine] == [len(data) for data in halves]
            assert [row.public for row in mine] == [False, True] * 3 if ref.purpose.is_pair else [False] * 3
            assert [row.current for row in mine].count(True) == len(mine) // 3
            assert {row.version for row in mine} == {one.name or CURRENT for one in found}
            times = [row.created_ns for row in mine if row.created_ns is not None]
            assert times == sorted(times)
        assert inventory(elsewhere[0], with_history=False) == [row for row in rows if row.current]

    # --- destroy ---

    @refs
    def test_destroy_removes_the_one_that_is_named_and_no_other(
        self, store: SharedStore, here: Opened, elsewhere: Opened, ref: KeyRef
    ) -> None:
        """It is remembered as destroyed, everywhere, and its name is not another one's."""
        keys, writer = here
        before, victim = self.told(store), names_of(keys, ref)[1]
        StateWriter(keys).destroy(ref, victim, why="no use", is_forced=True)
        after = self.told(store)
        assert [one for one in after[ref] if one.halves[0]] == [
            one for one in before[ref] if one.name != victim
        ]
        assert {other: after[other] for other in FEW if other != ref} == {
            other: before[other] for other in FEW if other != ref
        }
        for seen, _ in (here, elsewhere):
            seen.reload()
            with pytest.raises(KeyDestroyed):
                seen.states.demand(ref, victim)
            with pytest.raises(KeyNotFound):
                seen.read(ref, victim, Half.SECRET)
        writer.rotate(ref)
        assert victim not in {one.name for one in self.told(store)[ref] if one.halves[0]}

    def test_destroy_refuses_what_would_cost_others(self, store: SharedStore, here: Opened) -> None:
        """Without a word more, nothing changes."""
        before = self.read_apart(store)
        with pytest.raises(OperationRefused):
            StateWriter(here[0]).destroy(STORAGE, CURRENT)
        with pytest.raises(KeyNotFound):
            StateWriter(here[0]).destroy(STORAGE, "2001-01-01T00:00:00.5", is_forced=True)
        assert self.read_apart(store) == before

    # --- state ---

    @refs
    def test_state_is_heeded_on_every_host_and_changes_no_key(
        self, store: SharedStore, here: Opened, elsewhere: Opened, ref: KeyRef
    ) -> None:
        """And is in the format where that has states."""
        before, says = self.read_apart(store), StateWriter(here[0])
        oldest = names_of(here[0], ref)[0]
        for version, state, number, refusal in (
            (oldest, KeyState.SUSPENDED, 3, KeyExpired),
            (CURRENT, KeyState.SUSPENDED, 3, KeyExpired),
            (CURRENT, KeyState.ACTIVE, 2, None),
            (oldest, KeyState.COMPROMISED, 5, KeyRevoked),
        ):
            says.set(ref, version, state, "we say so")
            for seen, _ in (here, elsewhere):
                seen.reload()
                assert seen.states.of(seen.ring(ref), seen.ring(ref).version(version)).state is state
                with pytest.raises(refusal) if refusal is not None else nullcontext():
                    seen.states.demand(ref, version)
            one = self.told(store)[ref][0 if version == oldest else -1]
            assert one.state == (number if self.layout == "v2" else None)
        with pytest.raises(OperationRefused):
            says.set(ref, oldest, KeyState.ACTIVE)
        assert self.read_apart(store) == before
