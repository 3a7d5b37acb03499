"""Known keys that nobody must ever see, and a scanner that knows them in any dress.

Tests put them where real keys go. What is printed, logged, raised, passed as an argument or left on a disk
afterwards must not hold them. A file that a test writes a key to on purpose has a name that ends in
`EXEMPT_SUFFIX`.
"""

import os
import stat
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from keyfs.seal.containers import encode_private

EXEMPT_SUFFIX: Final = ".canary-input"
_FRAGMENT: Final = 12  # bytes; a leak of 23 or more in a row holds one whole, and chance does not


def _derived(label: str, size: int) -> bytes:
    return blake2b(label.encode(), digest_size=size, person=b"keyfs canary").digest()


MASTER_KEY: Final = _derived("master key", 48)
SYMMETRIC: Final = _derived("symmetric key", 32)
TEXT: Final = _derived("text key", 16).hex().encode()  # 32 characters, as `echo KEY > current` writes them
_SCALAR: Final = _derived("private key", 31).rjust(32, b"\1")
PRIVATE: Final = bytes(encode_private(int.from_bytes(_SCALAR, "big")))
_SECRETS: Final = {
    "master key": MASTER_KEY,
    "symmetric key": SYMMETRIC,
    "text key": TEXT,
    "private key": _SCALAR,
}


def found_in(data: bytes | str) -> list[str]:
    """Which of the keys *data* holds, even in part, and in which dress: `master key as hex`."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return sorted({name for pattern, name in _PATTERNS.items() if pattern in raw})


def left_below(root: Path) -> dict[Path, list[str]]:
    """The files below *root* that hold a key in their bytes or their name, exempt ones left out.

    Looks into no other file system, so that a mount's own files are not taken for files on a disk.
    """
    device = root.stat().st_dev
    found: dict[Path, list[str]] = {}
    for directory, subdirectories, names in os.walk(root):
        place = Path(directory)
        subdirectories[:] = [name for name in subdirectories if (place / name).lstat().st_dev == device]
        for path in (place / name for name in names if not name.endswith(EXEMPT_SUFFIX)):
            seen = found_in(os.fsencode(path.name)) + _found_in_file(path)
            if seen:
                found[path] = seen
    return found


def _found_in_file(path: Path) -> list[str]:
    try:
        return found_in(path.read_bytes()) if stat.S_ISREG(path.lstat().st_mode) else []
    except FileNotFoundError:
        return []  # a program that a test started is still cleaning up


def _dresses(secret: bytes) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(secret) - _FRAGMENT + 1, _FRAGMENT):
        fragment = secret[start : start + _FRAGMENT]
        yield "raw bytes", fragment
        for separator in ("", " ", ":"):
            digits = fragment.hex(separator) if separator else fragment.hex()
            yield "hex", digits.encode()
            yield "hex", digits.upper().encode()
        yield "hex", "".join(f"\\x{byte:02x}" for byte in fragment).encode()
        yield "a Python literal", repr(fragment)[2:-1].encode()
        yield "numbers", ", ".join(map(str, fragment)).encode()
    for shift in range(3):  # where in a group of three bytes the key begins
        for encoded in (b64encode(bytes(shift) + secret), urlsafe_b64encode(bytes(shift) + secret)):
            inner = encoded[4:-4]  # whole groups of the key's own bytes
            for start in range(0, len(inner) - 15, 16):
                yield "base64", inner[start : start + 16]


_PATTERNS: Final[dict[bytes, str]] = {}
for _name, _secret in _SECRETS.items():
    for _dress, _pattern in _dresses(_secret):
        _PATTERNS.setdefault(_pattern, f"{_name} as {_dress}")
