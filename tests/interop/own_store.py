"""A pytest plugin: key stores that keyfs itself makes with its commands, and what lies in them afterwards.

PYTEST_DONT_REWRITE: the tests import `OwnStore` from here before pytest knows of the plugin.
"""

import base64
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import run_here
from independent_reader import Contents, read_store

from keyfs.testing.mounted import run_keyfs

MASTER_KEY = b"a master key thrown away at once"
FILES = {
    "storage/alice": ("alice_storage", "alice_storage.pub"),
    "storage-sym/alice": ("alice_storage_sym",),
    "hmac-sym/alice": ("alice_hmac",),
    "audit-log": ("secure_log_key",),
    "poison-record": (".poison_key/poison_key", ".poison_key/poison_key.pub"),
    "poison-record-sym": (".poison_key/poison_key_sym",),
}
ALL_KEYS = tuple(FILES)
ALL_FILES = tuple(name for names in FILES.values() for name in names)


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
        """What a command that has to succeed prints. For another time zone it takes another process."""
        run = run_keyfs if "TZ" in environment else run_here
        done = run(*arguments, environment=self.environment | environment, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, str]:
        """The exit code of a command that has to fail, and the one line that it says."""
        done = run_here(*arguments, environment=self.environment | environment, stdin=stdin)
        assert done.returncode != 0
        assert done.stdout == b""
        line, *rest = done.stderr.decode().splitlines()
        assert not rest
        assert line.startswith("keyfs: ")
        return done.returncode, line

    def findings(self) -> list[tuple[str, str, str]]:
        """What `keyfs check` finds: verdict, code and place."""
        done = run_here("check", environment=self.environment)
        return [(v, c, w) for v, c, w, _ in (line.split("\t") for line in done.stdout.decode().splitlines())]

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


def three_versions(place: Path, *, split: bool) -> OwnStore:
    """A key store with all purposes, each generated and rotated twice."""
    store = new_store(place, split=split)
    for command in ("generate", "rotate", "rotate"):
        for key in ALL_KEYS:
            store.keyfs(command, key)
    return store


@pytest.fixture(scope="session")
def rotated_store(tmp_path_factory: pytest.TempPathFactory) -> OwnStore:
    """Three versions of everything in one directory. Tests only look at it."""
    return three_versions(tmp_path_factory.mktemp("rotated"), split=False)


@pytest.fixture(scope="session")
def split_store(tmp_path_factory: pytest.TempPathFactory) -> OwnStore:
    """Three versions of everything in two directories. Tests only look at it."""
    return three_versions(tmp_path_factory.mktemp("split"), split=True)


def names_in(root: Path) -> set[str]:
    """Everything below a directory, by relative name; directories end in a slash."""
    return {f"{path.relative_to(root)}{'/' if path.is_dir() else ''}" for path in root.rglob("*")}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def with_history(names: Iterable[str], store: OwnStore) -> set[str]:
    """The names, and those of their histories, as `names_in` tells them."""
    files = tuple(names)
    folders = {f"{name}.old/" for name in files}
    stamps = {f"{name}.old/{path.name}" for name in files for path in store.history(name)}
    return {*files, *folders, *stamps, ".poison_key/"}
