"""Acra's rotation stamps: written as Acra writes them, ordered as text and as time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.stamps import NANOSECONDS, format_stamp, is_stamp, parse_stamp, rfc3339
from keyfs.errors import InvalidName

LAST_NS = 253_402_300_800 * NANOSECONDS - 1  # 9999-12-31T23:59:59.999999999
BASE = 1_795_488_385 * NANOSECONDS  # 2026-11-24T02:46:25

times = st.integers(0, LAST_NS)
# Neighbours: same second, fractions that differ in length.
close_times = st.integers(BASE, BASE + 2 * NANOSECONDS)


@pytest.mark.parametrize(
    ("time_ns", "stamp"),
    [
        (BASE + 574_915_812, "2026-11-24T02:46:25.574915812"),
        (BASE + 574_000_000, "2026-11-24T02:46:25.574"),
        (BASE + 500_000_000, "2026-11-24T02:46:25.5"),
        (BASE + 1, "2026-11-24T02:46:25.000000001"),
        (BASE + 10, "2026-11-24T02:46:25.00000001"),
        (BASE, "2026-11-24T02:46:25"),
        (0, "1970-01-01T00:00:00"),
        (LAST_NS, "9999-12-31T23:59:59.999999999"),
    ],
)
def test_a_fraction_is_trimmed_and_absent_when_it_is_zero(time_ns: int, stamp: str) -> None:
    assert format_stamp(time_ns) == stamp
    assert parse_stamp(stamp) == time_ns


@given(times)
def test_a_time_goes_round(time_ns: int) -> None:
    stamp = format_stamp(time_ns)
    assert is_stamp(stamp)
    assert parse_stamp(stamp) == time_ns


@given(st.one_of(times, close_times), st.one_of(times, close_times))
def test_text_order_is_time_order(one: int, other: int) -> None:
    assert (format_stamp(one) < format_stamp(other)) == (one < other)


@given(close_times, close_times)
def test_text_order_is_time_order_within_a_second(one: int, other: int) -> None:
    assert (format_stamp(one) < format_stamp(other)) == (one < other)


@given(times)
def test_a_stamp_ends_in_no_zero_fraction(time_ns: int) -> None:
    _, dot, fraction = format_stamp(time_ns).partition(".")
    assert bool(dot) == bool(time_ns % NANOSECONDS)
    assert not fraction.endswith("0")


@pytest.mark.parametrize(
    "text",
    [
        *("", "current", "2026-11-24", "2026-11-24T02:46", "2026-11-24T02:46:25.", "2026-11-24T02:46:25Z"),
        *("2026-11-24 02:46:25", "2026-11-24T02:46:25.1234567890", "2026-11-24T02:46:25.5\n"),
        *(" 2026-11-24T02:46:25", "2026-02-30T00:00:00", "2026-13-01T00:00:00", "2026-11-24T24:00:00"),
        *("2026-11-24T02:46:61", "0000-01-01T00:00:00", "2026-11-24T02:46:25,5"),
        *("2026-11-24T02:46:25+00:00", "\uff12026-11-24T02:46:25"),
    ],
)
def test_what_is_no_stamp_is_refused(text: str) -> None:
    assert not is_stamp(text)
    with pytest.raises(InvalidName, match="not a"):
        parse_stamp(text)


@given(st.text("0123456789-T:.", max_size=32))
def test_parsing_any_text_gives_a_time_or_invalid_name(text: str) -> None:
    if is_stamp(text):
        assert parse_stamp(format_stamp(parse_stamp(text))) == parse_stamp(text)


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (BASE + 574_915_812, "2026-11-24T02:46:25.574915Z"),
        (BASE, "2026-11-24T02:46:25.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_rfc3339_has_microseconds_and_says_utc(time_ns: int, text: str) -> None:
    assert rfc3339(time_ns) == text


@pytest.mark.parametrize("time_ns", [LAST_NS + 1, 1 << 80, -(1 << 80), -62_135_596_801 * NANOSECONDS])
def test_a_time_outside_the_calendar_is_shown_as_its_edge(time_ns: int) -> None:
    """A file's time may be anything that touch(1) can say: the inventory must not fail for one file."""
    assert rfc3339(time_ns) in ("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z")
