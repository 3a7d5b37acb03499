"""A clock that stands still, or is set back, costs no version and no order."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dying import Change, Place, assert_mends, assert_survived, die_at, values

from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.stamps import NANOSECONDS, format_stamp
from keyfs.layout.base import Slot
from keyfs.layout.v1_ring import build_ring
from keyfs.store.base import BlobStat

PAIR = KeyRef(p.STORAGE, "alice")
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
NOW = time.time_ns()
YEAR = 365 * 24 * 3600 * NANOSECONDS
FIRST_SWITCH = 8

CLOCKS: dict[str, Callable[[int], int]] = {
    "stands still": lambda _number: NOW,
    "runs backwards": lambda number: NOW - number * NANOSECONDS,
    "is set back by a year": lambda number: NOW if number < 3 else NOW - YEAR,
    "jumps ahead and back": lambda number: NOW + (YEAR if number == 2 else 0),
    "has whole seconds only": lambda number: (NOW // NANOSECONDS + number // 2) * NANOSECONDS,
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "keys").mkdir(0o700)
    return Place(tmp_path / "keys")


def writer_at(place: Place, time_ns: int) -> RingWriter:
    return RingWriter(place.open()[0], lambda: time_ns)


def rotation_at(time_ns: int, ref: KeyRef) -> Change:
    return lambda keys, _writer: RingWriter(keys, lambda: time_ns).rotate(ref)


@pytest.mark.parametrize("ref", [PAIR, SYMMETRIC], ids=str)
@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
def test_versions_stay_apart_and_in_order(place: Place, ref: KeyRef, clock: Callable[[int], int]) -> None:
    writer_at(place, clock(0)).generate(ref)
    made = [values(place.open()[0], ref)[CURRENT]]
    for number in range(1, 8):
        writer_at(place, clock(number)).rotate(ref)
        made.append(values(place.open()[0], ref)[CURRENT])
    now = values(place.open()[0], ref)
    assert list(now.values()) == made
    assert list(now) == sorted(now)
    assert_mends(place, ref)


@pytest.mark.parametrize("ref", [PAIR, SYMMETRIC], ids=str)
@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS.keys())
def test_a_crash_and_a_strange_clock_together(place: Place, ref: KeyRef, clock: Callable[[int], int]) -> None:
    writer_at(place, clock(0)).generate(ref)
    for number in range(1, 8):
        before = values(place.open()[0], ref)
        die_at(number % 4 + FIRST_SWITCH - 3, place, rotation_at(clock(number), ref))
        assert_survived(place, ref, before)
        before = values(place.open()[0], ref)
        writer_at(place, clock(number)).rotate(ref)
        assert_survived(place, ref, before)
    now = values(place.open()[0], ref)
    assert len(now) >= 8
    assert list(now) == sorted(now)
    assert_mends(place, ref)


def test_a_long_history_with_one_half_missing_is_sorted_out_in_no_time() -> None:
    """The halves do not pair by rank then; comparing each with each took minutes."""
    blobs = {}
    for number in range(5000):
        for half, delay in ((Half.SECRET, 0), (Half.PUBLIC, 300_000)):
            stamp = format_stamp(NOW + number * NANOSECONDS + delay)
            stat = BlobStat(89, NOW + number, 0o600, f"{half}{number}")
            blobs[Slot(PAIR, half, stamp)] = (f"{half}/{stamp}", stat)
    del blobs[Slot(PAIR, Half.PUBLIC, format_stamp(NOW + 7 * NANOSECONDS + 300_000))]
    begin = time.process_time()
    ring = build_ring(PAIR, blobs)
    assert time.process_time() - begin < 5
    assert [number for number, version in enumerate(ring.versions) if version.public is None] == [7]
    assert len(ring.versions) == 5000
