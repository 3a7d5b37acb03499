"""The rules of a machine that changes two key stores in lockstep, one change at a time."""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from keystore_model import (
    Graves,
    Model,
    Twins,
    Version,
    assert_states,
    contents,
    destroy,
    held,
    values_in,
)

from keyfs.broker.check import check
from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import CURRENT, KeyRef, parse_key_ref
from keyfs.core.states import KeyState, moves
from keyfs.errors import (
    InvalidMaterial,
    KeyDestroyed,
    KeyExists,
    KeyNotFound,
    OperationRefused,
    RotationConflict,
)
from keyfs.seal.keypair import generate_pair
from keyfs.testing.builders import Keys

REFS = [parse_key_ref(text) for text in ("storage/alice", "hmac-sym/alice", "poison-record")]
PAIRS = [generate_pair()[0].reveal() for _ in range(4)]
SYMMETRIC = [bytes([fill]) * 32 for fill in range(1, 5)]

refs = st.sampled_from(REFS)
choices = st.integers(0, 3)


def material(ref: KeyRef, choice: int) -> bytes:
    return (PAIRS if ref.purpose.is_pair else SYMMETRIC)[choice]


class Changes(RuleBasedStateMachine):
    """Every step is made on both; what they hold is compared with the model after each."""

    layout: ClassVar[str]

    @initialize()
    def make(self) -> None:
        memory = Path("/dev/shm")
        folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.twins = Twins(self.layout, folder)
        self.model: Model = {}
        self.graves: Graves = {}  # ids, in each of both, and what it was
        self.both = self.twins.open()

    def teardown(self) -> None:
        if hasattr(self, "twins"):
            self.twins.lose()
            self.twins.folder.rmdir()

    def exists(self, ref: KeyRef) -> bool:
        return bool(self.model.get(ref))

    def values(self, ref: KeyRef) -> list[bytes]:
        return [version.data for version in self.model.get(ref, [])]

    def append(self, ref: KeyRef, data: bytes) -> None:
        self.model.setdefault(ref, []).append(Version(data))
        self.retire(ref)

    def retire(self, ref: KeyRef) -> None:
        """All but the last: what was active again is no more than any other."""
        for version in self.model[ref][:-1]:
            version.said = None if version.said is KeyState.ACTIVE else version.said

    @rule(seconds=st.integers(-100, 100))
    def time_goes_by(self, seconds: int) -> None:
        self.twins.now_ns += seconds * 10**9
        for keys in self.both:
            keys.clock.now_ns = self.twins.now_ns

    @rule(ref=refs)
    def generate(self, ref: KeyRef) -> None:
        made = []
        for keys in self.both:
            if self.exists(ref):
                with pytest.raises(KeyExists):
                    keys.writer.generate(ref)
            else:
                keys.writer.generate(ref)
                made.append(keys.secret(ref))
        self.accept(ref, made)

    @rule(ref=refs)
    def rotate(self, ref: KeyRef) -> None:
        made = []
        for keys in self.both:
            if not self.exists(ref):
                with pytest.raises(KeyNotFound):
                    keys.writer.rotate(ref)
            else:
                keys.writer.rotate(ref)
                made.append(keys.secret(ref))
        self.accept(ref, made)

    def accept(self, ref: KeyRef, made: list[bytes]) -> None:
        """Each generated its own key; from here on the second one has that of the first."""
        if made:
            assert len(set(made)) == len(made)
            second = self.both[1]
            current = second.keys.ring(ref).current
            assert current is not None
            assert current.secret is not None
            second.writer.import_material(ref, made[0], amend=current.secret.stat.identity)
            self.append(ref, made[0])

    @rule(ref=refs, choice=choices)
    def import_bytes(self, ref: KeyRef, choice: int) -> None:
        data = material(ref, choice)
        is_new = self.values(ref)[-1:] != [data]
        for keys in self.both:
            assert keys.writer.import_material(ref, data).is_new is is_new
        if is_new:
            self.append(ref, data)

    @rule(ref=refs, choice=choices)
    def edit_what_is_old(self, ref: KeyRef, choice: int) -> None:
        data = material(ref, choice)
        if self.values(ref)[-1:] != [data]:
            for keys in self.both:
                with pytest.raises(RotationConflict):
                    keys.writer.import_material(ref, data, expected="of long ago")

    @rule(ref=refs, data=st.binary(max_size=31))
    def import_no_key(self, ref: KeyRef, data: bytes) -> None:
        for keys in self.both:
            with pytest.raises(InvalidMaterial):
                keys.writer.import_material(ref, data)

    @rule(ref=refs, choice=choices)
    def rotate_outside(self, ref: KeyRef, choice: int) -> None:
        """Another keyfs writes; this one has not looked since."""
        data = material(ref, choice)
        if self.values(ref)[-1:] != [data]:
            for keys, other in zip(self.both, self.twins.open(), strict=True):
                other.writer.import_material(ref, data)
                keys.keys.load()
            self.append(ref, data)

    @rule(ref=refs, which=st.integers(0, 5))
    def destroy(self, ref: KeyRef, which: int) -> None:
        versions = self.model.get(ref, [])
        if which < len(versions) - 1:
            victims = [held(keys, ref)[which] for keys in self.both]
            for keys, victim in zip(self.both, victims, strict=True):
                destroy(keys, ref, victim)
            self.graves.setdefault(ref, []).append((victims, versions.pop(which).data))
        elif versions:
            for keys in self.both:
                with pytest.raises(OperationRefused):
                    keys.writer.destroy(ref, CURRENT)

    @rule(ref=refs, which=st.integers(0, 4), state=st.sampled_from(KeyState))
    def say(self, ref: KeyRef, which: int, state: KeyState) -> None:
        """A state, if it may follow; else nothing."""
        versions = self.model.get(ref, [])
        if which < len(versions):
            is_current, version = which == len(versions) - 1, versions[which]
            now = version.state(is_current=is_current)
            is_allowed = state in moves(now, is_current=is_current) - {KeyState.DESTROYED} or state is now
            for keys in self.both:
                says = StateWriter(keys.keys, keys.clock)
                with nullcontext() if is_allowed else pytest.raises(OperationRefused):
                    says.set(ref, held(keys, ref)[which], state)
            if is_allowed and state is not now:
                version.said = state

    # --- looks ---

    @rule()
    def check_and_repair(self) -> None:
        """Nothing is wrong, so nothing is done."""
        for keys in self.both:
            assert not check(keys.keys, keys.writer, settle_s=0).findings

    @precondition(lambda self: any(self.model.values()))
    @rule(ref=refs)
    def look_at_one_ring_again(self, ref: KeyRef) -> None:
        for keys in self.both:
            keys.keys.relist(ref)

    @rule()
    def open_again(self) -> None:
        self.both = self.twins.open()

    @invariant()
    def both_hold_what_the_model_holds(self) -> None:
        for number, keys in enumerate(getattr(self, "both", [])):
            assert values_in(keys) == contents(self.model)
            assert_states(keys, self.model)
            for ref, graves in self.graves.items():
                for ids, data in graves:
                    assert data in self.values(ref) or is_destroyed(keys, ref, ids[number])

    @invariant()
    def every_ring_is_sound(self) -> None:
        for keys in getattr(self, "both", []):
            for ref in list(keys.keys.index.refs()):
                keys.assert_sound(ref)
            assert not keys.keys.index.strays

    @invariant()
    def what_is_known_is_what_a_new_look_finds(self) -> None:
        if hasattr(self, "both"):
            for fresh, keys in zip(self.twins.open(), self.both, strict=True):
                assert {r.ref: r for r in fresh.keys.rings()} == {r.ref: r for r in keys.keys.rings()}


def is_destroyed(keys: Keys, ref: KeyRef, version_id: str) -> bool:
    """Who asks for it is told so."""
    with pytest.raises(KeyDestroyed):
        keys.keys.states.demand(ref, version_id)
    with pytest.raises(KeyNotFound):
        keys.secret(ref, version_id)
    return True
