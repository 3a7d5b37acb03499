"""Laws of key states: whatever is done in whatever order, what was given up does not come back."""

from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.state_records import Anchor, Record, as_text, records_of, salvaged
from keyfs.core.states import REFUSALS, TRANSITIONS, USES, KeyState, Use, demand_move, moves, settled
from keyfs.errors import KeyfsError, MaterialCorrupt, OperationRefused

states = st.sampled_from(KeyState)
ORDER = list(KeyState)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
times = st.integers(0, 1 << 63)
anchors = st.builds(Anchor, st.text("0123456789-T:.", min_size=1)) | st.builds(
    Anchor, st.none(), texts, st.none() | times
)
records = st.builds(Record, texts, anchors, st.none() | states, texts, times, st.none() | times)


@given(st.lists(st.tuples(states, st.booleans()), max_size=30))
def test_uses_only_come_back_after_a_suspension(tried: list[tuple[KeyState, bool]]) -> None:
    """And a version that retired never protects; an illegal move changes nothing."""
    state, is_current, seen = KeyState.ACTIVE, True, [KeyState.ACTIVE]
    for then, retires in tried:
        if is_current and retires:
            is_current = False
            state = settled(state, is_current=False)
        try:
            demand_move("a/b/c", state, then, is_current=is_current)
        except OperationRefused:
            continue
        gained = USES[then] - USES[state]
        assert not gained or state is KeyState.SUSPENDED
        state = then
        seen.append(then)
        assert is_current or Use.PROTECT not in USES[state]
        assert KeyState.DESTROYED not in seen
        assert KeyState.COMPROMISED not in seen or state is KeyState.COMPROMISED


@given(states, st.booleans())
def test_every_state_but_the_last_can_end(state: KeyState, is_current: bool) -> None:
    assert (KeyState.DESTROYED in moves(state, is_current=is_current)) == (state is not KeyState.DESTROYED)
    assert state not in TRANSITIONS[state]


@given(states)
def test_whatever_is_not_allowed_has_a_refusal(state: KeyState) -> None:
    assert USES[state] == frozenset(Use) or issubclass(REFUSALS[state], KeyfsError)
    assert settled(settled(state, is_current=False), is_current=False) is settled(state, is_current=False)


@given(st.lists(records, max_size=5))
def test_what_is_written_is_read_back(said: list[Record]) -> None:
    read = records_of(as_text(said))
    assert sorted(map(_normal, read)) == sorted(map(_normal, said))
    assert as_text(read) == as_text(said)


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_one_error(text: bytes) -> None:
    try:
        records_of(text)
    except MaterialCorrupt:
        return


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_a_torn_text_is_damaged(said: list[Record], data: st.DataObject) -> None:
    text = as_text(said)
    end = data.draw(st.integers(0, len(text) - 3))
    try:
        records_of(text[:end])
    except MaterialCorrupt:
        return
    raise AssertionError(text[:end])


def _normal(record: Record) -> str:
    """What is kept of it: a force counts only where something is planned."""
    return repr((record.key, record.anchor, record.state, record.why, record.at_ns, record.destroy_at_ns))


@given(st.lists(records, max_size=5), st.data())
def test_what_is_torn_leaves_whole_records_and_invents_none(said: list[Record], data: st.DataObject) -> None:
    text = as_text(said)
    cut = data.draw(st.integers(0, len(text)))
    left = salvaged(text[:cut])
    assert left is not None
    assert set(map(_normal, left)) <= set(map(_normal, said))
    assert salvaged(text) == records_of(text)


@given(st.lists(records, max_size=3), st.integers(2, 99))
def test_what_a_later_version_wrote_is_not_taken_apart(said: list[Record], later: int) -> None:
    text = as_text(said).replace(b'"format": 1', b'"format": %d' % later, 1)
    assert salvaged(text) is None


@given(st.binary(max_size=200))
def test_any_bytes_can_be_salvaged(junk: bytes) -> None:
    assert salvaged(junk) is None or isinstance(salvaged(junk), tuple)
