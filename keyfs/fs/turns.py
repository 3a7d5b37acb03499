"""How pyfuse3 waits for requests: with a trio of its own, as `pyfuse3.asyncio` gives it one.

By itself it hands the device from task to task, and each sleeps in trio's loop: for every request two tasks
and an epoll, which takes longer than most answers do. But who lists a directory asks again as soon as it is
answered. So the task that has answered looks for the next request on the spot, for as long as one follows
the other; and every two milliseconds all other tasks get a turn.
"""

import os
import select
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import pyfuse3
import trio
from trio.lowlevel import Abort, Task, current_task

TURN_S: Final = 0.002
"""For so long requests are answered one after the other before the other tasks get a turn."""
NEAR_S: Final = 0.0001
"""For so long the next request is waited for on the spot. A guess: `find` takes a tenth of that."""


class Turns:
    """The device of a mount: who waits for its next request, and when the other tasks get a turn.

    It is also pyfuse3's lock: one task waits at a time. Who has let go may take it again before those who
    wait for it, so that they sleep on while requests are answered at once.

    Args:
        between: is called when a request has been answered: what nobody waits for is done here.
    """

    def __init__(self, between: Callable[[], object] = lambda: None) -> None:
        self._between = between
        self._poll: select.poll | None = None
        self._ends_s = 0.0
        self._is_held = False
        self._waiting: deque[Task] = deque()
        self._last: Task | None = None  # who took the latest request
        self._is_near = False
        self._is_closing = False
        self._may_spin = len(os.sched_getaffinity(0)) > 1  # else no caller could run meanwhile

    async def __aenter__(self) -> None:
        while self._is_held:
            task = current_task()
            self._waiting.append(task)

            def give_up(_: object, task: Task = task) -> Abort:
                self._waiting.remove(task)
                return Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(give_up)
        self._is_held = True

    async def __aexit__(self, *_: object) -> None:
        self._is_held = False
        if self._waiting:  # it has the device if we do not come back at once
            trio.lowlevel.reschedule(self._waiting.popleft())

    async def wait_readable(self, fd: int) -> None:
        """Return when there is a request.

        Raises:
            ClosedResourceError: none is to be taken any more.
        """
        self._between()
        asked_s = time.perf_counter()
        if not self._is_here(fd, asked_s):
            await trio.lowlevel.wait_readable(fd)
            now_s = time.perf_counter()
            self._is_near = now_s - asked_s < 2 * NEAR_S
            self._ends_s = now_s + TURN_S
        elif asked_s > self._ends_s:
            await trio.lowlevel.checkpoint()
            self._ends_s = time.perf_counter() + TURN_S
        if self._is_closing:  # during the turn; the session would swallow the request
            raise trio.ClosedResourceError("no request is taken any more")

    def notify_closing(self, fd: int) -> None:
        """No request is to be taken any more."""
        self._is_closing = True
        trio.lowlevel.notify_closing(fd)

    def _is_here(self, fd: int, asked_s: float) -> bool:
        """Whether there is a request now, or at once."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)
        # Another task than before: an answer is waited for elsewhere, and may come in the meantime.
        task = current_task()
        is_same, self._last = self._last is task, task
        if self._poll.poll(0):
            return True
        if is_same and self._is_near and self._may_spin:
            while time.perf_counter() < asked_s + NEAR_S:
                if self._poll.poll(0):
                    return True
        return False


def take(between: Callable[[], object] = lambda: None) -> None:
    """Have pyfuse3 wait for requests so. *between*: as `Turns`."""
    turns = Turns(between)
    lowlevel = SimpleNamespace(
        current_task=current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=turns.notify_closing,
        wait_readable=turns.wait_readable,
    )
    vars(pyfuse3)["trio"] = SimpleNamespace(
        Lock=lambda: turns,
        ClosedResourceError=trio.ClosedResourceError,
        open_nursery=trio.open_nursery,
        lowlevel=lowlevel,
    )
