"""Sorting in steps comes to what sorting comes to, and no step touches more than a few thousand names."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.ordering import STEP, at_once, sorted_in_steps

LARGE = [f"client-{number * 7919 % 50_021:06}" for number in range(50_000)]


@given(st.lists(st.text(max_size=4)))
def test_the_order_is_that_of_sorted(names: list[str]) -> None:
    assert at_once(sorted_in_steps(names)) == sorted(names)


def test_many_names_come_in_order_too() -> None:
    assert at_once(sorted_in_steps(LARGE)) == sorted(LARGE)
    assert at_once(sorted_in_steps(["same"] * 20_000)) == ["same"] * 20_000


def test_a_step_takes_no_more_names_than_it_may() -> None:
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for name in LARGE:
            taken += 1
            yield name

    steps, most, before = sorted_in_steps(counted()), 0, 0
    for _ in steps:
        most, before = max(most, taken - before), taken
    assert most <= STEP
    assert taken == len(LARGE)
