"""Key rings whose signature holds, whatever is in them: an answer or one typed error, within bounded memory.

Who has the signature key may write anything; so may a bug of another program that has it.
"""

from contextlib import suppress
from typing import Final

import pytest
from bounded_memory import within_memory
from hypothesis import given
from hypothesis import strategies as st

from keyfs.broker.bundle_check import check_bundle
from keyfs.broker.bundles import read_bundle
from keyfs.broker.check import check
from keyfs.broker.inventory import inventory
from keyfs.core.names import Half, parse_key_ref
from keyfs.core.rings import NO_CURRENT, KeyData, Ring, RingKey
from keyfs.core.secret import Secret
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import KeyfsError, MaterialCorrupt, RingInvalid, UnsealFailed
from keyfs.seal.bundles import Format, Lock, new_key
from keyfs.seal.exports import encode_rings, seal_export
from keyfs.seal.ring_der import RING_TYPE, encode_payload, encode_ring
from keyfs.seal.signature import ALGORITHM, RING_CONTEXT, Signer
from keyfs.testing.builders import Keys
from keyfs.testing.medium import Medium
from keyfs.testing.ring_stores import SIGNATURE_KEY, SINCE_NS, codec, put_ring, ring_at, rings_in_memory

REF: Final = parse_key_ref("storage-sym/alice")
PATH: Final = "client/alice/storage-sym"
LOCK: Final = Lock(new_key(Format.ACRA_V2))
SECONDS = st.integers(-631_152_000, 2_524_607_999).map(lambda seconds: seconds * NANOSECONDS)
BLOBS = st.none() | st.binary(max_size=80)
DATA = st.builds(KeyData, st.integers(0, 4), BLOBS, BLOBS, BLOBS)
NUMBERS = st.integers(-2, 6) | st.integers(-(2**70), 2**70)
KEYS = st.builds(
    RingKey, NUMBERS, st.integers(-1, 8), SECONDS, SECONDS, st.lists(DATA, max_size=2).map(tuple)
)
RINGS = st.builds(Ring, st.binary(max_size=30), st.lists(KEYS, max_size=5).map(tuple), NUMBERS)
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 3), st.binary(max_size=5)),
    min_size=1,
    max_size=4,
)


def length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    width = (size.bit_length() + 7) // 8
    return bytes([0x80 | width]) + size.to_bytes(width, "big")


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag]) + length(len(body)) + body


def signed(payload: bytes) -> bytes:
    """Any bytes as the payload of a ring, signed as they are."""
    signature = Signer(Secret(SIGNATURE_KEY)).sign(RING_CONTEXT + PATH.encode(), payload)
    oid = bytes.fromhex("060960864801650304 0201".replace(" ", ""))
    return tlv(0x30, payload, tlv(0x31, tlv(0x30, oid, tlv(0x04, signature.value))))


def edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Some bytes taken out at some places, and others put in."""
    found = bytearray(data)
    for place, removed, added in edits:
        start = int(place * len(found))
        found[start : start + removed] = added
    return bytes(found)


def payload_of(ring: Ring) -> bytes:
    return encode_payload(RING_TYPE, SINCE_NS, encode_ring(ring))


def test_what_is_signed_here_is_what_is_signed_there() -> None:
    assert ALGORITHM == "2.16.840.1.101.3.4.2.1"
    ring = Ring(PATH.encode())
    assert signed(payload_of(ring)) == codec().seal(PATH, ring, SINCE_NS)


@given(RINGS, EDITS)
def test_a_signed_payload_is_a_ring_or_refused(ring: Ring, edits: list[tuple[float, int, bytes]]) -> None:
    """And what is read is written again, and reads the same."""
    data = signed(edited(payload_of(ring), edits))

    def look() -> None:
        with suppress(RingInvalid):
            read = codec().open(PATH, data)
            again = codec().open(PATH, codec().seal(PATH, read, SINCE_NS))
            assert again == read

    within_memory(look)


@given(RINGS, EDITS)
def test_a_ring_with_anything_in_it_harms_no_other_key(
    ring: Ring, edits: list[tuple[float, int, bytes]]
) -> None:
    medium = Medium()
    other = parse_key_ref("hmac-sym/alice")
    keys = rings_in_memory(medium)
    keys.writer.generate(other)
    value = keys.secret(other)
    medium.put(f"{PATH}.keyring", signed(edited(payload_of(ring), edits)))
    assert look_at_all(rings_in_memory(medium))[other] == [value]


def look_at_all(keys: Keys) -> dict[object, list[bytes]]:
    """Everything that one can ask; each answer is one, or a typed error."""
    inventory(keys.keys, with_history=True)
    check(keys.keys, settle_s=0)
    found: dict[object, list[bytes]] = {}
    for ring in keys.keys.rings():
        for version in ring.versions:
            for half in Half:
                with suppress(KeyfsError):
                    found.setdefault(ring.ref, []).append(
                        keys.keys.read(ring.ref, version.id, half)[0].material.reveal()
                    )
            with suppress(KeyfsError):
                keys.keys.states.demand(ring.ref, version.id)
    return found


@given(RINGS)
def test_any_ring_is_rotated_or_left_alone(ring: Ring) -> None:
    """What it has is there afterwards, byte by byte."""
    medium = Medium()
    put_ring(medium, PATH, ring)
    before = ring_at(medium, PATH)
    keys = rings_in_memory(medium)
    look_at_all(keys)
    with suppress(KeyfsError):
        keys.writer.rotate(REF)
        after = ring_at(medium, PATH)
        assert [key.raw for key in after.keys if key.raw in {old.raw for old in before.keys}] == [
            key.raw for key in before.keys
        ]
        assert len(after.keys) == len(before.keys) + 1
        assert rings_in_memory(medium).secret(REF) == keys.secret(REF)
        return
    assert ring_at(medium, PATH) == before


@pytest.mark.parametrize(
    "size", ["84ffffffff", "8400ffffff", "88ffffffffffffffff", "80", "ff", "fe" + "ff" * 126]
)
@pytest.mark.parametrize("tag", [0x02, 0x04, 0x30, 0x31, 0x17, 0x81])
def test_a_length_that_lies_costs_nothing(tag: int, size: str) -> None:
    lie = bytes([tag]) + bytes.fromhex(size) + b"\x00" * 64
    whole = payload_of(Ring(PATH.encode()))

    def look() -> None:
        for payload in (lie, whole + lie, whole[:-3] + lie, tlv(0x30, lie), tlv(0x30, whole[2:6], lie)):
            with pytest.raises(RingInvalid):
                codec().open(PATH, signed(payload))

    within_memory(look)


@pytest.mark.parametrize("depth", [50, 5_000])
@pytest.mark.parametrize("tag", [0x30, 0x31, 0xA0])
def test_depth_inside_a_signed_ring_is_refused_or_carried(depth: int, tag: int) -> None:
    """An element that nobody knows is written again as it was, however deep it is."""
    deep = b""
    for _ in range(depth):
        deep = tlv(tag, deep)
    with pytest.raises(RingInvalid):
        codec().open(PATH, signed(deep))
    ring = codec().open(PATH, signed(payload_of(Ring(PATH.encode(), (), NO_CURRENT, (deep,)))))
    assert ring.rest == (deep,)
    assert codec().open(PATH, codec().seal(PATH, ring, SINCE_NS)) == ring


def test_the_largest_ring_takes_memory_in_proportion() -> None:
    """Thousands of versions without anything in them."""
    keys = tuple(RingKey(number, 6, SINCE_NS, SINCE_NS, ()) for number in range(1, 3_000))
    data = codec().seal(PATH, Ring(PATH.encode(), keys, 1), SINCE_NS)
    assert 1 << 16 < len(data) < 1 << 20
    within_memory(lambda: codec().open(PATH, data), 40 * len(data))


@given(st.lists(RINGS, max_size=3), EDITS)
def test_a_sealed_export_with_anything_in_it_is_a_backup_or_none(
    rings: list[Ring], edits: list[tuple[float, int, bytes]]
) -> None:
    """Acra's bundle of layout v2, under its right keys."""
    payload = edited(encode_rings(rings).reveal(), edits) or b"\0"
    sealed = seal_export(Secret(payload), LOCK.material, SINCE_NS)
    with suppress(MaterialCorrupt, UnsealFailed):
        check_bundle(read_bundle(sealed, LOCK)[1])
