"""`Line`: cold blobs are asked for on the store's channel, by tasks, without a thread.

Invariants:
1. A question is never taken back: who gives up waiting leaves it where it is, and its answer is kept.
2. Whoever waits here waits `ANSWER_WITHIN_S` at most. Then the channel is closed: whatever else was asked on
   it is behind the answer that did not come.
3. What does not come as a blob is nobody's error here. The caller asks the store itself, in a thread, and
   that tells why.
4. Nobody is kept from the loop for long: `fetch_near` blocks for NEAR_S and one NEAR_MS more at most, and
   once it took longer than NEAR_S, nobody does so for FAR_S.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import trio

from keyfs.errors import KeyfsError, StoreUnavailable
from keyfs.logs import event
from keyfs.offload import Offload
from keyfs.store.base import Blob, Channel, Store

ANSWER_WITHIN_S: Final = 1.0
PAUSE_S: Final = (0.05, 2.0)  # between attempts to open a channel: first and longest
# A server that answers so soon is waited for on the spot: to put a task to sleep and wake it takes longer.
NEAR_S: Final = 0.0005
NEAR_MS: Final = 1
FAR_S: Final = 0.02
_log = logging.getLogger(__name__)


class _Question:
    """What one task asked for; others who want the same wait with it."""

    __slots__ = ("has_all", "is_over", "left")

    def __init__(self, names: int) -> None:
        self.left = names
        self.has_all = True
        self.is_over: trio.Event | None = None  # made when somebody has to wait

    def answer(self, *, is_blob: bool) -> None:
        """One answer came."""
        self.left -= 1
        self.has_all &= is_blob
        if not self.left:
            self.end()

    def lose(self) -> None:
        """No answer will come."""
        self.left, self.has_all = 0, False
        self.end()

    def end(self) -> None:
        if self.is_over is not None:
            self.is_over.set()

    async def wait(self) -> bool:
        """Whether it is answered, or never will be, in time."""
        if self.left:
            if self.is_over is None:
                self.is_over = trio.Event()
            with trio.move_on_after(ANSWER_WITHIN_S):
                await self.is_over.wait()
        return not self.left


class Line:
    """See this module's first lines.

    Args:
        store: has channels, or none.
        offload: opens them.
        keep: is given each blob that comes, with its name.
    """

    def __init__(self, store: Store, offload: Offload, keep: Callable[[str, Blob], object]) -> None:
        self._store = store
        self._offload = offload
        self._keep = keep
        self._channel: Channel | None = None
        self._asked: dict[str, _Question] = {}
        self._far_until_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a channel to ask on now."""
        return self._channel is not None

    async def run(self) -> None:
        """Keep a channel open, for ever; ends at once where the store has none."""
        pause_s = PAUSE_S[0]
        while True:
            began_s = trio.current_time()
            try:
                channel = await self._offload.read(self._store.channel)
                if channel is None:
                    return
                await self._listen(channel)
            except KeyfsError as exc:
                event(_log, logging.DEBUG, "channel.refused", reason=str(exc))
            is_short = trio.current_time() - began_s < PAUSE_S[1]
            pause_s = min(pause_s * 2, PAUSE_S[1]) if is_short else PAUSE_S[0]
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def ask(self, names: Sequence[str]) -> bool:
        """Ask for these blobs, but for those that somebody waits for. False: not now."""
        channel, new = self._channel, [name for name in dict.fromkeys(names) if name not in self._asked]
        try:
            if channel is None or (new and not channel.ask(new)):
                return False
        except StoreUnavailable as exc:
            self._lose(channel, str(exc))
            return False
        if new:
            self._asked.update(dict.fromkeys(new, _Question(len(new))))
        return True

    def take_near(self) -> None:
        """Keep what has come, if anything was asked for. Never blocks."""
        if self._asked and self._channel is not None:
            self._take(self._channel)

    def fetch_near(self, names: Sequence[str]) -> None:
        """As `fetch`, but blocks for a moment, where the server answers at once; what comes late is kept."""
        channel, began_s = self._channel, time.perf_counter()
        if channel is None or began_s < self._far_until_s or not self.ask(names):
            return
        took_s = 0.0
        while took_s < NEAR_S and self._channel is channel and any(name in self._asked for name in names):
            if channel.wait(NEAR_MS):
                self._take(channel)
            took_s = time.perf_counter() - began_s
        if took_s > NEAR_S:
            self._far_until_s = began_s + took_s + FAR_S

    async def fetch(self, names: Sequence[str]) -> bool:
        """Have these blobs kept; whether all of them came.

        Raises:
            StoreUnavailable: no answer in time.
        """
        channel = self._channel
        if channel is None or not self.ask(names):
            return False
        questions = {self._asked[name] for name in names}
        for question in questions:
            await self._wait(channel, question)
        return all(question.has_all for question in questions)

    async def _wait(self, channel: Channel, question: _Question) -> None:
        if await question.wait():
            return
        self._take(channel)  # it may have come while the loop was busy
        if question.left:
            self._lose(channel, "no answer in time")
            raise StoreUnavailable(f"the key store does not answer within {ANSWER_WITHIN_S:g} s")

    async def _listen(self, channel: Channel) -> None:
        """Take what comes, until the channel is lost."""
        self._channel = channel
        try:
            while self._channel is channel:
                await trio.lowlevel.wait_readable(channel.fileno())
                self._take(channel)
        except trio.ClosedResourceError:
            pass  # another task found it lost
        finally:
            self._lose(channel, "nobody listens any more")

    def _take(self, channel: Channel) -> None:
        try:
            answers = channel.take()
        except StoreUnavailable as exc:
            self._lose(channel, str(exc))
            return
        for name, blob in answers:
            question = self._asked.pop(name)
            if blob is not None:
                self._keep(name, blob)
            question.answer(is_blob=blob is not None)

    def _lose(self, channel: Channel | None, reason: str) -> None:
        if channel is None or self._channel is not channel:
            return
        self._channel = None
        event(_log, logging.INFO, "channel.lost", reason=reason)
        trio.lowlevel.notify_closing(channel.fileno())  # before its number can be another's
        channel.close()
        for question in set(self._asked.values()):
            question.lose()
        self._asked.clear()
