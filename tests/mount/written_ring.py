"""One key that a test writes to through the mount, and what became of it on both sides."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyfs.core.stamps import is_stamp
from keyfs.testing.live import LiveStore

OLD = hashlib.blake2b(b"old", digest_size=32).digest()
NEW = b"new".ljust(32, b".")


@dataclass(frozen=True, slots=True)
class Ring:
    """A key of its own for each test, in a store that tests share."""

    live: LiveStore
    label: str
    directory: Path

    @property
    def current(self) -> Path:
        return self.directory / "current"

    def shell(self, script: str, new: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs a bash script in the key's directory; `$NEW` is the file with the new bytes."""
        environment = {"PATH": os.environ["PATH"], "NEW": str(new), "PYTHON": sys.executable}
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, script: str, new: Path | None = None) -> None:
        """As `shell`; the script must succeed, and say nothing of an error."""
        ran = self.shell(script, new)
        assert (ran.returncode, ran.stderr) == (0, "")

    def contents(self) -> list[bytes]:
        """All versions as they lie in the store, oldest first."""
        return list(self.live.versions(self.label).values())

    def shown(self) -> list[bytes]:
        """All versions as the mount shows them: in the order of their names, `current` last."""
        stamps = sorted(name for name in os.listdir(self.directory) if is_stamp(name))
        return [(self.directory / name).read_bytes() for name in [*stamps, "current"]]


def ring_of(live: LiveStore, request: pytest.FixtureRequest, purpose: str, material: bytes | None) -> Ring:
    """A new key of one version, named after the test."""
    client = "c" + hashlib.blake2b(request.node.nodeid.encode(), digest_size=8).hexdigest()
    label = f"{purpose}/{client}"
    return Ring(live, label, live.make(label, material))


def key_file(folder: Path) -> Path:
    """A file with the key `NEW`, as its owner alone may read it."""
    path = folder / "new"
    path.write_bytes(NEW)
    path.chmod(0o600)
    return path
