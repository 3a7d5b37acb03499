"""Bundles from anyone: an answer or one typed error, within bounded memory; what is written comes back."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest
from bounded_memory import within_memory
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyfs.broker.bundles import read_bundle, write_bundle
from keyfs.core import gob
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion, decode, encode
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.purposes import AUDIT_LOG, HMAC_SYM, STORAGE
from keyfs.core.secret import Secret
from keyfs.core.stamps import format_stamp
from keyfs.errors import InvalidSettings, LayoutUnsupported, MaterialCorrupt, UnsealFailed
from keyfs.layout.restoring import v1_names
from keyfs.layout.v1_bundles import from_records
from keyfs.seal.bundles import Format, Lock, recognise, seal_bundle

KEY = Lock(Secret(bytes(range(32))))
GOB = gob.encode([("alice_hmac", b"\x01" * 32), ("alice_hmac.old/2026-11-24T02:46:56.8", b"\x02" * 32)])
times = st.none() | st.integers(0, 2**62)
said: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "state": st.integers(1, 6),
        "why": st.text(max_size=1000),
        "said_ns": times,
        "destroy_at_ns": times,
        "is_forced": st.booleans(),
    },
)


@st.composite
def keys(draw: st.DrawFn) -> BundledKey:
    ref = draw(
        st.sampled_from(
            [KeyRef(AUDIT_LOG, None), KeyRef(STORAGE, "alice_storage"), KeyRef(HMAC_SYM, "b ob-")]
        )
    )
    stamps = sorted(draw(st.sets(st.integers(0, 2**60), max_size=4)))
    material = st.binary(min_size=1, max_size=80).map(Secret)
    versions = [
        BundledVersion(
            format_stamp(at), None, False, draw(times), at, draw(st.none() | material), None, **draw(said)
        )
        for at in stamps
    ]
    current = BundledVersion(
        CURRENT, None, True, draw(times), None, draw(material), draw(st.none() | material), **draw(said)
    )
    return BundledKey(ref, (*versions, current))


bundles = st.lists(keys(), max_size=3, unique_by=lambda key: key.ref).map(
    lambda found: Bundle("v1", 7, tuple(sorted(found, key=lambda key: str(key.ref))))
)


def flat(bundle: Bundle) -> list[object]:
    return [
        (
            key.ref,
            [(half, material.reveal()) for half, material in v.halves()],
            replace(v, secret=None, public=None),
        )
        for key in bundle.keys
        for v in key.versions
    ]


def refusing(work: Callable[[], object], *kinds: type[Exception]) -> None:
    with contextlib.suppress(*kinds):
        work()


@given(bundles)
def test_what_is_written_down_is_read_back(bundle: Bundle) -> None:
    with encode(bundle) as data:
        again = decode(data)
        assert flat(again) == flat(bundle)
        assert encode(again) == data


def test_a_bundle_in_which_nothing_is_said_has_the_form_of_the_first_ones() -> None:
    """Those that were written before states were in them are read, and no others are written."""
    version: dict[str, Any] = {
        "id": CURRENT,
        "public_id": None,
        "is_current": True,
        "created_ns": 5,
        "retired_ns": None,
    }
    version |= {"secret": b"k" * 32, "public": None, "number": "", "state": None, "until_ns": None}
    key = {"purpose": "hmac-sym", "client": "alice", "own": False, "versions": [version]}
    first = msgspec.msgpack.encode({"format": 1, "layout": "v1", "made_ns": 7, "keys": [key]})
    bundle = decode(Secret(first))
    assert bundle.keys[0].versions[0].secret == Secret(b"k" * 32)
    assert encode(bundle).reveal() == first
    version["why"] = ""  # what nobody said is not written
    other = msgspec.msgpack.encode({"format": 1, "layout": "v1", "made_ns": 7, "keys": [key]})
    with pytest.raises(MaterialCorrupt):
        decode(Secret(other))


@given(bundles)
def test_a_sealed_bundle_is_read_back(bundle: Bundle) -> None:
    sealed, left_out = write_bundle(bundle, KEY, Format.KEYFS)
    assert left_out == {}
    form, again = read_bundle(sealed, KEY)
    assert form is Format.KEYFS
    assert flat(again) == flat(bundle)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_backup_or_none(data: bytes) -> None:
    within_memory(lambda: refusing(lambda: decode(Secret(data)), MaterialCorrupt, LayoutUnsupported))


@given(bundles, st.data())
def test_a_damaged_backup_is_refused_or_another_one(bundle: Bundle, data: st.DataObject) -> None:
    """It lies under a seal; but one who knows the passphrase may write anything."""
    whole = bytearray(encode(bundle).reveal())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    refusing(lambda: encode(decode(Secret(whole))), MaterialCorrupt, LayoutUnsupported)


@pytest.mark.parametrize("head", ["dd", "c6", "db", "df"])
@pytest.mark.parametrize("size", ["ffffffff", "7fffffff", "00ffffff"])
def test_a_length_that_lies_costs_nothing(head: str, size: str) -> None:
    start = msgspec.msgpack.encode({"format": 1, "layout": "v1", "made_ns": 0, "keys": None})[:-1]
    data = start + bytes.fromhex(head + size) + b"\x01" * 64
    within_memory(lambda: refusing(lambda: decode(Secret(data)), MaterialCorrupt))


@pytest.mark.parametrize("depth", [50, 5000, 200_000])
def test_depth_is_refused(depth: int) -> None:
    for data in (b"\x91" * depth, b"\x81\xa6format" * depth):
        with pytest.raises(MaterialCorrupt):
            decode(Secret(data))


def test_a_later_format_is_told_from_damage() -> None:
    data = msgspec.msgpack.encode({"format": 2, "all": "else"})
    with pytest.raises(LayoutUnsupported, match="a later keyfs wrote it"):
        decode(Secret(data))
    with pytest.raises(LayoutUnsupported, match="later keyfs"):
        recognise(b"keyfs bundle 2 under a key\nxyz")


@given(st.binary(max_size=300))
@example(GOB)
@example(GOB[:-1])
def test_any_bytes_are_a_gob_list_or_none(data: bytes) -> None:
    within_memory(lambda: refusing(lambda: gob.decode(data), MaterialCorrupt))


def gob_message(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return b"\xfc" + len(body).to_bytes(4, "big") + body


def gob_number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else b"\xfc" + value.to_bytes(4, "big")


def expecting_refusal(stream: bytes) -> None:
    with pytest.raises(MaterialCorrupt):
        gob.decode(stream)


@pytest.mark.parametrize("number", ["f8ffffffffffffffff", "f87fffffffffffffff", "fc7fffffff", "fd00ffff"])
def test_a_number_in_a_gob_list_that_lies_costs_nothing(number: str) -> None:
    """As a length of a message, of a name, of a content; as a count of fields, of records; as a type."""
    lie, types = bytes.fromhex(number), gob.encode([])[:-5]
    assert gob.decode(types + gob_message(b"\xff\x82\x00\x00")) == []
    for stream in (
        lie + b"x" * 64,
        gob_message(lie, b"x" * 64),
        gob_message(b"\x01\x03\x02", lie, b"\x01" * 64),
        types + gob_message(b"\xff\x82\x00", lie, b"\x00" * 64),
        types + gob_message(b"\xff\x82\x00\x01\x01", lie, b"x" * 64),
        types + gob_message(b"\xff\x82\x00\x01\x01\x01x\x01", lie, b"x" * 64),
        types + gob_message(b"\xff\x82\x00\x01", lie, b"x" * 64),
    ):
        within_memory(partial(expecting_refusal, stream))


@pytest.mark.parametrize("depth", [10, 20_000])
def test_types_in_a_gob_list_that_lead_to_one_another_are_refused(depth: int) -> None:
    """Each is a list of the next one: nobody follows that."""
    chain = [
        gob_message(gob_number(2 * number - 1), b"\x02\x02", gob_number(2 * (number + 1)), b"\x00\x00")
        for number in range(65, 65 + depth)
    ]
    expecting_refusal(b"".join(chain) + gob_message(gob_number(2 * 65), b"\x00\x01\x00"))


def test_the_longest_gob_list_takes_memory_in_proportion() -> None:
    """Records of a byte each, with neither name nor content."""
    stream = gob.encode([("", b"")] * 50_000)
    within_memory(lambda: gob.decode(stream), 200 * len(stream))


@given(st.lists(st.tuples(st.integers(0, len(GOB) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_gob_list_is_refused_or_another_one(flips: list[tuple[int, int]]) -> None:
    data = bytearray(GOB)
    for place, value in flips:
        data[place] = value
    within_memory(lambda: refusing(lambda: from_records(gob.decode(bytes(data))), MaterialCorrupt))


@given(st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=90)), max_size=5))
def test_gob_lists_come_back(records: list[tuple[str, bytes]]) -> None:
    assert gob.decode(gob.encode(records)) == records


@given(
    st.lists(st.tuples(st.text(max_size=60), st.binary(max_size=50)), max_size=4, unique_by=lambda r: r[0])
)
@example(
    [("../../etc/passwd", b"x" * 32), ("/etc/passwd", b"x"), ("alice_hmac.old/../../x", b"y"), ("", b"")]
)
def test_no_name_of_acras_leads_anywhere_but_to_a_key(records: list[tuple[str, bytes]]) -> None:
    bundle = from_records(records)
    names = {item.name for key in bundle.keys for item in v1_names(key)}
    assert names | set(bundle.left_out) == {name for name, _ in records}
    assert not any(part in ("", ".", "..") for name in names for part in name.split("/"))


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_any_file_is_a_bundle_or_none(data: bytes) -> None:
    for head in (b"", b"keyfs bundle 1 under a key\n", b"\x00\x01\x01\x40", b"\x30"):
        refusing(
            lambda whole=head + data: read_bundle(whole, KEY),  # type: ignore[misc]  # mypy knows no type of a bound default
            *(MaterialCorrupt, UnsealFailed, LayoutUnsupported, InvalidSettings),
        )


@given(bundles, st.data())
def test_no_flipped_bit_of_a_sealed_bundle_goes_unnoticed(bundle: Bundle, data: st.DataObject) -> None:
    sealed = bytearray(seal_bundle(encode(bundle), KEY, Format.KEYFS, 0))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((UnsealFailed, MaterialCorrupt, InvalidSettings, LayoutUnsupported)):
        read_bundle(bytes(sealed), KEY)
