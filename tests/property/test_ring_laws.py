"""Laws of key rings: what is written is read, and damage is one typed error in bounded time."""

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.core.names import KeyRef, is_client_id
from keyfs.core.purposes import PURPOSES
from keyfs.core.rings import (
    KeyData,
    Ring,
    RingKey,
    contents_note,
    half_name,
    parse_contents,
    parse_half_name,
)
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import RingInvalid
from keyfs.layout.v2_names import key_at, path_of
from keyfs.testing.ring_stores import SINCE_NS, codec

PATH: Final = "client/alice/storage-sym"
FIRST_S: Final = -631_152_000  # 1950
LAST_S: Final = 2_524_607_999  # 2049
SECONDS = st.integers(FIRST_S, LAST_S).map(lambda seconds: seconds * NANOSECONDS)
BLOBS = st.none() | st.binary(max_size=100)
DATA = st.builds(KeyData, st.integers(1, 9), BLOBS, BLOBS, BLOBS)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
KEYS = st.builds(RingKey, NUMBERS, NUMBERS, SECONDS, SECONDS, st.lists(DATA, max_size=3).map(tuple))
RINGS = st.builds(Ring, st.binary(max_size=40), st.lists(KEYS, max_size=6).map(tuple), NUMBERS)
CLIENTS = st.text("abcXYZ019_- ", min_size=5, max_size=40)


def unordered(ring: Ring) -> Ring:
    """Without what reading adds, and the elements of its sets in one order."""
    keys = tuple(replace(key, raw=b"", data=tuple(sorted(key.data, key=repr))) for key in ring.keys)
    return replace(ring, keys=keys)


@given(RINGS)
def test_a_ring_reads_as_it_was_written(ring: Ring) -> None:
    der = codec().seal(PATH, ring, SINCE_NS)
    read = codec().open(PATH, der)
    assert unordered(read) == unordered(ring)
    assert codec().seal(PATH, read, SINCE_NS) == der


@given(RINGS, st.data())
def test_damage_is_one_typed_error(ring: Ring, data: st.DataObject) -> None:
    der = bytearray(codec().seal(PATH, ring, SINCE_NS))
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RingInvalid):
        codec().open(PATH, bytes(der))


@given(RINGS, st.data())
def test_what_is_cut_off_or_goes_on_is_refused(ring: Ring, data: st.DataObject) -> None:
    der = codec().seal(PATH, ring, SINCE_NS)
    cut = der[: data.draw(st.integers(0, len(der) - 1))]
    for bad in (cut, der + data.draw(st.binary(min_size=1, max_size=20))):
        with pytest.raises(RingInvalid):
            codec().open(PATH, bad)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_one_error(junk: bytes) -> None:
    for look in (codec().open, codec().look):
        with pytest.raises(RingInvalid):
            look(PATH, junk)


@given(RINGS, st.binary(min_size=32, max_size=48))
def test_another_key_verifies_nothing(ring: Ring, key: bytes) -> None:
    der = codec(key).seal(PATH, ring, SINCE_NS)
    with pytest.raises(RingInvalid):
        codec().open(PATH, der)


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_nesting_is_refused_at_once(depth: int) -> None:
    der = b""
    for _ in range(depth):
        size = len(der)
        length = bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8])
        length += b"" if size < 128 else size.to_bytes((size.bit_length() + 7) // 8, "big")
        der = b"\x30" + length + der
        if len(der) > 1 << 18:
            break
    with pytest.raises(RingInvalid):
        codec().open(PATH, der)


@given(RINGS)
def test_the_table_of_contents_tells_all_that_is_shown(ring: Ring) -> None:
    contents = parse_contents(contents_note(ring))
    shown = {(e.seqnum, e.state, e.since_ns, e.until_ns) for e in contents.entries}
    assert shown == {(k.seqnum, k.state, k.since_ns, k.until_ns) for k in ring.shown().values()}
    assert contents.current == ring.current
    assert len(ring.shown()) + len(ring.hidden()) == len(ring.keys)


@given(st.integers(1, 2**63 - 1), st.booleans(), CLIENTS)
def test_names_of_halves_are_one_to_one(seqnum: int, is_public: bool, client: str) -> None:
    name = f"client/{client}/storage.keyring"
    assert parse_half_name(half_name(name, seqnum, is_public=is_public)) == (name, seqnum, is_public)


@given(CLIENTS)
def test_paths_are_one_to_one_with_keys(client: str) -> None:
    assert is_client_id(client)
    for purpose in PURPOSES:
        if not purpose.is_legacy:
            ref = KeyRef(purpose, None if purpose.is_global else client)
            assert key_at(path_of(ref)) == (purpose, ref.client)


@given(st.text(max_size=30))
def test_what_is_read_as_a_half_is_called_so(text: str) -> None:
    for name in (text, f"a.keyring#{text}", f"{text}.keyring#1"):
        half = parse_half_name(name)
        if half is not None:
            assert half_name(half[0], half[1], is_public=half[2]) == name
