"""The order of keyfs's file operations, by strace: that of Acra, with everything made durable in between."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_store import OwnStore, names_in, new_store

from keyfs.testing.mounted import keyfs_environment

TRACES = Path(__file__).parents[1] / "vectors" / "traces.json"
ACRA = [step for step in json.loads(TRACES.read_text())["directory_v1"] if step["argv"][0] == "generate"]
# What has to be done with keyfs to make the steps of the trace.
STEPS = ["generate hmac-sym/alice", "rotate hmac-sym/alice", "generate storage/alice"]
# With "?" it is no error that an architecture has no such call.
CALLS = (
    "openat ?open ?creat write pwrite64 fsync fdatasync"
    " ?mkdir mkdirat ?link linkat ?rename ?renameat renameat2 ?unlink unlinkat"
)
PATH = r'(?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]*)"'
PATTERNS = {
    "create": re.compile(rf"(?:openat|open|creat)\({PATH}, \S*O_CREAT"),
    "write": re.compile(r"(?:write|pwrite64)\(\w+<([^>]*)>.* = (\d+)$"),
    "sync": re.compile(r"(?:fsync|fdatasync)\(\w+<([^>]*)>"),
    "mkdir": re.compile(rf"mkdir(?:at)?\({PATH}"),
    "link": re.compile(rf"link(?:at)?\({PATH}, {PATH}"),
    "rename": re.compile(rf"rename(?:at2?)?\({PATH}, {PATH}"),
    "unlink": re.compile(rf"unlink(?:at)?\({PATH}"),
}


@dataclass(frozen=True)
class Operation:
    """One system call that succeeded."""

    what: str
    path: str
    other: str = ""  # the second path, or the number of bytes

    def __str__(self) -> str:
        return " ".join((self.what, self.path, self.other)).strip()


def operations(lines: Iterable[str]) -> list[Operation]:
    """The calls that change something, in order. Opening the same new file twice counts once."""
    found: list[Operation] = []
    for line in lines:
        if " = -1 " in line:
            continue
        for what, pattern in PATTERNS.items():
            match = pattern.match(line)
            if match is not None:
                operation = Operation(what, *match.groups())
                if what != "create" or operation not in found:
                    found.append(operation)
    return found


def in_terms_of_the_store(found: list[Operation], root: str) -> list[Operation]:
    """Paths relative to the store; a temporary under the name that it is going to have; stamps as STAMP."""
    target = {operation.path: operation.other for operation in found if operation.what == "rename"}

    def name(path: str) -> str:
        relative = target.get(path, path).removeprefix(root).removeprefix("/")
        return re.sub(r"\.old/\S+", ".old/STAMP", relative) or "."

    seen = []
    for operation in found:
        if operation.path == root or operation.path.startswith(f"{root}/") or operation.path in target:
            other = name(operation.other) if operation.what in ("link", "rename") else operation.other
            seen.append(Operation(operation.what, name(operation.path), other))
    return seen


def of_file(found: list[Operation], name: str) -> list[str]:
    """What happens to one key file and its history, without the syncs that Acra does not do."""
    return [
        str(operation)
        for operation in found
        if operation.path in (name, f"{name}.old") and operation.what != "sync"
    ]


@pytest.fixture(scope="module")
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("strace is missing: scripts/setup --test")
    return str(found)


@dataclass(frozen=True)
class Traced:
    store: OwnStore
    strace: str

    def under_strace(self, *options: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.strace, "-f", "-qq", *options, sys.executable, "-m", "keyfs", *command],
            env=keyfs_environment(self.store.environment) | {"PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
            capture_output=True,
            text=True,
        )

    def keyfs(self, *arguments: str) -> list[Operation]:
        """The operations of one command, in absolute paths."""
        log = self.store.root.parent / "strace.log"
        options = ["-y", "-s", "0", "-e", f"trace={','.join(CALLS.split())}", "-o", str(log)]
        done = self.under_strace(*options, command=arguments)
        assert done.returncode == 0, done.stderr
        lines = [re.sub(r"^\d+ +", "", line) for line in log.read_text().splitlines()]
        assert not [line for line in lines if "<unfinished" in line and str(self.store.root) in line]
        return operations(lines)

    def relative(self, *arguments: str) -> list[Operation]:
        """The operations of one command in the store."""
        return in_terms_of_the_store(self.keyfs(*arguments), str(self.store.root))


@pytest.fixture
def traced(strace: str, tmp_path: Path) -> Traced:
    return Traced(new_store(tmp_path), strace)


def test_the_order_is_that_of_acra(traced: Traced) -> None:
    """Exact file names, hard-link-then-rename order, private-before-public."""
    for step, acra in zip(STEPS, ACRA, strict=True):
        ours = traced.relative(*step.split())
        theirs = in_terms_of_the_store(operations(acra["syscalls"]), "DIR")
        names = [operation.path for operation in theirs if operation.what == "rename"]
        assert [operation.path for operation in ours if operation.what == "rename"] == names
        for name in names:
            assert of_file(ours, name) == of_file(theirs, name), step


def test_every_step_is_durable_before_the_next(traced: Traced) -> None:
    """All new bytes before the first link, each link before the first rename, the renames at the end."""
    traced.store.keyfs("generate", "storage/alice")
    found = [str(operation) for operation in traced.relative("rotate", "storage/alice")]
    assert found == [
        "create alice_storage",
        "write alice_storage 89",
        "sync alice_storage",
        "create alice_storage.pub",
        "write alice_storage.pub 45",
        "sync alice_storage.pub",
        "mkdir alice_storage.old",
        "sync .",
        "link alice_storage alice_storage.old/STAMP",
        "sync alice_storage.old",
        "mkdir alice_storage.pub.old",
        "sync .",
        "link alice_storage.pub alice_storage.pub.old/STAMP",
        "sync alice_storage.pub.old",
        "rename alice_storage alice_storage",
        "rename alice_storage.pub alice_storage.pub",
        "sync .",
    ]


def test_nothing_temporary_is_ever_in_the_store(traced: Traced) -> None:
    """Only finished files appear there, by rename or as hard links, and nothing is removed."""
    for arguments in (["generate", "poison-record"], ["rotate", "poison-record"]):
        root = f"{traced.store.root}/"
        inside = [o for o in traced.keyfs(*arguments) if o.path.startswith(root) and o.what != "sync"]
        assert {operation.what for operation in inside} <= {"mkdir", "link"}


def test_a_new_directory_is_durable_before_anything_is_in_it(traced: Traced) -> None:
    found = [str(operation) for operation in traced.relative("generate", "poison-record-sym")]
    made = found.index("mkdir .poison_key")
    assert found[made + 1] == "sync ."
    assert found[-2:] == ["rename .poison_key/poison_key_sym .poison_key/poison_key_sym", "sync .poison_key"]


def test_both_directories_are_durable_when_public_keys_lie_apart(strace: str, tmp_path: Path) -> None:
    traced = Traced(new_store(tmp_path, split=True), strace)
    found = traced.keyfs("generate", "storage/alice")
    last_rename = max(i for i, operation in enumerate(found) if operation.what == "rename")
    synced = {operation.path for operation in found[last_rename:] if operation.what == "sync"}
    assert synced == {str(traced.store.root), str(traced.store.public)}


# --- where link(2) fails ---

STORE_FULL, STORE_UNAVAILABLE = 15, 16


def without_links(traced: Traced, error: str) -> subprocess.CompletedProcess[str]:
    inject = ("-e", "trace=linkat", "-e", f"inject=linkat:error={error}", "-o", os.devnull)
    return traced.under_strace(*inject, command=["rotate", "storage/alice"])


@pytest.mark.parametrize("error", ["EPERM", "EACCES", "EOPNOTSUPP", "ENOSYS", "EMLINK"])
def test_where_there_are_no_hard_links_the_retired_file_is_copied(error: str, traced: Traced) -> None:
    """Falling back to copying. FAT says EPERM, CIFS EOPNOTSUPP, a FUSE file system without links ENOSYS."""
    traced.store.keyfs("generate", "storage/alice")
    names = ("alice_storage", "alice_storage.pub")
    before = [(path.read_bytes(), path.stat()) for path in (traced.store.root / name for name in names)]
    done = without_links(traced, error)
    assert done.returncode == 0, done.stderr
    for name, (content, facts) in zip(names, before, strict=True):
        (retired,) = traced.store.history(name)
        assert retired.read_bytes() == content
        copied = retired.stat()
        assert (copied.st_mode, copied.st_mtime_ns) == (facts.st_mode, facts.st_mtime_ns)
    traced.store.contents()
    assert traced.store.findings() == []


@pytest.mark.parametrize(
    ("error", "code"), [("ENOSPC", STORE_FULL), ("EDQUOT", STORE_FULL), ("EIO", STORE_UNAVAILABLE)]
)
def test_where_a_link_fails_otherwise_nothing_is_changed(error: str, code: int, traced: Traced) -> None:
    traced.store.keyfs("generate", "storage/alice")
    before = {path: path.read_bytes() for path in traced.store.root.iterdir()}
    done = without_links(traced, error)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in traced.store.root.iterdir()} == before
    assert names_in(traced.store.beside) == {"lock", "staging/"}
