"""A supervised mount for tests: to look at its worker, to kill it, and to use it from all sides meanwhile."""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keyfs.fs.mounts import mount_at
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import mounted
from keyfs.testing.waiting import wait_until

WITHIN_S: Final = 30.0
RETRY_S: Final = 0.005
NOTICED_S: Final = 0.2


@dataclass(frozen=True)
class Site:
    """A key store and its supervised mount."""

    store: LiveStore
    environment: dict[str, str]

    @property
    def mountpoint(self) -> Path:
        """Where it is mounted."""
        return self.store.mountpoint

    def status(self) -> dict[str, object]:
        """What the worker says of itself; waits for one if there is none."""
        facts: dict[str, object] = json.loads((self.mountpoint / ".keyfs/status.json").read_bytes())
        return facts

    @property
    def worker(self) -> int:
        """Number of the process that serves."""
        return int(str(self.status()["pid"]))

    @property
    def supervisor(self) -> int:
        """Number of the process that stays."""
        return int(str(self.status()["supervisor"]))

    def kill_worker(self) -> None:
        """Kill -9, and wait until another one serves."""
        before = self.status()
        os.kill(int(str(before["pid"])), signal.SIGKILL)
        wait_until(lambda: self.status()["restarts"] != before["restarts"])


@contextmanager
def supervised(place: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Site]:
    """A new, empty key store below *place*, mounted with a supervisor."""
    store = new_live_store(place)
    site = Site(store, store.environment if environment is None else store.environment | environment)
    log = ("--log-level", "info", "--log-file", str(store.log))
    with mounted(store.mountpoint, "--supervised", *log, *options, environment=site.environment):
        yield site


@dataclass
class Traffic:
    """What readers and rotators met."""

    programs: int
    opens: int = 0
    rotated: int = 0
    failures: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # digests: no test keeps a key
    gaps_s: list[float] = field(default_factory=list)  # of one program, from a success to the next one

    @property
    def worst_outage_s(self) -> float:
        """The longest time for which a program could not use the key."""
        return max(self.gaps_s)

    @property
    def outages_s(self) -> float:
        """How long one program on the average could not use it, waits of 0.2 s and more taken together."""
        return sum(gap for gap in self.gaps_s if gap > NOTICED_S) / self.programs


@contextmanager
def traffic(key: Path, readers: int = 4, rotators: int = 1) -> Iterator[Traffic]:
    """Programs that open a key, and that rotate it, all the time until the end of the block."""
    met = Traffic(readers + rotators)
    over = threading.Event()
    jobs: list[Callable[[], None]] = [lambda: _read(key / "current", met)] * readers
    jobs += [lambda: _rotate(key / "rotate", met)] * rotators

    def work(job: Callable[[], None]) -> None:
        began = time.monotonic()
        while not over.is_set():
            try:
                job()
            except (OSError, AssertionError) as exc:
                met.failures.append(repr(exc))
                time.sleep(RETRY_S)
            else:
                now, before = time.monotonic(), began
                met.gaps_s.append(now - before)
                began = now

    threads = [threading.Thread(target=work, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        over.set()
        for thread in threads:
            thread.join(WITHIN_S)
    assert not any(thread.is_alive() for thread in threads), "a program hangs"  # noqa: S101 - the test kit


def is_mounted(path: Path) -> bool:
    """Whether the kernel's table says so; asks no file system."""
    return mount_at(os.path.realpath(path)) is not None


def digest(data: bytes) -> str:
    """What may be shown of a key."""
    return hashlib.sha256(data).hexdigest()


def _read(current: Path, met: Traffic) -> None:
    fd = os.open(current, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, 4096)
    finally:
        os.close(fd)
    assert len(data) == size, "torn"  # noqa: S101 - as above
    met.seen.add(digest(data))
    met.opens += 1


def _rotate(rotate: Path, met: Traffic) -> None:
    fd = os.open(rotate, os.O_WRONLY)
    try:
        os.write(fd, b"x")
    finally:
        os.close(fd)
    met.rotated += 1
    time.sleep(0.02)  # as many versions as the readers can follow
