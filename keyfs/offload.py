"""`Offload`: the only bridge from trio to threads."""

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

# Fewer than the requests that are served at once, so that `ls` and cached reads still answer while the medium
# hangs.
READ_THREADS: Final = 32


class Offload:
    """Runs blocking calls in threads.

    A caller may stop waiting for either kind of call at its deadline. The call itself always runs to its
    end: a read's result is then dropped; a write's steps are one call, so they are never cut half-way, and
    `drain` waits for them.
    """

    def __init__(self) -> None:
        self._readers = trio.CapacityLimiter(READ_THREADS)
        # One writer at a time, in order of arrival: writers exclude each other at the store's lock anyway.
        self._writers = trio.CapacityLimiter(1)

    async def read(self, call: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
        """What *call* returns or raises, from a thread."""
        return await trio.to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=self._readers)

    async def write(self, call: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
        """What *call* returns or raises; calls run one after the other."""
        return await trio.to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=self._writers)

    async def drain(self, within_s: float) -> bool:
        """Wait until no write runs or waits; False if that took too long."""
        with trio.move_on_after(within_s, shield=True):
            async with self._writers:
                return True
        return False
