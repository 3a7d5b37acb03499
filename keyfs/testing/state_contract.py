"""What states and planned destructions promise, as tests that each medium passes."""
# ruff: noqa: S101 - tests state what holds by asserting it

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import ClassVar, Final

import pytest

from keyfs.broker.copying import copy
from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.states import KeyState
from keyfs.errors import KeyDestroyed, KeyExpired, KeyNotFound, KeyRevoked, MaterialCorrupt, OperationRefused
from keyfs.store.base import STATES_BESIDE, STATES_CHANGED, Store
from keyfs.testing.another_key import reseal
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys, on_store
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.waiting import wait_until
from keyfs.testing.watch_contract import arrived

DUE_NS: Final = 7_000_001_000


class StateContract:
    """Subclasses say which store, and whether the format of the key store has states itself."""

    is_in_format: ClassVar[bool] = False
    signature_key: ClassVar[bytes | None] = None  # of layout v2

    def make_store(self, place: Path) -> Store:
        """Another view of the same empty store each time."""
        raise NotImplementedError

    def open_keys(self, place: Path) -> Keys:
        """Another view of the same key store each time."""
        return on_store(self.make_store(place))

    def copy_target(self) -> Keys:
        """A new, empty key store of the same layout, in memory."""
        return on_store(MemoryStore(Medium()))

    def there(self, keys: Keys) -> list[str]:
        """The versions of the pair that there is anything of."""
        return [version.id for version in keys.keys.ring(STORAGE).versions if not version.is_grave]

    @pytest.fixture
    def keys(self, tmp_path: Path) -> Iterator[Keys]:
        """A key store with one version of a pair and of a symmetric key."""
        made = self.open_keys(tmp_path)
        with closing(made.keys):
            for ref in (STORAGE, STORAGE_SYM):
                made.writer.generate(ref)
            yield made

    @pytest.fixture
    def elsewhere(self, keys: Keys, tmp_path: Path) -> Iterator[Keys]:
        """The same key store on another host."""
        made = self.open_keys(tmp_path)
        with closing(made.keys):
            yield made

    def test_what_nobody_speaks_of_is_active_and_then_deactivated(self, keys: Keys) -> None:
        """And nothing is kept."""
        keys.writer.rotate(STORAGE)
        assert [state_of(keys, STORAGE, v) for v in keys.versions(STORAGE)] == [
            KeyState.DEACTIVATED,
            KeyState.ACTIVE,
        ]
        for version in keys.versions(STORAGE):
            keys.keys.states.demand(STORAGE, version)
        assert keys.store.read_beside(STATES_BESIDE) is None

    @pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
    def test_a_state_follows_its_version_when_that_retires(
        self, keys: Keys, elsewhere: Keys, ref: KeyRef
    ) -> None:
        """Whoever rotates it, and however often."""
        StateWriter(keys.keys).set(ref, CURRENT, KeyState.COMPROMISED, "lost")
        elsewhere.keys.reload()
        elsewhere.writer.rotate(ref)
        elsewhere.writer.rotate(ref)
        for seen in (keys, elsewhere):
            seen.keys.reload()
            states = [state_of(seen, ref, version) for version in seen.versions(ref)]
            assert states == [KeyState.COMPROMISED, KeyState.DEACTIVATED, KeyState.ACTIVE]
            with pytest.raises(KeyRevoked, match="lost"):
                seen.keys.states.demand(ref, seen.versions(ref)[0])

    def test_what_was_active_again_retires_as_deactivated(self, keys: Keys) -> None:
        """A state that is no other than the default follows the place."""
        writer = StateWriter(keys.keys)
        writer.set(STORAGE, CURRENT, KeyState.SUSPENDED)
        with pytest.raises(KeyExpired):
            keys.keys.states.demand(STORAGE, CURRENT)
        writer.set(STORAGE, CURRENT, KeyState.ACTIVE)
        keys.writer.rotate(STORAGE)
        assert state_of(keys, STORAGE, keys.versions(STORAGE)[0]) is KeyState.DEACTIVATED

    def test_a_retired_version_is_suspended_and_comes_back(self, keys: Keys) -> None:
        """As what it was; it protects nothing new."""
        keys.writer.rotate(STORAGE)
        [stamp, _], writer = keys.versions(STORAGE), StateWriter(keys.keys)
        writer.set(STORAGE, stamp, KeyState.SUSPENDED)
        keys.writer.rotate(STORAGE)
        with pytest.raises(KeyExpired, match=f"keyfs state {STORAGE}/{stamp} deactivated ends that"):
            keys.keys.states.demand(STORAGE, stamp)
        with pytest.raises(OperationRefused, match="at most it is deactivated"):
            writer.set(STORAGE, stamp, KeyState.ACTIVE)
        writer.set(STORAGE, stamp, KeyState.DEACTIVATED)
        keys.keys.states.demand(STORAGE, stamp)

    def test_a_change_of_the_master_key_loses_no_state(self, keys: Keys) -> None:
        """Of a version that never was rotated, too, whose time some media do not keep."""
        writer = StateWriter(keys.keys)
        writer.set(STORAGE_SYM, CURRENT, KeyState.COMPROMISED)
        keys.writer.rotate(STORAGE)
        writer.set(STORAGE, CURRENT, KeyState.SUSPENDED)
        reseal(keys.keys, self.signature_key)
        keys.keys.reload()
        assert state_of(keys, STORAGE_SYM, CURRENT) is KeyState.COMPROMISED
        assert state_of(keys, STORAGE, CURRENT) is KeyState.SUSPENDED

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_change_of_the_master_key_that_dies_loses_no_state(self, keys: Keys, when: str) -> None:
        """Neither before a blob is switched nor after; also not that of a version that never retired."""
        StateWriter(keys.keys).set(STORAGE_SYM, CURRENT, KeyState.COMPROMISED)
        for call in (1, 2 if when == "before" else 1):
            getattr(keys.store, when)("rewrite", failing(KeyNotFound("died")), call)
            with pytest.raises(KeyNotFound, match="died"):
                reseal(keys.keys, self.signature_key)
            keys.store.mend()
            keys.keys.reload()
            assert state_of(keys, STORAGE_SYM, CURRENT) is KeyState.COMPROMISED
        reseal(keys.keys, self.signature_key)
        keys.keys.reload()
        keys.writer.rotate(STORAGE_SYM)
        states = [state_of(keys, STORAGE_SYM, version) for version in keys.versions(STORAGE_SYM)]
        assert states == [KeyState.COMPROMISED, KeyState.ACTIVE]

    def test_two_hosts_that_speak_at_once_are_both_heard(self, keys: Keys, tmp_path: Path) -> None:
        """No change is written over by another one."""
        refs = [STORAGE, STORAGE_SYM]
        for _ in range(6):
            keys.writer.rotate(STORAGE)
        said = [(STORAGE, version) for version in keys.versions(STORAGE)] + [(STORAGE_SYM, CURRENT)]
        hosts = [self.open_keys(tmp_path) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            for number, host in enumerate(hosts):
                pool.submit(compromise, host, said[number::2])
        for host in hosts:
            host.keys.close()
        keys.keys.reload()
        assert {state_of(keys, r, v) for r in refs for v in keys.versions(r)} == {KeyState.COMPROMISED}

    def test_a_watch_tells_of_states_that_others_change(self, keys: Keys, elsewhere: Keys) -> None:
        """Of nothing else beside the store."""
        with closing(elsewhere.store.watch()) as watch:
            StateWriter(keys.keys).set(STORAGE, CURRENT, KeyState.SUSPENDED)
            assert STATES_CHANGED in arrived(watch, STATES_CHANGED).names

    def test_a_reader_hears_which_version_changed_its_state(self, keys: Keys, elsewhere: Keys) -> None:
        """And refuses it from then on."""
        watch, generation = elsewhere.keys.watch(), elsewhere.keys.index.generation
        StateWriter(keys.keys).set(STORAGE, CURRENT, KeyState.SUSPENDED)
        wait_until(watch.pending)
        changed = elsewhere.keys.refresh()
        number = {(STORAGE, "1")} if self.is_in_format else set()  # by which it is known, too
        assert {(slot.ref, slot.stamp) for slot in changed} == {(STORAGE, None)} | number
        assert elsewhere.keys.index.generation > generation
        with pytest.raises(KeyExpired):
            elsewhere.keys.states.demand(STORAGE, CURRENT)

    def test_what_is_kept_can_be_lost(self, keys: Keys) -> None:
        """It costs no key; and no state where the format has those."""
        StateWriter(keys.keys).set(STORAGE, CURRENT, KeyState.COMPROMISED)
        keys.store.write_beside(STATES_BESIDE, b'{"format": 1, "states": []}')
        keys.keys.reload()
        with pytest.raises(KeyRevoked) if self.is_in_format else nullcontext():
            keys.keys.states.demand(STORAGE, CURRENT)
        assert keys.secret(STORAGE)

    @pytest.mark.expects_log(r"states\.unreadable")
    def test_what_is_damaged_counts_no_more_and_is_not_written_over(self, keys: Keys) -> None:
        """It may be mended by hand."""
        StateWriter(keys.keys).set(STORAGE, CURRENT, KeyState.COMPROMISED)
        keys.store.write_beside(STATES_BESIDE, b'{"format": 1, "sta')
        keys.keys.reload()
        with pytest.raises(KeyRevoked):  # who knew it before still does
            keys.keys.states.demand(STORAGE, CURRENT)
        with pytest.raises(MaterialCorrupt, match="restore it, or move it away"):
            StateWriter(keys.keys).set(STORAGE_SYM, CURRENT, KeyState.COMPROMISED)

    def test_a_destroyed_version_is_remembered(self, keys: Keys, elsewhere: Keys) -> None:
        """Who asks for it learns what became of it."""
        keys.writer.rotate(STORAGE)
        [stamp, _] = keys.versions(STORAGE)
        StateWriter(keys.keys).destroy(STORAGE, stamp, why="no use", is_forced=self.is_in_format)
        elsewhere.keys.reload()
        for seen in (keys, elsewhere):
            assert self.there(seen) == [CURRENT]
            with pytest.raises(KeyDestroyed, match="no use"):
                seen.keys.states.demand(STORAGE, stamp)
        with pytest.raises(KeyNotFound):
            StateWriter(keys.keys).destroy(STORAGE, stamp, is_forced=True)

    def test_the_current_version_is_destroyed_by_force_alone(self, keys: Keys) -> None:
        """The refusal says what it would cost."""
        keys.writer.rotate(STORAGE)
        writer = StateWriter(keys.keys)
        for attempt in (
            lambda: writer.destroy(STORAGE, CURRENT),
            lambda: writer.plan(STORAGE, CURRENT, 1, is_forced=False),
        ):
            with pytest.raises(OperationRefused, match=r"Acra .*, and there are 1"):
                attempt()
        writer.destroy(STORAGE, CURRENT, is_forced=True)
        assert len(self.there(keys)) == 1
        assert CURRENT not in self.there(keys)

    def test_what_is_planned_is_destroyed_when_it_is_due(self, keys: Keys, elsewhere: Keys) -> None:
        """Not before, by whoever comes first, and once."""
        keys.writer.rotate(STORAGE)
        [stamp, _], now = keys.versions(STORAGE), [1_000]
        here, there = (StateWriter(k.keys, lambda: now[0]) for k in (keys, elsewhere))
        forced = self.is_in_format
        assert here.plan(STORAGE, stamp, 7, why="old", is_forced=forced) == here.next_due_ns() == DUE_NS
        assert keys.secret(STORAGE, stamp)
        keys.keys.states.demand(STORAGE, stamp)
        elsewhere.keys.reload()
        assert not list(there.destroy_due())
        now[0] = DUE_NS
        assert [(done.version, done.error) for done in there.destroy_due()] == [(stamp, None)]
        assert not list(here.destroy_due())
        keys.keys.reload()
        assert self.there(keys) == [CURRENT]
        with pytest.raises(KeyDestroyed, match="old"):
            keys.keys.states.demand(STORAGE, stamp)

    def test_a_plan_can_be_undone_and_leaves_the_state(self, keys: Keys) -> None:
        """There is nothing else to undo."""
        keys.writer.rotate(STORAGE)
        [stamp, _], writer = keys.versions(STORAGE), StateWriter(keys.keys)
        writer.set(STORAGE, stamp, KeyState.SUSPENDED)
        writer.plan(STORAGE, stamp, 0, is_forced=self.is_in_format)
        writer.undo(STORAGE, stamp)
        assert not list(writer.destroy_due())
        assert state_of(keys, STORAGE, stamp) is KeyState.SUSPENDED
        with pytest.raises(OperationRefused, match="nothing to undo"):
            writer.undo(STORAGE, stamp)

    def test_a_plan_for_what_was_current_finds_it_after_rotations(self, keys: Keys) -> None:
        """And leaves what is current by then."""
        writer, old = StateWriter(keys.keys), keys.secret(STORAGE)
        writer.plan(STORAGE, CURRENT, 0, is_forced=True)
        keys.writer.rotate(STORAGE)
        [stamp, _] = keys.versions(STORAGE)
        assert [done.version for done in writer.destroy_due()] == [stamp]
        assert keys.secret(STORAGE) != old
        assert [(r.anchor.stamp, r.destroy_at_ns) for r in keys.keys.states.fetch()] == [(stamp, None)]

    def test_a_plan_for_what_somebody_else_removed_ends_quietly(self, keys: Keys, elsewhere: Keys) -> None:
        """It is as destroyed as can be."""
        keys.writer.rotate(STORAGE)
        [stamp, _], writer = keys.versions(STORAGE), StateWriter(keys.keys)
        writer.plan(STORAGE, stamp, 0, is_forced=self.is_in_format)
        elsewhere.keys.reload()
        elsewhere.writer.destroy(STORAGE, stamp, is_forced=self.is_in_format)
        assert not list(writer.destroy_due())
        assert writer.next_due_ns() is None
        with pytest.raises(KeyDestroyed):
            writer.set(STORAGE, stamp, KeyState.SUSPENDED)

    def test_a_copy_takes_states_along(self, keys: Keys) -> None:
        """What is said at the destination already stays."""
        keys.writer.rotate(STORAGE)
        [stamp, _], writer = keys.versions(STORAGE), StateWriter(keys.keys)
        writer.set(STORAGE, stamp, KeyState.COMPROMISED, "lost")
        writer.set(STORAGE_SYM, CURRENT, KeyState.SUSPENDED)
        target = self.copy_target()
        copy(keys.keys, target.keys)
        assert [StateWriter(target.keys).adopt(keys.keys) for _ in range(2)] == [2, 0]
        assert state_of(target, STORAGE, stamp) is KeyState.COMPROMISED
        assert state_of(target, STORAGE_SYM, CURRENT) is KeyState.SUSPENDED


def state_of(keys: Keys, ref: KeyRef, version_id: str) -> KeyState:
    """The state of a version, as that view of the key store knows it."""
    ring = keys.keys.ring(ref)
    return keys.keys.states.of(ring, ring.version(version_id)).state


def compromise(keys: Keys, versions: list[tuple[KeyRef, str]]) -> None:
    """Say of each of these that it is compromised."""
    for ref, version in versions:
        StateWriter(keys.keys).set(ref, version, KeyState.COMPROMISED)
