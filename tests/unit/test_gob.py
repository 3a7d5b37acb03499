"""The gob stream of Acra's v1 bundles: read as it was written, whoever wrote it, and refused otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyfs.core import gob
from keyfs.errors import MaterialCorrupt

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bundles" / "manifest.json").read_bytes()
)
STREAMS = [pytest.param(vector, id=vector["name"]) for vector in VECTORS if vector["gob"]]
TYPES = bytes.fromhex(
    "0dff81020102ff820001ff800000207f030102ff8000010201044e616d65010c000107436f6e74656e74010a000000"
)


@pytest.mark.parametrize("vector", STREAMS)
def test_what_acra_wrote_is_read_and_written_alike(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["gob"])
    records = gob.decode(data)
    if vector["keys"]:
        assert {name: content.hex() for name, content in records} == vector["keys"]
    assert records
    assert gob.encode(records) == data


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536, 70000])
def test_contents_of_every_length_come_back(size: int) -> None:
    records = [("a" * min(size, 300), bytes(size)), ("", b""), ("é", b"\xff" * size)]
    assert gob.decode(gob.encode(records)) == records


def test_an_empty_list_is_a_list() -> None:
    assert gob.decode(gob.encode([])) == []


def test_other_numbers_of_types_and_another_order_of_fields_are_read() -> None:
    """A stream by a program that sent other types before: 70 is a list of 71, which has Content first."""
    slice_70 = bytes.fromhex("ff8b 0201 02ff8c 0001 ff8e 0000".replace(" ", ""))
    fields = b"\x01\x02" + b"\x01\x07Content\x01\x0a\x00" + b"\x01\x04Name\x01\x0c\x00"
    struct_71 = bytes.fromhex("ff8d 0301 02ff8e 00".replace(" ", "")) + fields + b"\x00\x00"
    value = bytes.fromhex("ff8c 00 01".replace(" ", "")) + b"\x01\x02\x01\x02\x01\x01x\x00"
    stream = b"".join(bytes([len(message)]) + message for message in (slice_70, struct_71, value))
    assert gob.decode(stream) == [("x", b"\x01\x02")]


BROKEN = {
    "nothing": b"",
    "no value": TYPES,
    "text": b"not a gob stream at all",
    "a message longer than the rest": TYPES + b"\xf8" + b"\xff" * 8 + b"\xff\x82\x00\x01",
    "a number of nine bytes": TYPES + b"\xf7" + b"\xff" * 9,
    "a count of records that are not there": TYPES + b"\x08\xff\x82\x00\xfc\x7f\xff\xff\xff",
    "a name longer than the message": TYPES + b"\x0a\xff\x82\x00\x01\x01\xfc\x7f\xff\xff\xff",
    "a third field": TYPES + b"\x08\xff\x82\x00\x01\x03\x01x\x00",
    "bytes behind the value": gob.encode([("x", b"y")]) + b"\x00",
    "bytes behind the last record": TYPES + b"\x06\xff\x82\x00\x01\x00\x00",
    "a value of an unknown type": TYPES + b"\x05\xff\x92\x00\x01\x00",
    "a list of itself": bytes.fromhex("0dff81020102ff820001ff82000005ff82000100"),
    "a name that is no text": TYPES + b"\x08\xff\x82\x00\x01\x01\x01\xff\x00",
    "a list without its zero": TYPES + b"\x05\xff\x82\x01\x01\x00",
}


@pytest.mark.parametrize("stream", BROKEN.values(), ids=BROKEN)
def test_anything_else_is_refused_in_one_way(stream: bytes) -> None:
    with pytest.raises(MaterialCorrupt, match="not a list of keys that Acra wrote") as caught:
        gob.decode(stream)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("vector", STREAMS)
def test_a_stream_that_is_cut_short_is_refused(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["gob"])
    for size in range(len(data)):
        with pytest.raises(MaterialCorrupt):
            gob.decode(data[:size])
