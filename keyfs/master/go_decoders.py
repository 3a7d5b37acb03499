"""Go's base64 and JSON decoders, as Acra's master keys meet them, made to leave no copy of a key behind."""

import json
from collections.abc import Iterable
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import allocate, wipe_immutable

LINE_BREAKS: Final = frozenset(b"\r\n")
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES: Final = {code: value for value, code in enumerate(_ALPHABET)}
_PADDING: Final = ord("=")
_PADDING_MAX: Final = 2
_SPACES: Final = frozenset(b" \t\r\n")  # those of JSON

Text = bytes | bytearray | memoryview
Members = list[tuple[str, object]]
"""The members of a JSON object in order, repeats included."""


def from_base64(text: Text | str) -> Secret | None:
    """The decoded bytes, in memory of their own; None for anything that Go's standard decoder refuses.

    Padding is required, CR and LF are skipped anywhere, nothing else is; non-zero bits behind the last byte
    do not count. Decoded here, number by number, because Python's own decoder works on the C
    stack and leaves the key there.
    """
    room = allocate(len(text) * 3 // 4 + 1)
    end = _decode(map(ord, text) if isinstance(text, str) else text, room)
    if end is None:
        room[:] = bytes(len(room))
        return None
    return Secret.adopt(room[:end])


def json_members(document: Secret) -> Members | None:
    """The members of the JSON object in *document*; None when it is anything else.

    Python's decoder makes text of every value. `wipe_members` overwrites it where it is ASCII and stands in
    the object itself, as key text does; what an escape sequence made it copy is beyond reach.
    """
    first = next((code for code in document.view() if code not in _SPACES), None)
    if first != ord("{"):  # said without a copy: all but every v1 key ends here
        return None
    text = str(
        document.view(), "utf-8", "replace"
    )  # as Go does; keys are ASCII, so only other members change
    members = _parsed(text)
    wipe_immutable(text)
    return members


def wipe_members(members: Members) -> None:
    """Empty *members*, and overwrite the texts that nobody else has."""
    while members:
        _, value = members.pop()
        if isinstance(value, str):
            wipe_immutable(value)


def _decode(codes: Iterable[int], room: memoryview) -> int | None:
    """Decode into *room*; how many bytes that were, None if *codes* are not base64."""
    count = padding = bits = width = end = 0
    for code in codes:
        if code in LINE_BREAKS:
            continue
        count += 1
        if code == _PADDING:
            padding += 1
            continue
        value = _VALUES.get(code)
        if value is None or padding:
            return None
        bits, width = bits << 6 | value, width + 6
        if width >= 8:  # noqa: PLR2004 - the bits of a byte
            width -= 8
            room[end] = bits >> width
            bits &= (1 << width) - 1
            end += 1
    return end if count % 4 == 0 and padding <= _PADDING_MAX else None


def _parsed(text: str) -> Members | None:
    try:
        value = json.loads(
            text,
            object_pairs_hook=tuple,
            parse_int=len,  # no number is ever used, and int() refuses long ones that Go lets pass
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError):
        return None
    return list(value) if isinstance(value, tuple) else None


def _refuse_constant(name: str) -> None:
    """Python's decoder knows NaN and Infinity; JSON and Go do not.

    Raises:
        ValueError: always.
    """
    raise ValueError(name)
