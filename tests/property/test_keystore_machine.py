"""A key store in memory and one in a directory, in lockstep, against a dict of lists of keys."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keyfs.core.names import CURRENT, KeyRef, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, KeyExists, KeyNotFound, OperationRefused, RotationConflict
from keyfs.seal.keypair import generate_pair
from keyfs.store.base import Store
from keyfs.store.directory import DirectoryStore
from keyfs.testing.builders import MASTER_KEY, NOON_NS, Keys, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

REFS = [parse_key_ref(text) for text in ("storage/alice", "hmac-sym/alice", "poison-record")]
PAIRS = [generate_pair()[0].reveal() for _ in range(4)]
SYMMETRIC = [bytes([fill]) * 32 for fill in range(4)]

refs = st.sampled_from(REFS)
choices = st.integers(0, 3)


def material(ref: KeyRef, choice: int) -> bytes:
    return (PAIRS if ref.purpose.is_pair else SYMMETRIC)[choice]


class Lockstep(RuleBasedStateMachine):
    """Every step is made on both; what they hold is compared with the model after each."""

    @initialize()
    def make(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        (self.place / "keys").mkdir(0o700)
        self.medium = Medium()
        self.model: dict[KeyRef, list[bytes]] = {}
        self.both = [on_store(store) for store in self.stores()]
        self.now_ns = NOON_NS

    def stores(self) -> list[Store]:
        return [MemoryStore(self.medium), DirectoryStore(self.place / "keys")]

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place)

    def exists(self, ref: KeyRef) -> bool:
        return bool(self.model.get(ref))

    @rule(seconds=st.integers(-100, 100))
    def time_goes_by(self, seconds: int) -> None:
        self.now_ns += seconds * 10**9
        for keys in self.both:
            keys.clock.now_ns, keys.clock.step_ns = self.now_ns, 0

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
            self.model.setdefault(ref, []).append(made[0])

    @rule(ref=refs, choice=choices)
    def import_bytes(self, ref: KeyRef, choice: int) -> None:
        data = material(ref, choice)
        is_new = self.model.get(ref, [])[-1:] != [data]
        for keys in self.both:
            assert keys.writer.import_material(ref, data).is_new is is_new
        if is_new:
            self.model.setdefault(ref, []).append(data)

    @rule(ref=refs)
    def import_the_same_bytes(self, ref: KeyRef) -> None:
        if self.exists(ref):
            for keys in self.both:
                assert not keys.writer.import_material(ref, self.model[ref][-1]).is_new

    @rule(ref=refs, choice=choices)
    def edit_what_is_old(self, ref: KeyRef, choice: int) -> None:
        data = material(ref, choice)
        if self.model.get(ref, [])[-1:] != [data]:
            for keys in self.both:
                with pytest.raises(RotationConflict):
                    keys.writer.import_material(ref, data, expected="of long ago")

    @rule(ref=refs, data=st.binary(max_size=31))
    def import_no_key(self, ref: KeyRef, data: bytes) -> None:
        for keys in self.both:
            with pytest.raises(InvalidMaterial):
                keys.writer.import_material(ref, data)

    @rule(ref=refs, which=st.integers(0, 5))
    def destroy(self, ref: KeyRef, which: int) -> None:
        versions = self.model.get(ref, [])
        if which < len(versions) - 1:
            for keys in self.both:
                keys.writer.destroy(ref, keys.versions(ref)[which])
            del versions[which]
        elif self.exists(ref):
            for keys in self.both:
                with pytest.raises(OperationRefused):
                    keys.writer.destroy(ref, CURRENT)

    @rule(ref=refs, choice=choices)
    def rotate_outside(self, ref: KeyRef, choice: int) -> None:
        """Another keyfs writes; this one has not looked since."""
        data = material(ref, choice)
        if self.model.get(ref, [])[-1:] != [data]:
            for store, keys in zip(self.stores(), self.both, strict=True):
                other = on_store(store)
                other.clock.now_ns = self.now_ns
                other.writer.import_material(ref, data)
                keys.keys.load()
            self.model.setdefault(ref, []).append(data)

    @precondition(lambda self: any(self.model.values()))
    @rule(ref=refs)
    def look_at_one_ring_again(self, ref: KeyRef) -> None:
        for keys in self.both:
            keys.keys.relist(ref)

    @rule()
    def open_again(self) -> None:
        self.both = [on_store(store) for store in self.stores()]
        for keys in self.both:
            keys.clock.now_ns, keys.clock.step_ns = self.now_ns, 0

    @invariant()
    def both_hold_what_the_model_holds(self) -> None:
        for keys in getattr(self, "both", []):
            assert {ref: keys.values(ref) for ref in keys.keys.index.refs()} == {
                ref: versions for ref, versions in self.model.items() if versions
            }

    @invariant()
    def every_ring_is_sound(self) -> None:
        for keys in getattr(self, "both", []):
            for ref in list(keys.keys.index.refs()):
                keys.assert_sound(ref)
            assert not keys.keys.index.strays

    @invariant()
    def what_is_known_is_what_a_new_look_finds(self) -> None:
        if hasattr(self, "both"):
            for store, keys in zip(self.stores(), self.both, strict=True):
                fresh = on_store(store)
                assert {r.ref: r for r in fresh.keys.rings()} == {r.ref: r for r in keys.keys.rings()}


TestKeyStoresInLockstep = Lockstep.TestCase
TestKeyStoresInLockstep.settings = settings(stateful_step_count=20)


def test_what_a_medium_holds_is_sealed() -> None:
    """No version lies anywhere in plain, not even under a name that nobody asks for."""
    medium = Medium()
    keys: Keys = on_store(MemoryStore(medium))
    for ref in REFS:
        for choice in range(4):
            keys.writer.import_material(ref, material(ref, choice))
    stored = b"".join(blob.data for blob in medium.blobs.values())
    for plain in (*PAIRS, *SYMMETRIC, MASTER_KEY, Secret(MASTER_KEY).reveal()):
        assert plain not in stored
