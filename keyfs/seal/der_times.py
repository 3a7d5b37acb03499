"""Times in the DER of Acra's key rings: UTCTime, or GeneralizedTime where it is read, with any offset.

Source: Acra key store v2, "DER structure".
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat import asn1

from keyfs.core.stamps import NANOSECONDS

_UTC_TIME: Final = b"\x17"
_GENERALIZED_TIME: Final = b"\x18"
_ZONE: Final = rb"(?:Z|(?P<sign>[+-])(?P<hours>[01]\d|2[0-4])(?P<minutes>[0-5]\d))"
# Years, months, days, hours, minutes, seconds; only a UTCTime may be without the last.
_TIMES: Final = {
    _UTC_TIME: re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?" + _ZONE),
    _GENERALIZED_TIME: re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)" + _ZONE),
}
_LAST_YEAR: Final = 2049  # that a UTCTime can say; the first one is 1950
_LAST_NS: Final = int(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * NANOSECONDS
_FIRST_NS: Final = int(datetime(1950, 1, 1, tzinfo=UTC).timestamp()) * NANOSECONDS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def clamped_ns(time_ns: int) -> int:
    """The whole second before *time_ns*, or what of a UTCTime's years 1950 to 2049 is next to it."""
    return min(max(time_ns // NANOSECONDS * NANOSECONDS, _FIRST_NS), _LAST_NS)


def time_ns_of(tlv: asn1.TLV) -> int:
    """The moment that a UTCTime or a GeneralizedTime names.

    Raises:
        ValueError: it is none, or not written as Go writes it.
    """
    pattern = _TIMES.get(tlv.tag_bytes)
    match = None if pattern is None else pattern.fullmatch(bytes(tlv.data))
    if match is None:
        raise ValueError("a time is none")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if tlv.tag_bytes == _UTC_TIME:
        year += 1900 if year > _LAST_YEAR % 100 else 2000
    offset = timedelta(hours=int(match["hours"] or 0), minutes=int(match["minutes"] or 0))
    if match["sign"] is not None and not offset:
        raise ValueError("a time has an offset of zero, which is written Z")
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH
    seconds = (moment + offset if match["sign"] == b"-" else moment - offset) // timedelta(seconds=1)
    return seconds * NANOSECONDS


def utc_time(time_ns: int) -> asn1.UTCTime:
    """The moment as it is written, clamped."""
    return asn1.UTCTime(_EPOCH + timedelta(seconds=clamped_ns(time_ns) // NANOSECONDS))
