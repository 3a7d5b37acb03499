"""Readers under rotation by anyone: never an empty, torn, missing, undecryptable or superseded key."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from acra_replica import public_container_fits, seal, write_key_file
from dying import MASTER, MASTER_TEXT, Place, assert_clean, start, values

from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.seal.keypair import generate_pair
from keyfs.testing.folders import in_memory
from keyfs.testing.mounted import mounted, run_keyfs

INSIDE = KeyRef(p.STORAGE, "inside")  # rotated through the mount that is read
OUTSIDE = KeyRef(p.STORAGE, "outside")  # rotated by `keyfs rotate`
FOREIGN = KeyRef(p.STORAGE, "foreign")  # rotated by Acra's system calls
REFS = [INSIDE, OUTSIDE, FOREIGN]
SYMMETRIC = KeyRef(p.STORAGE_SYM, "foreign")
SIZE = 45
OPENS = 20_000
# So that histories stay of a size that occurs, on a slow machine, too.
PAUSE_S = 0.04
MOST_ROTATIONS = 250
ENVIRONMENT = {"ACRA_MASTER_KEY": MASTER_TEXT}


@dataclass(frozen=True)
class Mounted:
    """A key store and its mount."""

    place: Place
    keys: Path
    logs: Path

    def file(self, ref: KeyRef, name: str) -> Path:
        return self.keys / str(ref) / name

    @property
    def environment(self) -> dict[str, str]:
        return ENVIRONMENT | {"KEYFS_STORE": str(self.place.root)}


@pytest.fixture
def mount(tmp_path: Path, fuse_required: None) -> Iterator[Mounted]:
    with in_memory(tmp_path) as folder:
        (folder / "keys").mkdir(0o700)
        place = Place(folder / "keys")
        _, writer = place.open()
        for ref in (*REFS, SYMMETRIC):
            writer.generate(ref)
            writer.rotate(ref)
        environment = ENVIRONMENT | {"KEYFS_STORE": str(place.root)}
        log = tmp_path / "daemon.log"
        with mounted(tmp_path / "mount", "--log-file", str(log), environment=environment) as keys:
            yield Mounted(place, keys, tmp_path)
        assert log.read_text() == ""


# --- writers, each a process that notes when each of its rotations began and was acknowledged ---

Times = list[int]  # when it began, when the private half was acknowledged, when all was
Rotate = Callable[[], int | None]


def rotate_through_mount(mount: Mounted) -> None:
    fd = os.open(mount.file(INSIDE, "rotate"), os.O_WRONLY)
    os.write(fd, b"1")
    os.close(fd)


def rotate_by_command(mount: Mounted) -> None:
    done = run_keyfs("rotate", str(OUTSIDE), environment=mount.environment)
    assert done.returncode == 0, done.stderr


def rotate_as_acra(mount: Mounted) -> int:
    private, public = generate_pair()
    name = f"{FOREIGN.client}_storage"
    write_key_file(mount.place.root / name, seal(MASTER, private.reveal(), b"foreign"), 0o600)
    acknowledged = time.monotonic_ns()
    write_key_file(mount.place.root / f"{name}.pub", public, 0o644)
    return acknowledged


@contextmanager
def working(log: Path, pause_s: float, rotate: Rotate) -> Iterator[None]:
    """Rotate in a process of its own, until the end."""
    child = start(lambda: rotate_for_ever(log, pause_s, rotate))
    try:
        yield
    finally:
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == 0


def rotate_for_ever(log: Path, pause_s: float, rotate: Rotate) -> None:
    """Until SIGTERM, which never cuts a rotation in two."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with log.open("w") as file:
        for _ in range(MOST_ROTATIONS):
            if stop.wait(pause_s):
                break
            begin = time.monotonic_ns()
            halfway = rotate()
            end = time.monotonic_ns()
            file.write(json.dumps([begin, halfway or end, end]) + "\n")
            file.flush()


# --- the reader ---


@dataclass(frozen=True)
class Look:
    """One open: when it began and ended, and what it gave."""

    ref: KeyRef
    is_public: bool
    begin: int
    end: int
    content: bytes


def look(mount: Mounted, ref: KeyRef, name: str, *, with_stat: bool) -> Look:
    path = mount.file(ref, name)
    begin = time.monotonic_ns()
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size if with_stat else SIZE
    content = os.read(fd, 4096)
    rest = os.read(fd, 4096) if with_stat else b""
    os.close(fd)
    end = time.monotonic_ns()
    assert len(content) == size == SIZE, f"{path}: read {len(content)} bytes, size {size}"
    assert not rest
    if with_stat:
        assert path.stat().st_size == SIZE
    return Look(ref, name.endswith(".pub"), begin, end, content)


def read_often(mount: Mounted, opens: int) -> list[Look]:
    """Opens of what is current, with a look now and then at what must never change."""
    looks = []
    kept = {ref: Kept(mount, ref) for ref in REFS}
    for number in range(opens // 2):
        ref = REFS[number % len(REFS)]
        with_stat = number % 8 == 0
        looks.append(look(mount, ref, "current", with_stat=with_stat))
        looks.append(look(mount, ref, "current.pub", with_stat=with_stat))
        if number % 100 == 0:
            kept[ref].check()
    return looks


class Kept:
    """What was listed once stays listed, and keeps its bytes."""

    def __init__(self, mount: Mounted, ref: KeyRef) -> None:
        self._folder = mount.keys / str(ref)
        self._oldest = min(os.listdir(self._folder))
        self._known: set[str] = set()
        self._bytes = self._read()

    def check(self) -> None:
        listed = set(os.listdir(self._folder))
        assert self._known | {"current", "current.pub", "rotate"} <= listed
        self._known = listed
        assert self._read() == self._bytes

    def _read(self) -> list[bytes]:
        return [(self._folder / f"{self._oldest}{suffix}").read_bytes() for suffix in ("", ".pub")]


@pytest.mark.parametrize("opens", [OPENS, pytest.param(10 * OPENS, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
def test_every_open_gives_what_was_current_during_it(
    mount: Mounted, opens: int, record_testsuite_property: Callable[[str, object], None]
) -> None:
    logs = {ref: mount.logs / f"times-{ref.client}" for ref in REFS}
    pause_s = PAUSE_S * opens / OPENS
    with (
        working(logs[INSIDE], pause_s, lambda: rotate_through_mount(mount)),
        working(logs[OUTSIDE], pause_s, lambda: rotate_by_command(mount)),
        working(logs[FOREIGN], pause_s, lambda: rotate_as_acra(mount)),
    ):
        looks = read_often(mount, opens)
    assert len(looks) == opens
    keys, _ = mount.place.open()
    for ref in REFS:
        versions = list(values(keys, ref).values())
        times = [json.loads(line) for line in logs[ref].read_text().splitlines()]
        versions = versions[1:]  # the first one was superseded before the reader began
        assert len(versions) == len(times) + 1, "not one version for each rotation"
        record_testsuite_property(f"rotations of {ref}", len(times))
        assert len(times) >= 10
        assert all(public_container_fits(*version) for version in versions)
        for half in (0, 1):
            mine = [one for one in looks if one.ref is ref and one.is_public == bool(half)]
            assert_current([version[half] for version in versions], times, mine)
    assert_clean(mount.place)


def assert_current(versions: list[bytes], times: list[Times], looks: list[Look]) -> None:
    """No look gives what came later, or what was superseded before it began."""
    number = {content: rank for rank, content in enumerate(versions)}
    strange = [one for one in looks if one.content not in number]
    assert not strange, f"{len(strange)} of {len(looks)} are no version at all"
    for one in looks:
        rank = number[one.content]
        assert rank == 0 or times[rank - 1][0] <= one.end, "read before it was made"
        if rank < len(times):
            acknowledged = times[rank][2 if one.is_public else 1]
            assert one.begin <= acknowledged, f"{(one.begin - acknowledged) / 1e6} ms too old"
    assert len({one.content for one in looks}) >= len(versions) // 4, "hardly anything was rotated"


# --- at once ---


def test_an_open_right_after_a_rename_by_anyone_gives_the_new_key(mount: Mounted) -> None:
    """The same process renames and opens, while others read and the daemon is taking in the news."""
    current = mount.file(SYMMETRIC, "current")
    stop = threading.Event()
    readers = [threading.Thread(target=read_until, args=(current, stop)) for _ in range(3)]
    for reader in readers:
        reader.start()
    stale = 0
    for _ in range(1000):
        new = os.urandom(32)
        write_key_file(mount.place.root / "foreign_storage_sym", seal(MASTER, new, b"foreign"), 0o600)
        stale += current.read_bytes() != new
    stop.set()
    for reader in readers:
        reader.join()
    assert stale == 0


def read_until(path: Path, stop: threading.Event) -> None:
    while not stop.is_set():
        path.read_bytes()
