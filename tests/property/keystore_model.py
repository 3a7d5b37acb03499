"""What a key store has to hold, in the plainest form; and two of them that are to hold it."""

import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dying import Place, Step

from keyfs.broker.keystore import KeyStore
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.states import REFUSALS, USES, KeyState, default_state, settled, use_of
from keyfs.errors import KeyfsError
from keyfs.layout.v1_names import is_public
from keyfs.store.directory import DirectoryStore
from keyfs.store.ring_changes import RingMedium
from keyfs.testing.builders import NOON_NS, Keys, on_store
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import rings_on


@dataclass
class Version:
    """One version: its private or symmetric bytes, and what somebody said of it."""

    data: bytes
    said: KeyState | None = None

    def state(self, *, is_current: bool) -> KeyState:
        return settled(self.said or default_state(is_current=is_current), is_current=is_current)

    def refusal(self, *, is_current: bool) -> type[KeyfsError] | None:
        """What who wants to use it is told."""
        state = self.state(is_current=is_current)
        return None if use_of(is_current=is_current) in USES[state] else REFUSALS[state]


Model = dict[KeyRef, list[Version]]
Graves = dict[KeyRef, list[tuple[list[str], bytes]]]  # by their ids in each of both; and what it was


def contents(model: Model) -> dict[KeyRef, list[bytes]]:
    return {ref: [version.data for version in found] for ref, found in model.items() if found}


def is_within(part: list[bytes], whole: list[bytes]) -> bool:
    """Whether all of *part* is there, in its order."""
    rest = iter(whole)
    return all(one in rest for one in part)


def is_repetitive(*lists: list[bytes]) -> bool:
    """Whether a key is in one of them twice: then an import cannot tell the two apart."""
    return any(count > 1 for found in lists for count in Counter(found).values())


@dataclass(frozen=True)
class DirectoryPlace(Place):
    """A key store in a directory under the master key of the builders, at that time."""

    now_ns: int = NOON_NS

    def open(self, on_step: Step = lambda _step: None) -> tuple[KeyStore, RingWriter]:
        made = opened(DirectoryStore(self.root, None, is_public, on_step), self.layout, self.now_ns)
        return made.keys, made.writer


def opened(medium: RingMedium, layout: str, now_ns: int) -> Keys:
    """The key store on *medium*, as one sees it who looks for the first time."""
    made = on_store(medium) if layout == "v1" else rings_on(medium)
    made.clock.now_ns, made.clock.step_ns = now_ns, 0
    return made


@dataclass
class Twins:
    """A key store in memory and one in a directory, which are to hold the same."""

    layout: str
    folder: Path
    medium: Medium = field(default_factory=Medium)
    now_ns: int = NOON_NS

    @property
    def place(self) -> DirectoryPlace:
        (self.folder / "keys").mkdir(0o700, exist_ok=True)
        return DirectoryPlace(self.folder / "keys", None, self.layout, self.now_ns)

    def media(self) -> list[RingMedium]:
        return [MemoryStore(self.medium), DirectoryStore(self.place.root, None, is_public)]

    def open(self) -> list[Keys]:
        return [opened(medium, self.layout, self.now_ns) for medium in self.media()]

    def lose(self) -> None:
        """All of both, with what is beside them."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.medium = Medium()


def held(keys: Keys, ref: KeyRef) -> list[str]:
    """The ids of the versions that there is material of, oldest first."""
    return [version.id for version in keys.keys.ring(ref).versions if version.secret is not None]


def values_in(keys: Keys) -> dict[KeyRef, list[bytes]]:
    """The private or symmetric bytes of every version of every key, oldest first."""
    found = {ref: [keys.secret(ref, v) for v in held(keys, ref)] for ref in list(keys.keys.index.refs())}
    return {ref: values for ref, values in found.items() if values}


def assert_states(keys: Keys, model: Model) -> None:
    """Each version has the state of the model; and who reads it is let or refused accordingly."""
    for ref, found in model.items():
        for version_id, version in zip(held(keys, ref) if found else (), found, strict=True):
            is_current, states = version_id == CURRENT, keys.keys.states
            ring = keys.keys.ring(ref)
            shown = states.of(ring, ring.version(version_id)).state
            assert shown is version.state(is_current=is_current), (str(ref), version_id)
            refusal = version.refusal(is_current=is_current)
            with nullcontext() if refusal is None else pytest.raises(refusal):
                states.demand(ref, version_id)


def destroy(keys: Keys, ref: KeyRef, version_id: str) -> None:
    """As an operator does who was asked whether that is meant."""
    StateWriter(keys.keys, keys.clock).destroy(ref, version_id, is_forced=True)
