"""The conformance table: each call on each kind of node comes to what is written there, with the reason.

    open WRONLY
        ok: current, rotate, scratch
        EACCES: version, control    -- only `current` and `rotate` can be written

`python posix_table.py FOLDER` mounts below FOLDER, makes all calls and writes the tables anew; reasons stay.
Read the difference: what the table says is what programs rely on.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from name_calls import BESIDE, NEW
from opened_files import KEY
from posix_actor import CALLS

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import keyfs_environment
from keyfs.testing.other_user import NOBODY

HERE: Final = Path(__file__).parent
MODES: Final = {"read-write": ("--allow-other",), "read-only": ("--allow-other", "--read-only")}
LABELS: Final = (
    "storage-sym/alice",
    "storage/alice",
    "storage-sym/bobby",
    "storage/bobby",
    "hmac-sym/bobby",
    "audit-log",
)
# The first words of the calls after which the next one finds all as it was.
CHANGES_NOTHING: Final = (
    *("read", "readv", "pread", "fsync", "fdatasync", "syncfs", "sync_file_range", "lseek", "posix_fadvise"),
    *("readahead", "flock", "fcntl", "ioctl", "poll", "select", "epoll", "stat,", "mode", "access"),
    *("faccessat2", "readlink", "execve", "chdir", "getxattr", "listxattr", "setxattr", "removexattr"),
    *("readdir", "telldir,", "statfs", "name_to_handle_at", "inotify_add_watch", "fanotify_mark"),
)
OURS: Final = frozenset({NEW, BESIDE, "missing", "made", "copy", "mine"})
REASON: Final = " -- "
Row = dict[str, str]  # kind of node -> outcome


@dataclass(slots=True)
class Site:
    """A mount with a node of every kind, and who makes the calls."""

    live: LiveStore
    is_writable: bool
    actor: "subprocess.Popen[str]"
    versions: Mapping[str, str]  # of a key the oldest one
    made: int = 0
    is_clean: bool = False  # nothing has changed since it was prepared

    def kinds(self) -> dict[str, tuple[Path, str, int]]:
        """Directory and name of each node, and the user who makes the calls (0 is its owner)."""
        mount = self.live.mountpoint
        clients, key, pair = mount / "storage-sym", mount / "storage-sym/alice", mount / "storage/alice"
        new = f"empty{self.made}"
        places = {
            "root": (mount.parent, mount.name, 0),
            "purpose": (mount, "storage-sym", 0),
            "global purpose": (mount, "audit-log", 0),
            "client": (clients, "alice", 0),
            "empty client": (clients, new, 0),
            "current": (key, "current", 0),
            "current.pub": (pair, "current.pub", 0),
            "version": (key, self.versions["storage-sym/alice"], 0),
            "version.pub": (pair, self.versions["storage/alice"] + ".pub", 0),
            "rotate": (key, "rotate", 0),
            "scratch": (key, "mine", 0),
            "current of an empty client": (clients / new, "current", 0),
            "missing name": (key, "missing", 0),
            "missing client": (clients, "nobody", 0),
            ".keyfs": (mount, ".keyfs", 0),
            "control file": (mount / ".keyfs", "status.json", 0),
            "another user's client": (clients, "alice", NOBODY),
            "another user's current": (key, "current", NOBODY),
            "another user's current.pub": (pair, "current.pub", NOBODY),
            "another user's rotate": (key, "rotate", NOBODY),
            "another user's scratch": (key, "mine", NOBODY),
        }
        left_out = () if self.is_writable else ("empty client", "current of an empty client")
        return {kind: place for kind, place in places.items() if kind not in left_out}

    def prepare(self, directory: Path) -> None:
        """A new client without a key, and scratch files as each call is to find them."""
        clients = self.live.mountpoint / "storage-sym"
        if not self.is_writable or self.is_clean:
            return
        if directory == clients or directory.name.startswith("empty"):
            self.made += 1
            (clients / f"empty{self.made}").mkdir()
        if directory == clients:
            for name in {"nobody", "bobby2"} & set(os.listdir(clients)):
                (clients / name).rmdir()
        elif directory.name == "alice":
            for name in OURS & set(os.listdir(directory)):
                (directory / name).unlink()
            for name in ("mine", BESIDE):
                (directory / name).write_bytes(KEY)

    def call(self, name: str) -> Row:
        """Make one call on every kind of node."""
        row = {}
        self.is_clean = self.is_clean and name.split(maxsplit=1)[0] in CHANGES_NOTHING
        for kind, (directory, _, _) in self.kinds().items():
            self.prepare(directory)
            place, *rest = self.kinds()[kind]
            said, answer = self.actor.stdin, self.actor.stdout
            assert said is not None
            assert answer is not None
            said.write(json.dumps([name, str(place), *rest]) + "\n")
            said.flush()
            row[kind] = answer.readline().rstrip("\n")
        self.is_clean = name.split(maxsplit=1)[0] in CHANGES_NOTHING
        return row


@contextmanager
def posix_site(place: Path, mode: str) -> Iterator[Site]:
    """A mount in that mode with two versions of each key."""
    with live_store(place, *MODES[mode]) as live:
        for label in LABELS * 2:
            live.make(label)
        oldest = {label: next(iter(live.versions(label))) for label in LABELS}
        command = [sys.executable, str(HERE / "posix_actor.py")]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=keyfs_environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        ) as actor:
            yield Site(live, mode == "read-write", actor, oldest)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line below a call: these kinds of nodes, this outcome, for this reason."""

    outcome: str
    kinds: tuple[str, ...]
    reason: str


def read_table(mode: str) -> dict[str, list[Entry]]:
    """The table as it is written down."""
    table: dict[str, list[Entry]] = {}
    path = HERE / f"{mode}.txt"
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("    "):
            fact, _, reason = line.strip().partition(REASON)
            outcome, _, kinds = fact.partition(": ")
            table[list(table)[-1]].append(Entry(outcome, tuple(kinds.strip().split(", ")), reason))
        elif line and not line.startswith("#"):
            table[line] = []
    return table


def expected(table: dict[str, list[Entry]], call: str) -> Row:
    """The row of one call."""
    return {kind: entry.outcome for entry in table.get(call, ()) for kind in entry.kinds}


def write_table(rows: dict[str, Row], file: IO[str], old: dict[str, list[Entry]]) -> None:
    """Write a table with the reasons that the old one has for the same outcome of the same call."""
    for call, row in rows.items():
        reasons = {entry.outcome: entry.reason for entry in old.get(call, ()) if entry.reason}
        file.write(f"{call}\n")
        for outcome in dict.fromkeys(row.values()):
            kinds = ", ".join(kind for kind, seen in row.items() if seen == outcome)
            reason = REASON + reasons[outcome] if outcome in reasons else ""
            file.write(f"    {outcome}: {kinds}{reason}\n")


def main(folder: str) -> None:
    for mode in MODES:
        place = Path(folder) / mode
        place.mkdir(mode=0o700)
        with posix_site(place, mode) as site:
            rows = {call: site.call(call) for call in CALLS}
        old = read_table(mode)
        with (HERE / f"{mode}.txt").open("w") as file:
            write_table(rows, file, old)


if __name__ == "__main__":
    main(*sys.argv[1:])
