"""The table of key states, row by row, and the text in which they are kept."""

import pytest

from keyfs.core.state_records import Anchor, Record, as_text, records_of
from keyfs.core.states import (
    REFUSALS,
    TRANSITIONS,
    USES,
    KeyState,
    Use,
    VersionState,
    default_state,
    demand_move,
    demand_use,
    moves,
    use_of,
)
from keyfs.errors import KeyDestroyed, KeyExpired, KeyfsError, KeyRevoked, MaterialCorrupt, OperationRefused

LABEL = "storage/alice/current"
S = KeyState


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(USES) == set(KeyState)
    assert set(REFUSALS) == {state for state in KeyState if USES[state] != frozenset(Use)}


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (S.PRE_ACTIVE, {S.ACTIVE, S.COMPROMISED, S.DESTROYED}),
        (S.ACTIVE, {S.SUSPENDED, S.DEACTIVATED, S.COMPROMISED, S.DESTROYED}),
        (S.SUSPENDED, {S.ACTIVE, S.DEACTIVATED, S.COMPROMISED, S.DESTROYED}),
        (S.DEACTIVATED, {S.COMPROMISED, S.DESTROYED}),
        (S.COMPROMISED, {S.DESTROYED}),
        (S.DESTROYED, set()),
    ],
)
def test_the_moves_are_those_of_sp_800_57(state: KeyState, after: set[KeyState]) -> None:
    assert TRANSITIONS[state] == after == moves(state, is_current=True)


def test_what_has_retired_never_protects_again_and_can_be_suspended() -> None:
    assert moves(S.DEACTIVATED, is_current=False) == {S.SUSPENDED, S.COMPROMISED, S.DESTROYED}
    assert moves(S.SUSPENDED, is_current=False) == {S.DEACTIVATED, S.COMPROMISED, S.DESTROYED}
    assert all(S.ACTIVE not in moves(state, is_current=False) for state in KeyState)


@pytest.mark.parametrize(
    ("state", "use", "refusal"),
    [
        (S.PRE_ACTIVE, Use.PROTECT, KeyExpired),
        (S.PRE_ACTIVE, Use.PROCESS, KeyExpired),
        (S.ACTIVE, Use.PROTECT, None),
        (S.ACTIVE, Use.PROCESS, None),
        (S.SUSPENDED, Use.PROTECT, KeyExpired),
        (S.SUSPENDED, Use.PROCESS, KeyExpired),
        (S.DEACTIVATED, Use.PROTECT, KeyExpired),
        (S.DEACTIVATED, Use.PROCESS, None),
        (S.COMPROMISED, Use.PROTECT, KeyRevoked),
        (S.COMPROMISED, Use.PROCESS, KeyRevoked),
        (S.DESTROYED, Use.PROTECT, KeyDestroyed),
        (S.DESTROYED, Use.PROCESS, KeyDestroyed),
    ],
)
def test_a_use_is_allowed_or_refused_by_name(
    state: KeyState, use: Use, refusal: type[KeyfsError] | None
) -> None:
    found = VersionState(state, why="the reason")
    if refusal is None:
        demand_use(LABEL, found, use)
        return
    with pytest.raises(refusal, match=rf"^{LABEL} is {state.value} \(the reason\): "):
        demand_use(LABEL, found, use)


def test_nobody_speaking_of_a_version_changes_nothing() -> None:
    """Both kinds can be read as they always could."""
    for is_current in (True, False):
        assert use_of(is_current=is_current) in USES[default_state(is_current=is_current)]


@pytest.mark.parametrize("now", KeyState)
@pytest.mark.parametrize("then", KeyState)
@pytest.mark.parametrize("is_current", [True, False])
def test_a_move_is_made_or_refused_with_what_may_follow(
    now: KeyState, then: KeyState, *, is_current: bool
) -> None:
    if then in moves(now, is_current=is_current) - {S.DESTROYED}:
        demand_move(LABEL, now, then, is_current=is_current)
        return
    with pytest.raises(OperationRefused) as caught:
        demand_move(LABEL, now, then, is_current=is_current)
    if then is S.DESTROYED and now is not S.DESTROYED:
        assert str(caught.value) == f"a state destroys nothing: run keyfs destroy {LABEL}"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format": 2, "states": []}',
        b'{"format": 1, "states": 7}',
        b'{"format": 1, "states": [7]}',
        b'{"format": 1, "states": [{"key": "storage/alice"}]}',
        b'{"format": 1, "states": [{"key": 1, "version": null, "at_ns": 1}]}',
        b'{"format": 1, "states": [{"key": "a", "version": null, "at_ns": true}]}',
        b'{"format": 1, "states": [{"key": "a", "version": null, "at_ns": 1, "state": "lost"}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_states_is_damaged(text: bytes) -> None:
    with pytest.raises(MaterialCorrupt):
        records_of(text)


def test_the_text_has_a_line_for_each_record_in_order() -> None:
    records = [
        Record("storage/bobby", Anchor(None, "abc", 5), S.SUSPENDED, "why", 7),
        Record("storage/alice", Anchor("2026-11-24T02:46:25"), None, "", 8, 9, is_forced=True),
    ]
    assert as_text(records) == (
        b'{"format": 1, "states": [\n'
        b'  {"key": "storage/alice", "version": "2026-11-24T02:46:25", "at_ns": 8, '
        b'"destroy_at_ns": 9, "force": true},\n'
        b'  {"key": "storage/bobby", "version": null, "at_ns": 7, "identity": "abc", "created_ns": 5, '
        b'"state": "suspended", "why": "why"}\n'
        b"]}\n"
    )
