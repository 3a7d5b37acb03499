"""The Redis driver's watch: client-side-caching invalidation in broadcast mode on the prefix.

The server pushes the name of every key that anyone changes, expires or deletes under the prefix; it needs
no configuration for that. One thread takes them in. It asks a server that is silent whether it is there,
and when a connection is lost it opens all of them again.

In a cluster there is one connection to each primary. A node that joins later is heard from when a
connection is lost the next time. Of SWAPDB no server tells anyone.
"""

import logging
import os
import random
import selectors
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from redis import exceptions as failure

from keyfs.logs import event
from keyfs.store.base import STATES_CHANGED, parts_are_safe
from keyfs.store.redis_client import ANSWER_WITHIN_S, FAILURES, disconnect
from keyfs.store.watching import Changes

QUIET_S: Final = 1.0  # after this long without a word the server is asked whether it is there
PAUSE_S: Final = (0.05, 2.0)  # between attempts to connect again: first and longest
END_S: Final = 0.5  # how long `close` waits for a thread that may just be connecting
_log = logging.getLogger(__name__)


class RedisWatch:
    """Collects changed names until they are taken.

    Args:
        connect: opens one RESP3 connection to each server.
        prefix: what all keys of the store begin with, slash included.
        states: the key beside it that has the states of keys.

    Raises:
        redis.RedisError, OSError: no connection, or no permission to track.
    """

    waits = False  # what others change arrives a moment later: nobody can wait for it

    def __init__(self, connect: Callable[[], list[Any]], prefix: bytes, states: bytes) -> None:
        self._connect = connect
        self._states = states
        self._prefix = prefix
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._lost = False
        self._links = self._tracking()
        self._connected = True
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # readable: the thread has to end
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keyfs-redis-watch", daemon=True)
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """Whether changes would be heard of now."""
        return self._connected

    def fileno(self) -> int:
        """See `Watch.fileno`."""
        return self._event

    def pending(self) -> bool:
        """See `Watch.pending`."""
        return self._lost or bool(self._names)

    def take(self) -> Changes:
        """See `Watch.take`."""
        with self._lock:
            changes = Changes(frozenset(self._names), self._lost)
            self._names.clear()
            self._lost = False
            if self._event >= 0:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._event)
        return changes

    def renew(self) -> None:
        """See `Watch.renew`: the thread does it by itself."""

    def close(self) -> None:
        """See `Watch.close`. A thread that is just connecting ends when that has failed or succeeded."""
        with self._lock:
            if self._closed.is_set():
                return
            os.eventfd_write(self._end, 1)  # first: once it is closed, the thread closes this too
            self._closed.set()
        self._thread.join(END_S)
        with self._lock:
            os.close(self._event)
            self._event = -1

    def _keep(self) -> None:
        """The thread: listen; when a connection is lost, say so, open all again, and say that too."""
        try:
            while not self._closed.is_set():
                self._listen()
                self._reconnect()
        finally:
            self._connected = False
            disconnect(self._links)
            os.close(self._end)

    def _listen(self) -> None:
        """Take in what comes, until the end or until a connection is lost."""
        try:
            self._take_in()
        except FAILURES as exc:
            self._connected = False
            self._note((), lost=False)  # wakes whoever has to know that we are deaf
            event(_log, logging.INFO, "watch.lost", reason=type(exc).__name__)
        disconnect(self._links)
        self._links = []

    def _take_in(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._end, selectors.EVENT_READ)
            for link in self._links:
                # redis-py has no public name for its socket (8.1).
                selector.register(link._get_socket(), selectors.EVENT_READ, link)  # noqa: SLF001 - see above
            self._hear_all(selector)

    def _hear_all(self, selector: selectors.BaseSelector) -> None:
        silent = _Silence(self._links)
        while not self._closed.is_set():
            heard = [key.data for key, _ in selector.select(silent.ask()) if key.data is not None]
            for link in heard:
                _hear(link)
                silent.heard(link)

    def _reconnect(self) -> None:
        pause = PAUSE_S[0]
        while not self._closed.is_set():
            try:
                self._links = self._tracking()
            except FAILURES:
                self._closed.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, PAUSE_S[1])
            else:
                self._note((), lost=True)  # first: who sees the connection must see that something was missed
                self._connected = True
                event(_log, logging.INFO, "watch.back")
                return

    def _tracking(self) -> list[Any]:
        links = self._connect()
        try:
            for link in links:
                # redis-py has no public name for this (8.1); its own client-side cache does the same.
                link._parser.set_invalidation_push_handler(self._invalidated)  # noqa: SLF001 - see above
                prefixes = ("PREFIX", self._prefix, "PREFIX", self._states)
                link.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
                link.read_response()
        except BaseException:
            disconnect(links)
            raise
        return links

    def _invalidated(self, message: list[Any]) -> None:
        keys = message[1]
        if keys is None:  # FLUSHALL or FLUSHDB
            self._note((), lost=True)
            return
        names = (os.fsdecode(key.removeprefix(self._prefix)) for key in keys if key.startswith(self._prefix))
        self._note(filter(parts_are_safe, names), lost=False)
        if self._states in keys:
            self._note((STATES_CHANGED,), lost=False)

    def _note(self, names: Iterable[str], *, lost: bool) -> None:
        with self._lock:
            self._names.update(names)
            self._lost |= lost
            if self._event >= 0:
                os.eventfd_write(self._event, 1)


class _Silence:
    """Which connections have been silent, and since when they were asked for a word."""

    def __init__(self, links: Iterable[Any]) -> None:
        self._heard_at = dict.fromkeys(links, time.monotonic())
        self._asked: set[Any] = set()

    def heard(self, link: Any) -> None:  # noqa: ANN401 - redis-py's connection
        self._heard_at[link] = time.monotonic()
        self._asked.discard(link)

    def ask(self) -> float:
        """Ask those who are silent for a word; returns after how many seconds to do so again.

        Raises:
            redis.TimeoutError: one was asked and has not answered.
        """
        now = time.monotonic()
        for link, heard_at in self._heard_at.items():
            if now - heard_at >= QUIET_S + ANSWER_WITHIN_S:
                raise failure.TimeoutError("silent for too long")
            if now - heard_at >= QUIET_S and link not in self._asked:
                link.send_command("PING", check_health=False)
                self._asked.add(link)
        due = [at + QUIET_S + ANSWER_WITHIN_S * (link in self._asked) for link, at in self._heard_at.items()]
        return max(0.0, min(due) - now)


def _hear(link: Any) -> None:  # noqa: ANN401 - redis-py's connection
    """Take every message that is there."""
    link.read_response(push_request=True)
    while link.can_read(timeout=0):
        link.read_response(push_request=True)
