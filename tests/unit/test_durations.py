"""Lengths of time, as options take them."""

import pytest

from keyfs.core.durations import age_s, seconds
from keyfs.errors import InvalidSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("999999999", 999999999)],
)
def test_a_number_and_a_unit(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "1.5h", "1 h", "1H", "1w", "1h30m", "\u0661s", "1s\n", "9999999999"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="15m"):
        seconds(text)


def test_an_age_has_a_unit() -> None:
    """`--older-than 90` is meant to be days by whoever writes it, and would rotate nearly everything."""
    assert (age_s("90d", ""), age_s("0", "")) == (90 * 86400, 0)
    with pytest.raises(InvalidSettings, match="--older-than: '90' has no unit: write 90d for days"):
        age_s("90", "--older-than: ")
