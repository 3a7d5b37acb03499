"""poll(2) on an open key wakes when the key is rotated."""

import os
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from written_ring import OLD, Ring, key_file, ring_of

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.waiting import wait_until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("names"), "--allow-other") as store:
        yield store


@pytest.fixture
def ring(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A symmetric key of one version."""
    return ring_of(live, request, "storage-sym", OLD)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return key_file(tmp_path)


def polled(fd: int, timeout_s: float) -> int:
    poller = select.poll()
    poller.register(fd, select.POLLPRI)
    return dict(poller.poll(timeout_s * 1000)).get(fd, 0)


ROTATORS: dict[str, Callable[[Ring, Path], object]] = {
    "past the mount": lambda ring, _: ring.live.make(ring.label),
    "by a write": lambda ring, new: ring.run('cat "$NEW" > current', new),
    "by rotate": lambda ring, _: ring.run("echo > rotate"),
    "by a rename": lambda ring, new: ring.run('cp "$NEW" x && mv x current', new),
}


@pytest.mark.parametrize("how", ROTATORS)
def test_poll_on_an_open_file_wakes_when_the_key_is_rotated(ring: Ring, new: Path, how: str) -> None:
    with ring.current.open("rb", buffering=0) as file:
        assert file.read() == OLD
        assert polled(file.fileno(), 0) == 0
        woken: list[int] = []
        waiting = threading.Thread(target=lambda: woken.append(polled(file.fileno(), 20)))
        waiting.start()
        ROTATORS[how](ring, new)
        waiting.join()
        assert woken == [select.POLLPRI]
        assert polled(file.fileno(), 0) == select.POLLPRI
        assert os.pread(file.fileno(), 99, 0) == OLD
    with ring.current.open("rb", buffering=0) as file:
        assert polled(file.fileno(), 0) == 0


def test_epoll_wakes_for_each_key_that_is_open(ring: Ring) -> None:
    with ring.current.open("rb") as file, select.epoll() as epoll:
        epoll.register(file.fileno(), select.EPOLLPRI)
        assert epoll.poll(0) == []
        ring.live.make(ring.label)
        wait_until(lambda: epoll.poll(0) == [(file.fileno(), select.EPOLLPRI)])
