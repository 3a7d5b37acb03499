"""An ordinary user beside the root that runs the tests, in a mount namespace that ends with the script."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from types import MappingProxyType
from typing import Final

from keyfs.testing.mounted import LEAVE_OTHER_MOUNTS, keyfs_environment

NOBODY: Final = 65534
_NEEDED: Final = (Path(sys.base_prefix), Path(sys.prefix), Path(__file__).resolve().parents[2])
_PRELUDE: Final = """
set -eu
mount -t tmpfs -o mode=755 none /mnt
cp -a ./* /mnt
chown -R $NOBODY:$NOBODY /mnt/*
cd /mnt
export HOME=/mnt KEYFS_STORE=/mnt/keys KEYFS_MASTER_KEY=file:/mnt/master.key
nobody() { setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups "$@"; }
keyfs() { nobody "$PYTHON" -m keyfs "$@"; }
picture() { (cd /mnt && find . -printf '%p %m %U %T@ %i %s\\n' | sort); }
"""


def beside_nobody(
    place: Path, script: str, environment: Mapping[str, str] = MappingProxyType({})
) -> "subprocess.CompletedProcess[str]":
    """Run a bash script as root, in a copy of *place* that belongs to an ordinary user. Needs root.

    The copy, at /mnt, has a store `keys` and its `master.key`. In the script `keyfs` is the command run as
    that user, `nobody` runs any other one so, and `picture` prints all that could change.
    """
    variables = {"NOBODY": str(NOBODY), "PYTHON": sys.executable, **environment}
    whole = LEAVE_OTHER_MOUNTS + _PRELUDE + _ways() + script
    return subprocess.run(  # noqa: S603 - a test's own script
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", whole],  # noqa: S607 - as found by PATH
        env=keyfs_environment(variables),
        cwd=place,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )


def _ways() -> str:
    """Make ways to Python and this checkout, where they lie in a folder that others may not enter."""
    lines = []
    for closed in sorted({top for path in _NEEDED for top in _closed(path)}):
        inside = [path for path in _NEEDED if path.is_relative_to(closed)]
        for number, path in enumerate(inside):
            lines.append(f"mkdir -p /mnt/.way/{number}; mount --rbind {quote(str(path))} /mnt/.way/{number}")
        lines.append(f"mount -t tmpfs -o mode=755 none {quote(str(closed))}")
        for number, path in enumerate(inside):
            lines.append(f"mkdir -p {quote(str(path))}; mount --move /mnt/.way/{number} {quote(str(path))}")
        lines.append("rm -r /mnt/.way")
    return "\n".join((*lines, ""))


def _closed(path: Path) -> Iterator[Path]:
    """The topmost folder on the way to *path* that others may not enter, if there is one."""
    for folder in (*reversed(path.parents), path):
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            yield folder
            return
