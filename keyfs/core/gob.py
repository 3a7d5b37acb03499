"""The Go gob stream in Acra's v1 bundles: a list of records, each with a Name (text) and a Content (bytes).

A stream is messages, each behind its length. The first ones define types, the last one is the value. Numbers
are one byte below 128, else the count of bytes negated and those bytes, big-endian; signed ones are shifted
left by one, and inverted if negative. A record is its fields, each behind the distance from the one before,
ended by a zero; fields that are empty are left out. (encoding/gob, "Encoding Details".)

Every length is checked against the bytes that are left before anything is read or made.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from keyfs.errors import MaterialCorrupt

Record = tuple[str, bytes]

_INT: Final = 2
_BYTES: Final = 5
_STRING: Final = 6
_SLICE, _STRUCT = 2, 3  # fields of Go's wireType, counted from 1
_SMALL: Final = 0x80
_BYTES_IN_NUMBER: Final = 8
_FIELDS: Final = {"Name": _STRING, "Content": _BYTES}
# What acra-keys writes before the value: []*struct{Name string; Content []byte} as type 65, of 64.
_TYPES: Final = bytes.fromhex(
    "0dff81020102ff820001ff800000207f030102ff8000010201044e616d65010c000107436f6e74656e74010a000000"
)
_LIST_TYPE: Final = 65


class _Types(NamedTuple):
    slices: dict[int, int]  # of what
    structs: dict[int, list[tuple[str, int]]]  # names and types of fields


def encode(records: Iterable[Record]) -> bytes:
    """The stream that acra-keys reads."""
    found = list(records)
    body = bytearray(_signed(_LIST_TYPE) + b"\0" + _number(len(found)))
    for name, content in found:
        last = 0
        for field, value in enumerate((name.encode(), content), 1):
            if value:
                body += _number(field - last) + _number(len(value)) + value
                last = field
        body += b"\0"
    return _TYPES + _number(len(body)) + bytes(body)


def decode(data: bytes) -> list[Record]:
    """The records in a stream.

    Raises:
        MaterialCorrupt: it is no such stream.
    """
    try:
        return _decode(data)
    except (_Broken, UnicodeDecodeError):
        pass
    raise MaterialCorrupt("the bundle opened, but what it holds is not a list of keys that Acra wrote")


class _Broken(Exception):
    """Not a stream, or not one of ours. Never leaves this module."""


class _Reader:
    """Takes values from the front of some bytes."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def take(self, size: int) -> memoryview:
        if size > len(self._data):
            raise _Broken
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def number(self) -> int:
        first = self.take(1)[0]
        if first < _SMALL:
            return first
        size = 0x100 - first
        if size > _BYTES_IN_NUMBER:
            raise _Broken
        return int.from_bytes(self.take(size), "big")

    def signed(self) -> int:
        number = self.number()
        return ~(number >> 1) if number & 1 else number >> 1

    def bytes(self) -> memoryview:
        return self.take(self.number())

    def text(self) -> str:
        return str(self.bytes(), "utf-8")

    def fields(self) -> Iterator[int]:
        """The numbers of a record's fields, counted from 1; whoever asks for the next has read this one."""
        number = 0
        while delta := self.number():
            number += delta
            yield number


def _decode(data: bytes) -> list[Record]:
    stream, types = _Reader(memoryview(data)), _Types({}, {})
    while len(stream):
        message = _Reader(stream.bytes())
        kind = message.signed()
        if kind < 0:
            _read_type(message, -kind, types)
            continue
        records = _read_list(message, kind, types)
        if len(message) or len(stream):
            raise _Broken
        return records
    raise _Broken


def _read_type(message: _Reader, number: int, types: _Types) -> None:
    """A wireType: of its fields exactly one is there, which is a record itself."""
    for kind in message.fields():
        if kind == _SLICE:
            types.slices[number] = _slice_of(message)
        elif kind == _STRUCT:
            types.structs[number] = _struct_of(message)
        else:
            raise _Broken
    if len(message):
        raise _Broken


def _slice_of(message: _Reader) -> int:
    element = 0
    for part in message.fields():
        if part == 1:
            _skip_common(message)
        elif part == 2:  # noqa: PLR2004 - Elem
            element = message.signed()
        else:
            raise _Broken
    return element


def _struct_of(message: _Reader) -> list[tuple[str, int]]:
    fields: list[tuple[str, int]] = []
    for part in message.fields():
        if part == 1:
            _skip_common(message)
        elif part == 2:  # noqa: PLR2004 - Field
            count = message.number()
            if count > len(message):
                raise _Broken
            fields = [_field_of(message) for _ in range(count)]
        else:
            raise _Broken
    return fields


def _skip_common(message: _Reader) -> None:
    """The name and the number that a type has beside its definition."""
    for part in message.fields():
        if part == 1:
            message.bytes()
        elif part == _INT:
            message.signed()
        else:
            raise _Broken


def _field_of(message: _Reader) -> tuple[str, int]:
    name, kind = "", 0
    for part in message.fields():
        if part == 1:
            name = message.text()
        elif part == _INT:
            kind = message.signed()
        else:
            raise _Broken
    return name, kind


def _read_list(message: _Reader, kind: int, types: _Types) -> list[Record]:
    """The value: a zero, because it is no record itself, how many there are, and they."""
    fields = types.structs.get(types.slices.get(kind, 0), [])
    if {name: type_ for name, type_ in fields if name in _FIELDS} != _FIELDS or len(fields) != len(_FIELDS):
        raise _Broken
    if message.number() != 0:
        raise _Broken
    count = message.number()
    if count > len(message):  # each has a byte at least
        raise _Broken
    return [_read_record(message, fields) for _ in range(count)]


def _read_record(message: _Reader, fields: list[tuple[str, int]]) -> Record:
    name, content = "", b""
    for number in message.fields():
        if number > len(fields):
            raise _Broken
        if fields[number - 1][0] == "Name":
            name = message.text()
        else:
            content = bytes(message.bytes())
    return name, content


def _number(value: int) -> bytes:
    if value < _SMALL:
        return bytes([value])
    size = (value.bit_length() + 7) // 8
    return bytes([0x100 - size]) + value.to_bytes(size, "big")


def _signed(value: int) -> bytes:
    return _number(value << 1)
