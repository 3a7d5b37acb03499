"""kill -9 at random under parallel writers: every acknowledged version is there, once, and nothing else."""

import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from dying import (
    LAYOUTS,
    Place,
    Value,
    assert_acra_reads,
    assert_clean,
    is_kept,
    new_place,
    start,
    values,
)

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.seal.keypair import generate_pair
from keyfs.testing.folders import in_memory

REFS = [
    KeyRef(p.STORAGE, "alice"),
    KeyRef(p.STORAGE_SYM, "alice"),
    KeyRef(p.STORAGE, "bobby"),
    KeyRef(p.POISON_RECORD, None),
]
WRITERS = 8
ROTATIONS = {"v1": 500, "v2": 150}
scale = pytest.mark.parametrize("scale", [1, pytest.param(10, marks=pytest.mark.soak)])


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
class Writer:
    """One place at the table: a process, and after its death the next one. They share a log."""

    place: Place
    refs: list[KeyRef]
    log: Path
    random: random.Random
    pid: int = 0
    deaths: int = -1

    def restart(self) -> None:
        """Kill the process, wherever it is, and start the next one."""
        self.stop()
        self.deaths += 1
        seed = self.random.randrange(1 << 30)
        self.pid = start(lambda: write_for_ever(self.place, self.refs, self.log, random.Random(seed)))

    def stop(self) -> None:
        """Kill the process."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0

    def said(self, word: str) -> list[list[str]]:
        """The lines of the log that begin with *word*."""
        lines = [line.split(" ") for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line[1:] for line in lines if line[0] == word]


def write_for_ever(place: Place, refs: list[KeyRef], log: Path, dice: random.Random) -> None:
    """Rotate keys until killed."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        keys, writer = place.open()
        while True:
            ref = dice.choice(refs)
            act = import_one if dice.random() < 0.5 else rotate_one
            os.write(fd, f"done {refs.index(ref)} {act(keys, writer, ref)}\n".encode())
    except BaseException as exc:
        os.write(fd, f"failed {exc!r}\n".encode())
        raise


def import_one(_keys: KeyStore, writer: RingWriter, ref: KeyRef) -> str:
    secret = generate_pair()[0].reveal() if ref.purpose.is_pair else os.urandom(32)
    writer.import_material(ref, secret)
    return digest(secret)


def rotate_one(keys: KeyStore, writer: RingWriter, ref: KeyRef) -> str:
    """Others rotate, too: what we made is found by its identity, which it keeps when it retires."""
    made = writer.rotate(ref).part(Half.SECRET).stat.identity
    ring = keys.relist(ref)
    assert ring is not None
    mine = next(v for v in ring.versions if v.secret is not None and v.secret.stat.identity == made)
    return digest(keys.read(ref, mine.id, Half.SECRET)[0].material.reveal())


@contextmanager
def at_work(
    place: Place, refs: list[KeyRef], logs: Path, dice: random.Random, count: int
) -> Iterator[list[Writer]]:
    writers = [
        Writer(place, refs, logs / f"log-{number}", random.Random(dice.random())) for number in range(count)
    ]
    for writer in writers:
        writer.restart()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stop()


@scale
@pytest.mark.parametrize("seed", [1])
def test_no_acknowledged_version_is_lost_to_a_kill(
    place: Place, tmp_path: Path, seed: int, scale: int
) -> None:
    dice = random.Random(seed)
    refs = REFS + [KeyRef(p.STORAGE, f"soak-{number}") for number in range(4 * (scale - 1))]
    for ref in refs[len(REFS) :]:
        place.open()[1].generate(ref)
    first = {ref: values(place.open()[0], ref) for ref in refs}
    with at_work(place, refs, tmp_path, dice, WRITERS) as writers:
        while sum(len(writer.said("done")) for writer in writers) < ROTATIONS[place.layout] * scale:
            pause_until = time.monotonic() + dice.uniform(0.002, 0.05)
            while time.monotonic() < pause_until:
                time.sleep(0.001)
            dice.choice(writers).restart()
    kills = sum(writer.deaths + 1 for writer in writers)
    assert not [line for writer in writers for line in writer.said("failed")]
    assert kills >= ROTATIONS[place.layout] // 10
    keys, writer = place.open()
    assert check(keys, writer, settle_s=0).is_clean
    assert_clean(place)
    for number, ref in enumerate(refs):
        done = [[said for key, said in w.said("done") if key == str(number)] for w in writers]
        assert_history(place, ref, first[ref], done, kills)


def assert_history(
    place: Place, ref: KeyRef, first: dict[str, Value], done: list[list[str]], kills: int
) -> None:
    """All acknowledged versions of one key are there once, in the order in which each writer made them."""
    now = values(place.open()[0], ref)
    assert list(now)[-1] == CURRENT
    assert is_kept(first[CURRENT], next(iter(now.values())))
    made = [digest(secret) for secret, _ in now.values()][1:]
    assert max(Counter(made).values(), default=0) <= 1, "a version is there twice"
    acknowledged = [said for said_by_one in done for said in said_by_one]
    assert set(acknowledged) <= set(made), "an acknowledged version is lost"
    assert len(made) - len(acknowledged) <= kills, "a version that nobody made"
    for said_by_one in done:
        assert [m for m in made if m in set(said_by_one)] == said_by_one, "history is out of order"
    assert_acra_reads(place, ref, now)


def test_a_check_beside_busy_writers_finds_nothing(place: Place, tmp_path: Path) -> None:
    """A rotation that is under way is no finding, and repair does not touch it."""
    first = {ref: values(place.open()[0], ref) for ref in REFS}
    with at_work(place, REFS, tmp_path, random.Random(2), 3) as writers:
        checks = 0
        least = ROTATIONS[place.layout] // 5
        while checks < least // 3 or sum(len(writer.said("done")) for writer in writers) < least:
            keys, writer = place.open()
            assert not check(keys, writer if checks % 2 else None).findings
            checks += 1
    assert check(*place.open(), settle_s=0).is_clean  # at the end, they were killed
    for number, ref in enumerate(REFS):
        done = [[said for key, said in w.said("done") if key == str(number)] for w in writers]
        assert sum(map(len, done)) > 0
        assert_history(place, ref, first[ref], done, len(writers))
