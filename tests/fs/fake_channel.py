"""A channel whose server answers when a test says so, and a line that uses it."""

import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from keyfs.broker.line import Line
from keyfs.errors import StoreUnavailable
from keyfs.offload import Offload
from keyfs.store.base import Blob, BlobStat
from keyfs.testing.memory_store import MemoryStore

GONE = "gone"  # a name under which there is no blob


def blob_of(name: str) -> Blob:
    return Blob(name.encode(), BlobStat(len(name), None, 0o600, name))


class FakeChannel:
    """A server that answers when a test says so."""

    def __init__(self, is_quick: bool = False) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._waiting: deque[str] = deque()
        self._answered: deque[str] = deque()
        self.is_quick = is_quick
        self.is_full = False
        self.is_lost = False
        self.asked: list[str] = []
        self.waits = 0

    def fileno(self) -> int:
        return self._here.fileno()

    def ask(self, names: Sequence[str]) -> bool:
        if self.is_lost:
            raise StoreUnavailable("lost")
        if self.is_full:
            return False
        self.asked += names
        self._waiting += names
        if self.is_quick:
            self.answer(len(names))
        return True

    def wait(self, within_ms: int) -> bool:
        self.waits += 1
        if not self._answered:
            time.sleep(within_ms / 1000)
        return bool(self._answered)

    def take(self) -> list[tuple[str, Blob | None]]:
        if self.is_lost:
            raise StoreUnavailable("lost")
        found = list(self._answered)
        self._answered.clear()
        if found:
            self._here.recv(1 << 16)
        return [(name, None if name == GONE else blob_of(name)) for name in found]

    def close(self) -> None:
        self._here.close()
        self._there.close()

    @property
    def is_closed(self) -> bool:
        return self._here.fileno() < 0

    def answer(self, count: int) -> None:
        """Answer the oldest questions."""
        for _ in range(min(count, len(self._waiting))):
            self._answered.append(self._waiting.popleft())
            self._there.send(b".")

    def lose(self) -> None:
        self.is_lost = True
        self._there.send(b".")


class ChannelStore(MemoryStore):
    """Hands out the channels it is given, then refuses."""

    def __init__(self, channels: Sequence[FakeChannel]) -> None:
        super().__init__()
        self.channels = deque(channels)
        self.refused = 0

    def channel(self) -> FakeChannel:  # type: ignore[override]  # the other one has none
        if not self.channels:
            self.refused += 1
            raise StoreUnavailable("no more")
        return self.channels.popleft()


@dataclass
class Site:
    """A line, its channel, and what it kept."""

    line: Line
    kept: list[tuple[str, Blob]] = field(default_factory=list)

    async def fetch(self, answers: dict[int, object], number: int, *names: str) -> None:
        try:
            answers[number] = await self.line.fetch(names)
        except StoreUnavailable:
            answers[number] = StoreUnavailable


@asynccontextmanager
async def site_of(*channels: FakeChannel) -> AsyncIterator[Site]:
    kept: list[tuple[str, Blob]] = []
    line = Line(ChannelStore(channels), Offload(), lambda name, blob: kept.append((name, blob)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.run)
        await until_open(line)
        yield Site(line, kept)
        nursery.cancel_scope.cancel()
    assert channels[0].is_closed


async def until_open(line: Line) -> None:
    with trio.fail_after(10):
        while not line.is_open:  # noqa: ASYNC110 - a channel is opened in a thread
            await trio.sleep(0.001)
