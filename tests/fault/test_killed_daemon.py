"""kill -9 of the daemon under its writers: each write happened once or not at all."""

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dying import LAYOUTS, Place, assert_acra_reads, assert_clean, new_place, start, values

from keyfs.broker.check import check
from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.seal.keypair import generate_pair
from keyfs.testing.folders import in_memory
from keyfs.testing.mounted import run_keyfs

REFS = [KeyRef(p.STORAGE, "alice"), KeyRef(p.STORAGE_SYM, "alice"), KeyRef(p.STORAGE, "bobby")]


@pytest.fixture(params=LAYOUTS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with in_memory(tmp_path) as folder:
        place = new_place(folder / "keys", request.param)
        _, writer = place.open()
        for ref in REFS:
            writer.generate(ref)
        yield place


def digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


@dataclass
class Mounted:
    """A mount whose daemon is killed and made anew, and programs that write to it all the time."""

    place: Place
    path: Path
    log: Path
    programs: list[int] = field(default_factory=list)

    def mount(self) -> int:
        """Mount; the number of the daemon."""
        self.path.mkdir(exist_ok=True)
        done = run_keyfs("mount", "--log-file", self.log, self.path, environment=self.place.environment)
        assert done.returncode == 0, done.stderr
        return int(json.loads((self.path / ".keyfs" / "status.json").read_bytes())["pid"])

    def unmount(self, *options: str) -> None:
        """Take away the mount, also a dead one."""
        done = run_keyfs("umount", *options, self.path, environment={})
        assert done.returncode == 0, done.stderr

    def start(self, program: Callable[[], None]) -> None:
        """Run *program* again and again in a process of its own."""

        def work() -> None:
            while True:
                program()

        self.programs.append(start(work))

    def stop(self) -> None:
        """End the programs. One that waits for the mount ends with its request."""
        for child in self.programs:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def note(log: Path, *words: str) -> None:
    with log.open("a", buffering=1) as file:
        file.write(" ".join(words) + "\n")


def run_quietly(*command: str | Path) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode


REPLACERS = (
    'cp "$1" "$2"',
    'cp --remove-destination "$1" "$2"',
    'cp "$1" "$1.2" && mv "$1.2" "$2"',
    'cp "$1" "$2.tmp" && mv "$2.tmp" "$2"',
    'install -m 600 "$1" "$2"',
)


def replace_key(log: Path, ref: KeyRef, current: Path) -> Callable[[], None]:
    """A new key in place of the old one, in one of the ways there are; and what came of it."""
    source = log.with_suffix(".key")
    ways = itertools.cycle(REPLACERS)

    def program() -> None:
        source.write_bytes(generate_pair()[0].reveal() if ref.purpose.is_pair else os.urandom(32))
        note(log, "try", digest(source.read_bytes()))
        if run_quietly("sh", "-c", next(ways), "sh", source, current) == 0:
            note(log, "done", digest(source.read_bytes()))

    return program


def touch_rotate(log: Path, rotate: Path) -> Callable[[], None]:
    """`echo > rotate` with the echo that hears of an error of close(2), and what came of it."""

    def program() -> None:
        note(log, "try", "rotate")
        if run_quietly("sh", "-c", '/bin/echo > "$1"', "sh", rotate) == 0:
            note(log, "done", "rotate")

    return program


@pytest.mark.parametrize("scale", [1, pytest.param(10, marks=pytest.mark.soak)])
@pytest.mark.usefixtures("fuse_required")
def test_a_write_to_a_mount_whose_daemon_is_killed_happens_or_not(
    place: Place, tmp_path: Path, scale: int
) -> None:
    dice = random.Random(3)
    mount = Mounted(place, tmp_path / "mount", tmp_path / "daemon.log")
    logs = {ref: tmp_path / f"writer-{number}" for number, ref in enumerate(REFS)}
    daemon = mount.mount()
    for ref, log in logs.items():
        mount.start(replace_key(log, ref, mount.path / str(ref) / "current"))
    mount.start(touch_rotate(tmp_path / "rotator", mount.path / str(REFS[0]) / "rotate"))
    try:
        for _ in range((6 if place.layout == "v1" else 2) * scale):
            time.sleep(dice.uniform(0.2, 0.5))
            os.kill(daemon, signal.SIGKILL)
            mount.unmount("--lazy")
            daemon = mount.mount()
    finally:
        mount.stop()
    mount.unmount()
    assert " error " not in mount.log.read_text()
    keys, writer = place.open()
    assert check(keys, writer, settle_s=0).is_clean
    assert_clean(place)
    rotated = words(tmp_path / "rotator")
    for ref, log in logs.items():
        assert_writes(place, ref, words(log), rotated if ref is REFS[0] else [])
    assert sum(len(words(log)) for log in logs.values()) > 20


def words(log: Path) -> list[tuple[str, str]]:
    lines = [line.split(" ") for line in log.read_text().splitlines()]
    return [(line[0], line[1]) for line in lines]


def assert_writes(
    place: Place, ref: KeyRef, copied: list[tuple[str, str]], rotated: list[tuple[str, str]]
) -> None:
    """Every write is there once or not at all; one that was acknowledged is there."""
    now = values(place.open()[0], ref)
    made = Counter(digest(secret) for secret, _ in now.values())
    assert set(made.values()) == {1}, "a write happened twice"
    done = [value for word, value in copied if word == "done"]
    assert done
    assert set(done) <= set(made), "an acknowledged write is lost"
    others = len(set(made) - {value for _, value in copied}) - 1
    acknowledged = sum(word == "done" for word, _ in rotated)
    assert acknowledged <= others <= sum(word == "try" for word, _ in rotated)
    assert_acra_reads(place, ref, now)
