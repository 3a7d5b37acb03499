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
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import pytest
from typing_programs import Keys, type_into
from witnesses import MARKER, witnesses
from writing_programs import OPAQUE, PROGRAMS, SAVED, SIZED, Program, readme_table

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.needed import need

OLD = {SIZED: b"old key 0123456789 abcdefghijklm", OPAQUE: b"old key that is as long as it likes to be"}
NEW = {SIZED: b"new key 9876543210 ABCDEFGHIJKLM", OPAQUE: b"new key, short"}
LONG_AGO_S = 1_000_000_000  # rsync takes files of one second and one length for the same
README = Path(__file__).parents[2] / "README.md"
RUNS = [(program, purpose) for purpose in (SIZED, OPAQUE) for program in PROGRAMS if program.is_for(purpose)]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    place = tmp_path_factory.mktemp("programs")
    (place / "keyfs.toml").write_text(f'[purpose.{OPAQUE}]\nkind = "opaque"\n')
    with live_store(place, "--config", str(place / "keyfs.toml")) as store:
        store.make(MARKER)
        yield store


def surroundings(new: bytes, place: Path) -> dict[str, str]:
    """The environment of a program's script."""
    (place / "new").write_bytes(new)
    (place / "new").chmod(0o600)
    os.utime(place / "new", (LONG_AGO_S, LONG_AGO_S))
    (place / "place").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "NEW": str(place / "new"),
        "PLACE": str(place / "place"),
        "HOME": str(place),
        "TERM": "xterm",
    }


def first_version(program: Program, purpose: str, environment: Mapping[str, str]) -> bytes:
    if not program.prepare:
        return OLD[purpose]
    subprocess.run(["bash", "-c", program.prepare], env=environment, check=True)
    return Path(environment["PLACE"], "old").read_bytes()


def run(program: Program, new: bytes, directory: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and what was said."""
    words = ["bash", "-c", program.script]
    if program.keys:
        keys = [Keys(step.awaited, step.typed.format(new=new.decode())) for step in program.keys]
        return type_into(words, keys, cwd=directory, environment=environment)
    ran = subprocess.run(
        words, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    return ran.returncode, ran.stdout + ran.stderr


def versions_of(directory: Path) -> list[bytes]:
    """As the mount shows them, oldest first; there must be nothing else, no scratch file either."""
    retired = sorted(set(os.listdir(directory)) - {"current", "rotate"})
    return [(directory / name).read_bytes() for name in (*retired, "current")]


def without_newlines(contents: list[bytes]) -> list[bytes]:
    """Editors end a text with a newline, which is a part of an opaque key."""
    return [data for data, _ in groupby(data.removesuffix(b"\n") for data in contents)]


@pytest.mark.skipif(os.geteuid() != 0, reason="a bind mount needs root")
@pytest.mark.parametrize(("program", "purpose"), RUNS, ids=[f"{purpose}: {p.name}" for p, purpose in RUNS])
def test_a_program_makes_the_versions_it_should_and_everybody_sees_it(
    live: LiveStore, tmp_path: Path, program: Program, purpose: str
) -> None:
    need(program.needs)
    environment = surroundings(NEW[purpose], tmp_path)
    old = first_version(program, purpose, environment)
    client = "c" + hashlib.blake2b(program.name.encode(), digest_size=8).hexdigest()
    directory = live.mountpoint / purpose / client
    directory.mkdir()
    current = directory / "current"
    current.write_bytes(old)
    with witnesses(live, current, tmp_path) as ask:
        code, said = run(program, NEW[purpose], directory, environment)
        seen = ask()
    assert program.fails in said
    assert (code == 0) == (not program.fails), said
    versions = versions_of(directory)
    assert len(versions) == 1 + program.versions
    if not program.is_random:
        right = [old, old + NEW[purpose] if program.is_appended else NEW[purpose]]
        assert without_newlines(versions) == right[: len(versions)]
    for readings in seen.readings:
        assert (readings.complaints, without_newlines(readings.contents)) == ([], without_newlines(versions))
    assert all(data == versions[-1] or (data is None and not program.versions) for data in seen.held)
    assert seen.file == program.file
    assert seen.directory in (program.directory, program.or_else)


@pytest.mark.skipif(os.geteuid() != 0, reason="a bind mount needs root")
@pytest.mark.parametrize("script", ['cp "$NEW" bound', 'dd if="$NEW" of=bound conv=fsync status=none'])
def test_who_has_only_a_bind_mount_of_the_file_writes_keys_too(
    live: LiveStore, tmp_path: Path, script: str
) -> None:
    directory = live.mountpoint / SIZED / f"bound-{script.split(maxsplit=1)[0]}"
    directory.mkdir()
    (directory / "current").write_bytes(OLD[SIZED])
    with witnesses(live, directory / "current", tmp_path) as ask:
        program = Program(script, script)
        assert run(program, b"", tmp_path, surroundings(NEW[SIZED], tmp_path)) == (0, "")
        seen = ask()
    versions = [OLD[SIZED], NEW[SIZED]]
    assert versions_of(directory) == versions
    assert [(readings.complaints, readings.contents) for readings in seen.readings] == [([], versions)] * 2
    assert seen.held == [NEW[SIZED]] * 2
    assert (seen.file, seen.directory) == (SAVED, SAVED)


def test_readme_has_this_table() -> None:
    shown = re.search(r"^\| program \| versions .*?\n(?=\n)", README.read_text(), re.DOTALL | re.MULTILINE)
    assert shown is not None
    assert shown[0] == readme_table()
