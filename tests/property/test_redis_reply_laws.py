"""Replies are matched to what was asked, in order, however the bytes are cut and whatever comes after."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.store.redis_replies import NonsenseError, Replies, get_command

VALUES = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"$3\r\nabc\r\n", b"-ERR\r\n", b"+OK\r\n"])
ERRORS = st.sampled_from(["WRONGTYPE no string", "LOADING", "MOVED 1 127.0.0.1:1", "READONLY", "NOAUTH"])
REPLY = st.one_of(VALUES, st.none(), ERRORS)
# Whatever Redis can say to other commands, and what it never says.
OTHERS = st.sampled_from(
    [b":1\r\n", b"*0\r\n", b"*1\r\n$1\r\na\r\n", b"#f\r\n", b"#t\r\n", b">1\r\n+x\r\n", b"%0\r\n", b",1\r\n"]
)


def encoded(reply: bytes | str | None) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, str):
        return f"-{reply}\r\n".encode()
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


def told(reply: object) -> object:
    """Errors as their text, to be compared."""
    return str(reply) if isinstance(reply, Exception) else reply


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(ends)]


@given(st.lists(REPLY, max_size=8), st.lists(st.integers(min_value=0), max_size=10))
def test_each_reply_goes_to_the_oldest_question(replies: list[bytes | str | None], places: list[int]) -> None:
    matcher: Replies[int] = Replies()
    matcher.expect(range(len(replies)))
    matched = []
    for data in cut(b"".join(map(encoded, replies)), places):
        matched += [(number, told(reply)) for number, reply in matcher.take(data)]
    assert matched == list(enumerate(replies))
    assert len(matcher) == 0


@given(st.lists(st.integers(min_value=1, max_value=4), max_size=6), st.data())
def test_questions_may_be_asked_between_any_two_bytes(groups: list[int], data: st.DataObject) -> None:
    """What was asked later never gets an earlier reply."""
    matcher: Replies[int] = Replies()
    asked = 0
    stream = b""
    matched = []
    for size in groups:
        matcher.expect(range(asked, asked + size))
        stream += b"".join(encoded(b"%d" % number) for number in range(asked, asked + size))
        asked += size
        taken = data.draw(st.integers(min_value=0, max_value=len(stream)))
        matched += matcher.take(stream[:taken])
        stream = stream[taken:]
    matched += matcher.take(stream)
    assert matched == [(number, b"%d" % number) for number in range(asked)]


@given(st.lists(VALUES, max_size=4), OTHERS | st.binary(min_size=1, max_size=12), st.integers(min_value=0))
def test_after_nonsense_nothing_is_matched_wrongly(values: list[bytes], other: bytes, place: int) -> None:
    """One question more than there are values waits for what is no value."""
    matcher: Replies[int] = Replies()
    matcher.expect(range(len(values) + 1))
    matched: list[tuple[int, object]] = []
    with suppress(NonsenseError):
        for data in cut(b"".join(map(encoded, values)) + other, [place]):
            matched += matcher.take(data)
    assert matched[: len(values)] == list(enumerate(values))[: len(matched)]


@given(OTHERS)
def test_what_is_no_answer_to_a_get_is_nonsense(other: bytes) -> None:
    matcher: Replies[str] = Replies()
    matcher.expect(["a", "b"])
    with pytest.raises(NonsenseError):
        matcher.take(other)


def test_an_answer_that_nobody_asked_for_is_nonsense() -> None:
    matcher: Replies[str] = Replies()
    matcher.expect(["a"])
    with pytest.raises(NonsenseError):
        matcher.take(encoded(b"1") + encoded(b"2"))


def test_a_length_that_is_no_number_is_nonsense() -> None:
    matcher: Replies[str] = Replies()
    matcher.expect(["a"])
    with pytest.raises(NonsenseError):
        matcher.take(b"$x\r\n")


@given(st.binary(max_size=30))
def test_a_key_may_hold_any_bytes(key: bytes) -> None:
    assert get_command(key) == b"*2\r\n$3\r\nGET\r\n" + encoded(key)
