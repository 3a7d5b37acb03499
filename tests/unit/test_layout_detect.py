"""Which layout a key store has: only the exact marker of v2 makes it one."""

import pytest

from keyfs.layout.detect import MARKER, layout_name


@pytest.mark.parametrize(
    ("marker", "name"),
    [
        (b"Acra Keystore v2", "v2"),
        (None, "v1"),
        (b"", "v1"),
        (b"Acra Keystore v2\n", "v1"),
        (b"Acra Keystore v1", "v1"),
    ],
)
def test_the_marker_tells(marker: bytes | None, name: str) -> None:
    assert layout_name(marker) == name


def test_the_marker_lies_at_the_top() -> None:
    assert MARKER == "version"
