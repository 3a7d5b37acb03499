"""Acra's rotation stamps: `YYYY-MM-DDTHH:MM:SS[.fraction]`, UTC, no zone.

The fraction has one to nine digits with trailing zeros removed and is absent, dot included, when it is
zero. Text order equals time order. (Key store v1, "Rotation and history".)
"""

import re
from datetime import UTC, datetime

from keyfs.errors import InvalidName

NANOSECONDS = 1_000_000_000
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?", re.ASCII)
_SECONDS = "%Y-%m-%dT%H:%M:%S"
# A file's time may be anything that touch(1) can say.
_FIRST_NS = -62_135_596_800 * NANOSECONDS
LAST_NS = 253_402_300_800 * NANOSECONDS - 1
# Leaves room for the stamps of the rotations to come.
FOLLOWED_NS = LAST_NS - 365 * 86_400 * NANOSECONDS


def format_stamp(time_ns: int) -> str:
    """The stamp of *time_ns* (nanoseconds since 1970, UTC)."""
    seconds, fraction = divmod(time_ns, NANOSECONDS)
    whole = datetime.fromtimestamp(seconds, UTC).strftime(_SECONDS)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{whole}.{digits}" if digits else whole


def parse_stamp(text: str) -> int:
    """The time of a stamp in nanoseconds since 1970.

    Raises:
        InvalidName: *text* is not a stamp.
    """
    match = _STAMP.fullmatch(text)
    if match is None:
        raise InvalidName(f"{text!r} is not a rotation stamp (YYYY-MM-DDTHH:MM:SS[.fraction])")
    try:
        whole = datetime.fromisoformat(f"{match[1]}Z")
    except ValueError as exc:
        raise InvalidName(f"{text!r} is not a date that exists") from exc
    return int(whole.timestamp()) * NANOSECONDS + int((match[2] or "").ljust(9, "0"))


def is_stamp(text: str) -> bool:
    """Whether `parse_stamp` would accept *text*."""
    try:
        parse_stamp(text)
    except InvalidName:
        return False
    return True


def rfc3339(time_ns: int) -> str:
    """*time_ns* as RFC 3339 text with microseconds, in UTC; outside the years 1 to 9999, their edge."""
    seconds, fraction = divmod(min(max(time_ns, _FIRST_NS), LAST_NS), NANOSECONDS)
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{whole}.{fraction // 1000:06d}Z"
