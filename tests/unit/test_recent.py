"""What was used last stays, up to a limit."""

from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.recent import Recent

NAMES = st.sampled_from("abcdef")


def test_what_was_not_used_for_longest_goes_first() -> None:
    recent: Recent[int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(name) for name in "abc"] == [1, None, 3]


def test_what_is_too_large_by_itself_is_not_kept_and_drives_nobody_out() -> None:
    recent: Recent[bytes] = Recent(10, len)
    recent.put("a", b"12345")
    recent.put("b", b"x" * 11)
    assert recent.values() == [b"12345"]


def test_a_value_that_takes_the_place_of_another_is_counted_once() -> None:
    recent: Recent[bytes] = Recent(10, len)
    recent.put("a", b"1")
    for _ in range(5):
        recent.put("b", b"x" * 9)
    assert recent.values() == [b"1", b"x" * 9]


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "drop"]), NAMES, st.integers(1, 6)), max_size=40))
def test_the_limit_holds_and_what_is_had_is_what_was_put_last(steps: list[tuple[str, str, int]]) -> None:
    recent: Recent[bytes] = Recent(12, len)
    last: dict[str, bytes] = {}
    for number, (step, name, size) in enumerate(steps):
        if step == "put":
            last[name] = bytes([number]) * size
            recent.put(name, last[name])
            assert recent.get(name) == last[name]
        elif step == "drop":
            recent.drop(name)
            assert recent.get(name) is None
        else:
            assert recent.get(name) in (None, last.get(name))
        assert sum(map(len, recent.values())) <= 12
