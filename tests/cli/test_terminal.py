"""What people at a terminal get: a table, a question before something is destroyed, a bar that goes away."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import keyfs

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    for label in ("storage/alice", "storage/alice", "audit-log"):
        made.make(label)
    return made


def at_terminal(store: LiveStore, *words: str, typed: str = "") -> tuple[int, str]:
    """Runs a command at a terminal of its own; returns its exit code and all that was to be seen there."""
    ours, theirs = pty.openpty()
    environment = keyfs_environment(store.environment | {"TERM": "xterm", "COLUMNS": "200"})
    process = subprocess.Popen(
        [sys.executable, "-m", "keyfs", *words], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    seen = bytearray()
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:
        pass  # EIO: the other end is closed
    finally:
        os.close(ours)
    return process.wait(20), CONTROL.sub("", seen.decode().replace("\r\n", "\n"))


def test_a_list_is_a_table(store: LiveStore) -> None:
    code, seen = at_terminal(store, "list", "--versions")
    lines = [line.split() for line in seen.splitlines()]
    assert code == 0
    assert lines[0] == ["purpose", "client", "version", "half", "bytes", "since", "state"]
    assert [line[:2] + line[3:5] + line[7:] for line in lines[1:]] == [
        ["storage", "alice", "secret", "45", "deactivated"],
        ["storage", "alice", "public", "45", "deactivated"],
        ["storage", "alice", "secret", "45", "active"],
        ["storage", "alice", "public", "45", "active"],
        ["audit-log", "@global", "secret", "32", "active"],
    ]


def test_a_list_shows_what_is_to_be_destroyed(store: LiveStore) -> None:
    version = next(iter(store.versions("storage/alice")))
    run = keyfs("destroy", "--after", "7d", f"storage/alice/{version}", environment=store.environment)
    at = run.err.partition(" at ")[2].partition("Z")[0].replace("T", " ")
    _, seen = at_terminal(store, "list", "--versions")
    assert re.search(rf"{version} .* deactivated, destroyed {at}$", seen, re.MULTILINE), seen


def test_a_list_for_programs_is_the_same_at_a_terminal(store: LiveStore) -> None:
    code, seen = at_terminal(store, "list", "--json")
    assert code == 0
    assert seen.startswith('[{"purpose": "storage", "client": "alice", "version": "current"')


@pytest.mark.parametrize(
    ("typed", "code", "left"), [("y\n", 0, 1), ("n\n", 130, 2), ("\n", 130, 2), ("\x04", 130, 2)]
)
def test_destroy_asks(store: LiveStore, typed: str, code: int, left: int) -> None:
    version = next(iter(store.versions("storage/alice")))
    ended, seen = at_terminal(store, "destroy", f"storage/alice/{version}", typed=typed)
    assert f"Destroy storage/alice/{version} for good? [y/N]: " in seen
    assert (ended, len(store.versions("storage/alice"))) == (code, left)


def test_destroy_does_not_ask_when_told_not_to(store: LiveStore) -> None:
    version = next(iter(store.versions("storage/alice")))
    code, seen = at_terminal(store, "destroy", "--yes", f"storage/alice/{version}")
    assert (code, seen) == (0, f"destroyed storage/alice/{version}\n")
    assert len(store.versions("storage/alice")) == 1


def test_destroy_says_what_is_not_there_before_it_asks(store: LiveStore) -> None:
    code, seen = at_terminal(store, "destroy", "storage/alice/2020-01-01T00:00:00")
    assert (code, seen) == (4, "keyfs: storage/alice has no version 2020-01-01T00:00:00\n")


def test_check_ends_with_its_verdict(store: LiveStore) -> None:
    code, seen = at_terminal(store, "check")
    assert code == 0
    assert seen.strip().splitlines()[-1].endswith("2 keys, 5 blobs: clean")


def test_a_mount_leaves_the_terminal(store: LiveStore, fuse_required: None) -> None:
    """Closing it does not end the daemon."""
    assert at_terminal(store, "mount", str(store.mountpoint)) == (0, "")
    assert (store.mountpoint / "audit-log/@global/current").stat().st_size == 32
    assert at_terminal(store, "umount", str(store.mountpoint)) == (0, "")
