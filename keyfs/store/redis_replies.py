"""Which of Redis's replies belongs to what was asked: the oldest one that waits. No I/O.

Nothing is ever taken out of the order: who does not want his answer any more still gets it.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import hiredis

Asked = TypeVar("Asked")
Reply = bytes | None | hiredis.ReplyError

_NOT_YET: Final = object()


class NonsenseError(Exception):
    """What came is no reply of Redis's, or none to what was asked: from here on nothing can be told."""


class Replies(Generic[Asked]):
    """The replies to GETs, in order."""

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()
        # RESP3 has a reply that is False, and hiredis reads it whatever was agreed.
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)

    def __len__(self) -> int:
        """How many are still to come."""
        return len(self._asked)

    def expect(self, asked: Sequence[Asked]) -> None:
        """Note what was asked, in the order in which it is sent. Call it before anything is taken."""
        self._asked.extend(asked)

    def take(self, data: bytes) -> list[tuple[Asked, Reply]]:
        """What these bytes complete: each with what it answers.

        Raises:
            NonsenseError: see there. What came before it in the same bytes is dropped with it.
        """
        found: list[tuple[Asked, Reply]] = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOT_YET:
                if not self._asked or not isinstance(reply, Reply):
                    raise NonsenseError("an answer that is none to what was asked")
                found.append((self._asked.popleft(), reply))
        except hiredis.HiredisError as exc:
            raise NonsenseError("it does not speak Redis's protocol") from exc
        return found


def get_command(key: bytes) -> bytes:
    """`GET key`, as it is sent."""
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)
