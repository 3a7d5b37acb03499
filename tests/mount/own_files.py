"""Looking at keys of own purposes in a mount."""

import os
from pathlib import Path

from keyfs.core.stamps import is_stamp

PEM = b"-----BEGIN THING-----\nAAEC\n-----END THING-----\n"


def stamps(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if is_stamp(name))


def history(directory: Path) -> list[bytes]:
    return [(directory / name).read_bytes() for name in [*stamps(directory), "current"]]
