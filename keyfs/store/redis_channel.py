"""The Redis driver's channel: GETs on a connection of its own, sent as they come, whatever is under way.

redis-py makes the connection, with all that the URI says, and closes it; in between only this module reads
and writes its socket.
"""

import select
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from keyfs.errors import KeyfsError, KeyNotFound, StoreUnavailable
from keyfs.store.base import Blob
from keyfs.store.redis_client import disconnect
from keyfs.store.redis_replies import NonsenseError, Replies, get_command

# A TLS record is smaller, so that none stays half-read in the TLS library, where no poll sees it.
READ_SIZE: Final = 1 << 16
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class RedisChannel:
    """See `Channel`.

    Args:
        connection: redis-py's, connected, ours alone.
        key_of: the key of a name.
        blob_of: what a value holds.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - redis-py's connection
        key_of: Callable[[str], bytes],
        blob_of: Callable[[str, bytes | None], Blob],
    ) -> None:
        self._connection = connection
        # redis-py has no public name for its socket (8.1).
        self._socket = connection._get_socket()  # noqa: SLF001 - see above
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._key_of = key_of
        self._blob_of = blob_of
        self._replies: Replies[str] = Replies()
        self._unsent = b""

    def fileno(self) -> int:
        """See `Channel.fileno`; -1 once it is closed."""
        return int(self._socket.fileno())

    def ask(self, names: Sequence[str]) -> bool:
        """See `Channel.ask`."""
        if self._unsent:
            return False  # the server does not read
        try:
            command = b"".join([get_command(self._key_of(name)) for name in names])
        except KeyNotFound:
            return False
        sent = self._send(command)
        if sent:
            self._replies.expect(names)
            self._unsent = command[sent:]
        return bool(sent)

    def wait(self, within_ms: int) -> bool:
        """See `Channel.wait`."""
        return bool(self._poll.poll(within_ms))

    def take(self) -> list[tuple[str, Blob | None]]:
        """See `Channel.take`."""
        found: list[tuple[str, Blob | None]] = []
        while data := self._receive():
            found += [(name, self._blob(name, reply)) for name, reply in self._matched(data)]
            if len(data) < READ_SIZE:
                break
        if self._unsent:
            self._unsent = self._unsent[self._send(self._unsent) :]
        return found

    def close(self) -> None:
        """See `Channel.close`."""
        disconnect([self._connection])

    def _send(self, data: bytes) -> int:
        try:
            return int(self._socket.send(data))
        except _NOT_NOW:
            return 0
        except OSError as exc:
            raise _lost(exc) from exc

    def _receive(self) -> bytes:
        """What has come; nothing if that is nothing."""
        try:
            data: bytes = self._socket.recv(READ_SIZE)
        except _NOT_NOW:
            return b""
        except OSError as exc:
            raise _lost(exc) from exc
        if not data:
            raise _lost("the server closed it")
        return data

    def _matched(self, data: bytes) -> list[tuple[str, object]]:
        try:
            return list(self._replies.take(data))
        except NonsenseError as exc:
            raise _lost(exc) from exc

    def _blob(self, name: str, reply: object) -> Blob | None:
        if not isinstance(reply, bytes):
            return None
        try:
            return self._blob_of(name, reply)
        except KeyfsError:
            return None


def _lost(reason: object) -> StoreUnavailable:
    return StoreUnavailable(f"the connection to Redis is lost: {reason}")
