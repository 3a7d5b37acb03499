"""States of layout v2: they stand in the ring, and what is said beside it is of the same version for good."""

import pytest

from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import CURRENT
from keyfs.core.states import KeyState
from keyfs.testing.builders import STORAGE_SYM, Keys
from keyfs.testing.medium import Medium
from keyfs.testing.ring_stores import rings_in_memory


@pytest.fixture
def keys() -> Keys:
    """Three versions, all of one second."""
    made = rings_in_memory(Medium())
    made.writer.generate(STORAGE_SYM)
    for _ in range(2):
        made.writer.rotate(STORAGE_SYM)
    return made


def state(keys: Keys, version: str) -> KeyState:
    ring = keys.keys.ring(STORAGE_SYM)
    return keys.keys.states.of(ring, ring.version(version)).state


def test_the_answer_is_what_was_written(keys: Keys) -> None:
    states = StateWriter(keys.keys)
    said = states.set(STORAGE_SYM, "1", KeyState.SUSPENDED, "lost")
    assert (said.state, said.why) == (KeyState.SUSPENDED, "lost")
    assert said.since_ns is not None
    again = states.set(STORAGE_SYM, "1", KeyState.DEACTIVATED)
    assert (again.state, again.why) == (KeyState.DEACTIVATED, "")
    ring = keys.keys.ring(STORAGE_SYM)
    assert keys.keys.states.of(ring, ring.version("1")) == again


def test_what_is_said_of_the_current_version_stays_with_its_number(keys: Keys) -> None:
    """Setting a state changes its bytes, and others were made in the same second."""
    states = StateWriter(keys.keys)
    states.set(STORAGE_SYM, CURRENT, KeyState.SUSPENDED)
    states.set(STORAGE_SYM, CURRENT, KeyState.ACTIVE, "found again")
    states.plan(STORAGE_SYM, CURRENT, 0, is_forced=True)
    states.set(STORAGE_SYM, CURRENT, KeyState.COMPROMISED, "lost for good")
    keys.writer.rotate(STORAGE_SYM)
    ring = keys.keys.ring(STORAGE_SYM)
    whys = {v.number: keys.keys.states.of(ring, v).why for v in ring.versions}
    assert whys == {"1": "", "2": "", "3": "lost for good", "4": ""}
    assert [done.version for done in states.destroy_due()] == ["3"]
    assert [v.number for v in keys.keys.ring(STORAGE_SYM).versions if v.secret is not None] == ["1", "2", "4"]


def test_what_was_active_retires_as_deactivated(keys: Keys) -> None:
    states = StateWriter(keys.keys)
    states.set(STORAGE_SYM, CURRENT, KeyState.SUSPENDED)
    states.set(STORAGE_SYM, CURRENT, KeyState.ACTIVE)
    keys.writer.rotate(STORAGE_SYM)
    assert state(keys, "3") is KeyState.DEACTIVATED


def test_what_others_write_into_the_ring_counts_more_than_what_was_said_beside_it(keys: Keys) -> None:
    states = StateWriter(keys.keys)
    states.set(STORAGE_SYM, "1", KeyState.SUSPENDED, "lost")
    assert keys.keys.states.in_format is not None
    keys.keys.states.in_format.write(STORAGE_SYM, "1", KeyState.COMPROMISED, "")
    ring = keys.keys.ring(STORAGE_SYM)
    found = keys.keys.states.of(ring, ring.version("1"))
    assert (found.state, found.why) == (KeyState.COMPROMISED, "")
