"""Which layout a key store has: v2 has a `version` blob of exactly 16 bytes, v1 has not."""

from typing import Final

MARKER: Final = "version"
V2_MARK: Final = b"Acra Keystore v2"


def layout_name(marker: bytes | None) -> str:
    """`v1` or `v2`, from the content of the blob `MARKER` (None when absent)."""
    return "v2" if marker == V2_MARK else "v1"
