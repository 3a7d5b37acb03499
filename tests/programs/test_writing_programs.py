"""Each program that writes a file makes one version or none, under the eyes of all who read and watch.

One run of each program is seen by four at once: a process that reads the path without pause, one that reads a
bind mount of the single file, a watcher of the file and a watcher of its directory.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from hammering import Hammer
from typing_programs import Keys, type_into
from writing_programs import PROGRAMS, Program

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.needed import need
from keyfs.testing.watched import Watcher, watching

OLD = b"old key 0123456789 abcdefghijklm"
NEW = b"new key 9876543210 ABCDEFGHIJKLM"
A_DAY_LONG_AGO_S = 1_000_000_000  # rsync takes files of one second and one length for the same
MARKER = "hmac-sym/marker"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("programs")) as store:
        store.make(MARKER)
        yield store


@contextmanager
def bound(file: Path, place: Path) -> Iterator[Path]:
    """A bind mount of a single file, as containers get it."""
    place.touch()
    subprocess.run(["mount", "--bind", file, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def run(program: Program, directory: Path, place: Path) -> tuple[int, str]:
    """Exit code and what was said."""
    new = place / "new"
    new.write_bytes(NEW)
    new.chmod(0o600)
    os.utime(new, (A_DAY_LONG_AGO_S, A_DAY_LONG_AGO_S))
    (place / "place").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "NEW": str(new),
        "PLACE": str(place / "place"),
        "HOME": str(place),
        "TERM": "xterm",
    }
    words = ["bash", "-c", program.script]
    if program.keys:
        keys = [Keys(step.awaited, step.typed.format(new=NEW.decode())) for step in program.keys]
        return type_into(words, keys, cwd=directory, environment=environment)
    ran = subprocess.run(
        words, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    return ran.returncode, ran.stdout + ran.stderr


def settle(live: LiveStore, watcher: Watcher) -> None:
    """Until the watchers know all that they will be told of what was done until now.

    They are told in lots, one after the other, and each lot names a file once. So a second wake of one file
    is in a lot that began when all earlier ones had been told.
    """
    marker = live.mountpoint / MARKER / "current"
    before = watcher.seen(marker).count("CLOSE_WRITE")
    for number in (1, 2):
        live.make(MARKER)
        watcher.wait_for(marker, count=before + number)


def transcript(watcher: Watcher, path: Path, entry: str | None = None) -> str:
    """What was told, without what every program does differently: attributes, and one thing several times."""
    told = [name for name in watcher.seen(path, entry) if name != "ATTRIB"]
    return " ".join(name for name, _ in groupby(told))


@pytest.mark.skipif(os.geteuid() != 0, reason="a bind mount needs root")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_makes_the_versions_it_should_and_everybody_sees_it(
    live: LiveStore, tmp_path: Path, program: Program
) -> None:
    need(program.needs)
    label = "storage-sym/c" + hashlib.blake2b(program.name.encode(), digest_size=8).hexdigest()
    directory = live.make(label, OLD)
    current = directory / "current"
    with ExitStack() as stack:
        second_name = stack.enter_context(bound(current, tmp_path / "bound"))
        marker = live.mountpoint / MARKER / "current"
        watcher = stack.enter_context(watching(current, directory, marker))
        settle(live, watcher)
        watcher.forget()
        hammers = [Hammer(current), Hammer(second_name)]
        for hammer in hammers:
            stack.callback(hammer.kill)
        code, said = run(program, directory, tmp_path)
        settle(live, watcher)
        readings = [hammer.stop() for hammer in hammers]
        told = (transcript(watcher, current), transcript(watcher, directory, "current"))
    assert program.fails in said
    assert (code == 0) == (not program.fails), said
    versions = list(live.versions(label).values())
    assert len(versions) == 1 + program.versions
    assert program.is_random or versions == [OLD, NEW][: len(versions)]
    assert all(len(version) == len(NEW) for version in versions)
    for reading in readings:
        assert (reading.complaints, reading.contents) == ([], versions)
    assert told == (program.file, program.directory)
    assert sorted(os.listdir(directory))[-2:] == ["current", "rotate"]
    assert len(os.listdir(directory)) == len(versions) + 1  # no scratch file is left
