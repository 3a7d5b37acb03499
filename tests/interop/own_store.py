"""A key store that keyfs itself makes with its commands, and what lies in its directories afterwards."""

import base64
import stat
from dataclasses import dataclass
from pathlib import Path

from independent_reader import Contents, read_store

from keyfs.testing.mounted import run_keyfs

MASTER_KEY = b"a master key thrown away at once"
ALL_KEYS = (
    "storage/alice",
    "storage-sym/alice",
    "hmac-sym/alice",
    "audit-log",
    "poison-record",
    "poison-record-sym",
)


@dataclass(frozen=True)
class OwnStore:
    """A key store in one directory, or in two when *public* is given."""

    root: Path
    public: Path | None = None

    @property
    def uri(self) -> str:
        return f"dir:{self.root}" + (f"?public={self.public}" if self.public else "")

    @property
    def environment(self) -> dict[str, str]:
        return {"KEYFS_STORE": self.uri, "ACRA_MASTER_KEY": base64.b64encode(MASTER_KEY).decode()}

    @property
    def beside(self) -> Path:
        """Where keyfs keeps what is its own."""
        return self.root.with_name(self.root.name + ".keyfs")

    def keyfs(self, *arguments: str, stdin: bytes = b"", **environment: str) -> bytes:
        """What a command that has to succeed prints."""
        done = run_keyfs(*arguments, environment=self.environment | environment, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, str]:
        """The exit code of a command that has to fail, and the one line that it says."""
        done = run_keyfs(*arguments, environment=self.environment | environment, stdin=stdin)
        assert done.returncode != 0
        assert done.stdout == b""
        line, *rest = done.stderr.decode().splitlines()
        assert not rest
        assert line.startswith("keyfs: ")
        return done.returncode, line

    def contents(self) -> Contents:
        """Everything, as the independent reader sees it."""
        return read_store(self.root, self.public, MASTER_KEY)

    def history(self, name: str) -> list[Path]:
        """The retired versions of one file, oldest first."""
        root = self.public if self.public and name.endswith(".pub") else self.root
        directory = root / f"{name}.old"
        return sorted(directory.iterdir()) if directory.is_dir() else []


def new_store(place: Path, *, split: bool = False) -> OwnStore:
    """An empty key store, made by `keyfs init`."""
    store = OwnStore(place / "keys", place / "public-keys" if split else None)
    store.keyfs("init")
    return store


def names_in(root: Path) -> set[str]:
    """Everything below a directory, by relative name; directories end in a slash."""
    return {f"{path.relative_to(root)}{'/' if path.is_dir() else ''}" for path in root.rglob("*")}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)
