"""`Upkeep`: what a mount does to its key store by itself, without a caller who waits for it."""

import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import trio

from keyfs.broker.changes import DESTROY, GENERATE, Changes, Tools
from keyfs.broker.news import News
from keyfs.broker.state_changes import Destroyed
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.errors import KeyfsError
from keyfs.layout.base import KeyVersion, Slot
from keyfs.logs import event

DUE_EVERY_S: Final = 10.0  # how late what is due may be destroyed
_log = logging.getLogger(__name__)


class Upkeep:
    """Rotates, archives and destroys what is due.

    Args:
        tools: of the mount.
        news: hears of every change.
        changes: those that callers make; both note in one place how they ended.
    """

    def __init__(self, tools: Tools, news: News, changes: Changes) -> None:
        self._offload = tools.offload
        self._outcomes = tools.outcomes
        self._news = news
        self._states = changes.states

    async def rotate(self, ref: KeyRef, rotate: Callable[[], KeyVersion | None]) -> bool:
        """Have *rotate* make the next version of a key, if it still thinks so; whether it did.

        Raises:
            KeyfsError: as it does.
        """

        def work() -> bool:
            with self._outcomes.refusals(ref, GENERATE):
                made = rotate()
            if made is not None:
                self._outcomes.done(ref, GENERATE)
            return made is not None

        try:
            return await self._offload.write(work)
        finally:
            self._news.rotated(ref)

    async def archive(self, ref: KeyRef, work: Callable[[], Collection[KeyVersion]]) -> int:
        """Have *work* take retired versions of a key out of the store; how many it took.

        Raises:
            KeyfsError: as it does.
        """
        gone = await self._offload.write(work)
        for version in gone:
            self._news.gone(ref, version.id)
        return len(gone)

    async def destroy_when_due(self, fresh: Callable[[], Awaitable[None]]) -> None:
        """Carry out what somebody planned with `keyfs destroy --after`, for ever.

        Args:
            fresh: takes in what others changed; nobody else may have a reason to.
        """
        while True:
            await trio.sleep(DUE_EVERY_S)
            await fresh()
            due_ns = self._states.next_due_ns()
            if due_ns is None or due_ns > time.time_ns():
                continue
            try:
                done = await self._offload.write(lambda: list(self._states.destroy_due()))
            except KeyfsError as exc:
                event(_log, logging.INFO, "destroy.put_off", reason=exc)
                continue
            for each in done:
                self._was_due(each)

    def _was_due(self, done: Destroyed) -> None:
        if done.error is not None:
            event(_log, logging.INFO, "destroy.put_off", key=str(done.ref), reason=done.error)
            return
        self._outcomes.done(done.ref, DESTROY)
        stamp = None if done.version == CURRENT else done.version
        self._news.changed({Slot(done.ref, half, stamp) for half in Half})
