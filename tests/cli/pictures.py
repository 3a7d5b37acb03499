"""A picture of a directory tree in which every change shows."""

import stat
from pathlib import Path

Picture = dict[str, tuple[int, int, int, int, bytes]]


def picture(root: Path) -> Picture:
    """Names, owners, modes, inodes, times and bytes; of directories too."""
    seen: Picture = {}
    for path in [root, *sorted(root.rglob("*"))]:
        facts = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
        seen[str(path.relative_to(root))] = (
            facts.st_mode,
            facts.st_uid,
            facts.st_ino,
            facts.st_mtime_ns,
            content,
        )
    return seen
