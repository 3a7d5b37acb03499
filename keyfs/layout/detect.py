"""Which layout a key store has: v2 has a `version` blob of exactly 16 bytes, v1 has not."""

from typing import Final

MARKER: Final = "version"
_V2: Final = b"Acra Keystore v2"


def layout_name(marker: bytes | None) -> str:
    """`v1` or `v2`, from the content of the blob `MARKER` (None when absent)."""
    return "v2" if marker == _V2 else "v1"
