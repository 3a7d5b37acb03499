"""Values in Redis are base64 as Acra writes it, and as Go reads it."""

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs.errors import MaterialCorrupt
from keyfs.store.facts import unpack
from keyfs.store.redis_values import MODE, decode, encode, packed, plain, undecodable

VECTORS = Path(__file__).parents[1] / "vectors"


@given(st.binary(max_size=300))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    blob = decode("key", encode(data))
    assert blob.data == data
    assert blob == plain(data)
    assert (blob.stat.size, blob.stat.mtime_ns, blob.stat.mode) == (len(data), None, MODE)


def test_values_are_byte_for_byte_those_of_acra() -> None:
    dump = json.loads((VECTORS / "small-redis.json").read_bytes())
    keys = [entry for entry in dump["entries"] if entry["key"].startswith(dump["keys_dir"] + "/")]
    assert len(keys) > 10
    for entry in keys:
        value = entry["value"].encode()
        assert encode(decode(entry["key"], value).data) == value


@pytest.mark.parametrize("gap", [b"\n", b"\r\n", b"\r", b"\n\n"])
def test_line_ends_are_tolerated_anywhere(gap: bytes) -> None:
    data = bytes(range(100))
    value = base64.b64encode(data)
    for place in (0, 1, 50, len(value) - 1, len(value)):
        assert decode("key", value[:place] + gap + value[place:]).data == data
    assert decode("key", base64.encodebytes(data)).data == data


@pytest.mark.parametrize(
    "value",
    [
        b"A",
        b"AA",
        b"AAA",
        b"AA=",
        b"AAAA=",
        b"AA==AAAA",
        b"=",
        b"====",
        b"AA AA===",
        b" AAAA",
        b"AAAA ",
        b"AAAA\0",
        b"AAAA====",
        b"AAAAA===",
        b"AA-_",
        b"AA==\x80",
        "ключ".encode(),
        b"{}",
        b"AAA\t=",
    ],
)
def test_what_is_no_base64_is_corrupt(value: bytes) -> None:
    """The message has the name and nothing of the value."""
    with pytest.raises(MaterialCorrupt) as caught:
        decode("alice_hmac", value)
    assert str(caught.value) == "alice_hmac holds no base64 in Redis"


@given(st.binary(max_size=60))
def test_any_value_is_a_blob_or_corrupt(value: bytes) -> None:
    try:
        blob = decode("key", value)
    except MaterialCorrupt:
        assert undecodable(value).size == len(value)
    else:
        assert encode(blob.data)[:-4] == value.replace(b"\n", b"").replace(b"\r", b"")[:-4]


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_equal_identities_mean_equal_bytes(one: bytes, other: bytes) -> None:
    """A value that cannot be decoded has the identity of none that can."""
    same = one == other
    assert (plain(one).stat.identity == plain(other).stat.identity) == same
    assert (undecodable(one).identity == undecodable(other).identity) == same
    assert undecodable(one).identity != plain(other).stat.identity


def read_by_rule(value: bytes) -> bytes | None:
    """What Go reads, by its rule: standard alphabet and padding, ends of lines left out."""
    text = value.replace(b"\n", b"").replace(b"\r", b"")
    is_base64 = len(text) % 4 == 0 and re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", text)
    return base64.b64decode(text) if is_base64 else None


@given(st.text("AZ09+/==\n\r -_", max_size=13).map(str.encode) | st.binary(max_size=8), st.booleans())
def test_every_value_is_read_by_the_rule(value: bytes, is_plain: bool) -> None:
    """And its facts are those of the bytes, or of what cannot be read."""
    data = value if is_plain else read_by_rule(value)
    facts = unpack(packed(value, is_plain=is_plain))
    if data is None:
        assert facts == undecodable(value)
        with pytest.raises(MaterialCorrupt):
            decode("key", value)
    else:
        assert facts == plain(data).stat
        assert is_plain or decode("key", value) == plain(data)
