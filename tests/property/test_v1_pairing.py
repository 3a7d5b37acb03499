"""Matching the halves of rotated pairs by nothing but their stamps, for all stamps there can be."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.stamps import format_stamp, parse_stamp
from keyfs.layout.v1_ring import PAIR_WINDOW_NS, match_halves

NOON_NS = 1_795_521_600 * 10**9

gaps = st.lists(st.integers(1, 10 * PAIR_WINDOW_NS), max_size=12)
delays = st.integers(0, PAIR_WINDOW_NS)
what_is_left = st.lists(st.tuples(delays, st.sampled_from(["both", "private", "public"])), max_size=12)


def stamps_after(steps_ns: list[int]) -> list[str]:
    at_ns, found = NOON_NS, []
    for step_ns in steps_ns:
        at_ns += step_ns
        found.append(format_stamp(at_ns))
    return found


@given(gaps)
def test_text_order_is_time_order(steps_ns: list[int]) -> None:
    found = stamps_after(steps_ns)
    assert all(one < other and parse_stamp(one) < parse_stamp(other) for one, other in pairwise(found))


@given(gaps, gaps)
def test_every_stamp_is_matched_at_most_once(private_ns: list[int], public_ns: list[int]) -> None:
    private, public = stamps_after(private_ns), stamps_after(public_ns)
    pairs = match_halves(private, public)
    assert set(pairs) <= set(private)
    assert set(pairs.values()) <= set(public)
    assert len(set(pairs.values())) == len(pairs)


@given(gaps, st.data())
def test_whole_pairs_match_however_close_the_rotations_are(steps_ns: list[int], data: st.DataObject) -> None:
    private = stamps_after(steps_ns)
    times = [*map(parse_stamp, private), NOON_NS + 100 * PAIR_WINDOW_NS * 2]
    public = [format_stamp(data.draw(st.integers(a, b - 1))) for a, b in pairwise(times)]
    assert match_halves(private, public) == dict(zip(private, public, strict=True))


@given(what_is_left)
def test_halves_of_different_rotations_never_match(rotations: list[tuple[int, str]]) -> None:
    """Where rotations are further apart than the window, and the numbers tell that a half is missing."""
    private: list[str] = []
    public: list[str] = []
    whole: dict[str, str] = {}
    for number, (delay_ns, left) in enumerate(rotations):
        at_ns = NOON_NS + number * 3 * PAIR_WINDOW_NS
        one, other = format_stamp(at_ns), format_stamp(at_ns + delay_ns)
        private += [one] if left != "public" else []
        public += [other] if left != "private" else []
        whole |= {one: other} if left == "both" else {}
    if len(private) != len(public) or len(whole) == len(private):
        assert match_halves(private, public) == whole
