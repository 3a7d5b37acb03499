"""When pyfuse3 waits for the next request, and how: a trio of its own, as `pyfuse3.asyncio` has one.

A task that reads a request hands the device on to another one, and both go through trio's loop and a poll of
its own: that takes longer than to answer. Who lists a directory asks again as soon as it is answered. So the
task that has answered looks for the next request itself, for as long as one comes soon after the other; and
every millisecond everybody else gets a turn.
"""

import os
import select
import time
from collections import deque
from types import SimpleNamespace
from typing import Final

import pyfuse3
import trio

TURN_S: Final = 0.001
"""For so long requests are answered one after the other before the rest of the loop gets a turn."""
NEAR_S: Final = 0.0001
"""A request that comes so soon after an answer is waited for on the spot."""


class Device(SimpleNamespace):
    """What pyfuse3 uses of trio, where it waits for requests."""


class Turns:
    """The device of one mount: who reads it, and when the others get a turn."""

    def __init__(self) -> None:
        self._poll: select.poll | None = None
        self._is_near = False
        self._may_spin = len(os.sched_getaffinity(0)) > 1  # else the caller could not run meanwhile
        self._turn_ends_s = 0.0
        self._is_closing = False

    def notify_closing(self, fd: int) -> None:
        """Nobody is to read any more."""
        self._is_closing = True
        trio.lowlevel.notify_closing(fd)

    async def wait_readable(self, fd: int) -> None:
        """Return when there is a request.

        Raises:
            ClosedResourceError: nobody is to read any more.
        """
        if not self._is_here(fd):
            await trio.lowlevel.wait_readable(fd)
            self._turn_ends_s = time.perf_counter() + TURN_S
            self._is_near = True
        elif time.perf_counter() > self._turn_ends_s:
            await trio.lowlevel.checkpoint()
            self._turn_ends_s = time.perf_counter() + TURN_S
        if self._is_closing:
            raise trio.ClosedResourceError("the mount is being left")

    def _is_here(self, fd: int) -> bool:
        """Whether there is a request, or comes at once."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)
        if self._poll.poll(0):
            return True
        if not self._is_near or not self._may_spin:
            return False
        until = time.perf_counter() + NEAR_S
        while time.perf_counter() < until:
            if self._poll.poll(0):
                return True
        self._is_near = False
        return False


class ReadLock:
    """Held by the task that waits for a request. Who lets go of it may take it again before others do."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: deque[trio.lowlevel.Task] = deque()

    async def __aenter__(self) -> None:
        while self._is_held:
            await self._wait()
        self._is_held = True

    async def __aexit__(self, *_: object) -> None:
        self._is_held = False
        if self._waiting:
            trio.lowlevel.reschedule(self._waiting.popleft())

    async def _wait(self) -> None:
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)


def install() -> None:
    """Have pyfuse3 take its requests so."""
    turns = Turns()
    lowlevel = SimpleNamespace(
        current_task=trio.lowlevel.current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=turns.notify_closing,
        wait_readable=turns.wait_readable,
    )
    shim = Device(
        Lock=ReadLock,
        ClosedResourceError=trio.ClosedResourceError,
        open_nursery=trio.open_nursery,
        lowlevel=lowlevel,
    )
    vars(pyfuse3)["trio"] = shim
