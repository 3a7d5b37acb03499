"""Lengths of time as people write them: a number and a unit."""

import re
from typing import Final

from keyfs.errors import InvalidSettings

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)


def age_s(text: str, where: str) -> float:
    """As `seconds`, of what is days as a rule: a bare number is not taken for one of seconds.

    Raises:
        InvalidSettings: it is none, or has no unit.
    """
    if text.isascii() and text.isdecimal() and text.strip("0"):
        raise InvalidSettings(f"{where}{text!r} has no unit: write {text}d for days, or s, m or h")
    return seconds(text, where)


def seconds(text: str, where: str = "") -> float:
    """How many seconds *text* is: `90s`, `15m`, `1h`, `7d`, or a bare number of seconds.

    Args:
        text: as somebody wrote it.
        where: what the error begins with.

    Raises:
        InvalidSettings: it is none of these.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidSettings(f"{where}{text!r} is no time: write a number and s, m, h or d, as in 15m")
    return float(match[1]) * _UNITS[match[2]]
