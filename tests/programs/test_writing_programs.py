"""Each program that writes a file makes one version or none, under the eyes of all who read and watch.

One run of each program is seen by all at once: a process that reads the path without pause, one that reads a
bind mount of the single file, a watcher of the file and a watcher of its directory. Of the watchers there are
two each: one notes what it is told, the other reads the file whenever it is told something.
"""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_programs import Keys, type_into
from witnesses import MARKER, witnesses
from writing_programs import PROGRAMS, Program, readme_table

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.needed import need

OLD = b"old key 0123456789 abcdefghijklm"
NEW = b"new key 9876543210 ABCDEFGHIJKLM"
LONG_AGO_S = 1_000_000_000  # rsync takes files of one second and one length for the same
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("programs")) as store:
        store.make(MARKER)
        yield store


def run(program: Program, directory: Path, place: Path) -> tuple[int, str]:
    """Exit code and what was said."""
    new = place / "new"
    new.write_bytes(NEW)
    new.chmod(0o600)
    os.utime(new, (LONG_AGO_S, LONG_AGO_S))
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


@pytest.mark.skipif(os.geteuid() != 0, reason="a bind mount needs root")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_makes_the_versions_it_should_and_everybody_sees_it(
    live: LiveStore, tmp_path: Path, program: Program
) -> None:
    need(program.needs)
    label = "storage-sym/c" + hashlib.blake2b(program.name.encode(), digest_size=8).hexdigest()
    current = live.make(label, OLD) / "current"
    with witnesses(live, current, tmp_path) as ask:
        code, said = run(program, current.parent, tmp_path)
        seen = ask()
    assert program.fails in said
    assert (code == 0) == (not program.fails), said
    versions = list(live.versions(label).values())
    assert len(versions) == 1 + program.versions
    assert program.is_random or versions == [OLD, NEW][: len(versions)]
    for readings in seen.readings:
        assert (readings.complaints, readings.contents) == ([], versions)
    assert all(data == versions[-1] or (data is None and not program.versions) for data in seen.held)
    assert seen.file == program.file
    assert seen.directory in (program.directory, program.or_else)
    assert len(os.listdir(current.parent)) == len(versions) + 1  # rotate; no scratch file is left


def test_readme_has_this_table() -> None:
    shown = re.search(r"^\| program \| versions .*?\n(?=\n)", README.read_text(), re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert shown[0] == readme_table()
