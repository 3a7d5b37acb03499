"""The Redis driver's watch: client-side-caching invalidation in broadcast mode on the prefix.

The server pushes the name of every key that anyone changes, expires or deletes under the prefix; it needs
no configuration for that. One thread for each connection takes them in.
"""

import logging
import os
import random
import threading
from collections.abc import Callable
from typing import Any, Final

from redis import exceptions as failure

from keyfs.logs import event
from keyfs.store.base import Changes

QUIET_S: Final = 1.0  # after this long without a word the server is asked whether it is there
PAUSE_S: Final = (0.05, 2.0)  # between attempts to connect again: first and longest
_log = logging.getLogger(__name__)


class RedisWatch:
    """Collects changed names until they are taken.

    Args:
        connect: opens one RESP3 connection to each server.
        prefix: what all keys of the store begin with, slash included.
    """

    waits = False  # what others change arrives a moment later: nobody can wait for it

    def __init__(self, connect: Callable[[], list[Any]], prefix: str) -> None:
        self._connect = connect
        self._prefix = prefix.encode()
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._lost = False
        self._closed = threading.Event()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._connections = self._tracking()
        self._connected = True
        self._keeper = threading.Thread(target=self._keep, name="keyfs-redis-watch", daemon=True)
        self._keeper.start()

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
            names, lost = frozenset(self._names), self._lost
            self._names.clear()
            self._lost = False
            _drain(self._event)
        return Changes(names, lost)

    def renew(self) -> None:
        """See `Watch.renew`: the threads do it by themselves."""

    def close(self) -> None:
        """See `Watch.close`."""
        if self._closed.is_set():
            return
        self._closed.set()
        for connection in self._connections:
            connection.disconnect()
        self._keeper.join(QUIET_S * 3)
        with self._lock:
            os.close(self._event)
            self._event = -1

    def _keep(self) -> None:
        """Listen; when a connection is lost, open all again, and say that changes may have been missed."""
        while not self._closed.is_set():
            self._listen_to_all()
            self._connected = False
            if self._closed.is_set():
                return
            self._note((), lost=False)  # wakes whoever has to know that we are deaf
            event(_log, logging.INFO, "watch.lost")
            self._reconnect()

    def _listen_to_all(self) -> None:
        """Until the first of the connections is lost."""
        over = threading.Event()
        threads = [
            threading.Thread(target=self._listen, args=(connection, over), daemon=True)
            for connection in self._connections
        ]
        for thread in threads:
            thread.start()
        over.wait()
        for connection in self._connections:
            connection.disconnect()
        for thread in threads:
            thread.join()

    def _listen(self, connection: Any, over: threading.Event) -> None:  # noqa: ANN401 - redis-py's connection
        try:
            asked = False
            while not over.is_set() and not self._closed.is_set():
                asked = self._hear(connection, asked)
        except (failure.RedisError, OSError, AttributeError, ValueError):
            # The last two come from redis-py's parser when another thread has closed its socket.
            return
        finally:
            over.set()

    def _hear(self, connection: Any, asked: bool) -> bool:  # noqa: ANN401 - redis-py's connection
        """Take one message; True when the server was asked to answer and has not yet."""
        try:
            connection.read_response(push_request=True, timeout=QUIET_S, disconnect_on_error=False)
        except failure.TimeoutError:
            if asked:
                raise
            connection.send_command("PING", check_health=False)
            return True
        return False

    def _reconnect(self) -> None:
        pause = PAUSE_S[0]
        while not self._closed.is_set():
            try:
                self._connections = self._tracking()
            except (failure.RedisError, OSError):
                self._closed.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, PAUSE_S[1])
            else:
                self._note((), lost=True)  # first: who sees the connection must see that something was missed
                self._connected = True
                event(_log, logging.INFO, "watch.back")
                return

    def _tracking(self) -> list[Any]:
        connections = self._connect()
        for connection in connections:
            # redis-py has no public name for this (8.1); its own client-side cache does the same.
            connection._parser.set_invalidation_push_handler(self._invalidated)  # noqa: SLF001 - see above
            connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
            connection.read_response()
        return connections

    def _invalidated(self, message: list[Any]) -> None:
        keys = message[1]
        if keys is None:  # FLUSHALL or FLUSHDB
            self._note((), lost=True)
            return
        names = [key.removeprefix(self._prefix) for key in keys if key.startswith(self._prefix)]
        self._note([os.fsdecode(name) for name in names], lost=False)

    def _note(self, names: Any, *, lost: bool) -> None:  # noqa: ANN401 - any iterable of names
        with self._lock:
            self._names.update(names)
            self._lost |= lost
            if self._event >= 0:
                os.eventfd_write(self._event, 1)


def _drain(fd: int) -> None:
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        return
