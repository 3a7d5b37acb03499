"""The lock that Acra takes in a key store of layout v2 in Redis, to read and to write.

SET NX with the value `locked` and an end after ten seconds; Acra lets go of it with DEL, whoever has it by
then. There is no owner's token, so whether it is still ours is told by the time that it has left.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from keyfs.errors import KeyfsError, StoreBusy
from keyfs.store.redis_client import FAILURES, Client, translated
from keyfs.store.redis_swap import swap

VALUE: Final = b"locked"
LIFE_MS: Final = 10_000
WAIT_S: Final = 4.0
PAUSE_S: Final = 0.01
SPARE_S: Final = 2.0  # more than a write takes, or waits for its answer
SLACK_S: Final = 0.002  # the server tells milliseconds


class HeldKey:
    """A lock that was taken between two moments, in seconds of the monotonic clock."""

    def __init__(self, client: Client, key: bytes, asked_s: float, taken_s: float) -> None:
        self._client = client
        self._key = key
        self._asked_s = asked_s
        self._taken_s = taken_s

    def demand(self) -> None:
        """See `keyfs.store.ring_changes.ForeignLock`."""
        with translated("look at the lock of the key store"):
            if self._is_ours():
                return
        raise StoreBusy("the lock that Acra knows ended before the write, nothing was changed: retry")

    def release(self) -> None:
        """Delete it, if it is still ours; else leave it to whoever has it. It ends by itself."""
        with suppress(KeyfsError, *FAILURES):
            if self._is_ours():
                swap(self._client, {self._key: VALUE}, {self._key: None})

    def _is_ours(self) -> bool:
        before_s = time.monotonic()
        life_s = LIFE_MS / 1000
        if before_s - self._asked_s > life_s - SPARE_S:
            return False
        left_s = int(self._client.pttl(self._key)) / 1000
        least_s = life_s - (time.monotonic() - self._asked_s) - SLACK_S
        return least_s <= left_s <= life_s - (before_s - self._taken_s) + SLACK_S


@contextmanager
def key_lock(client: Client, key: bytes, wait_s: float = WAIT_S) -> Iterator[HeldKey]:
    """Hold the lock.

    Raises:
        StoreBusy: others held it for longer than *wait_s*.
        StoreUnavailable, ReadOnly, AccessDenied, StoreFull: as `translated`.
    """
    give_up_at = time.monotonic() + wait_s
    while True:
        asked_s = time.monotonic()
        with translated("take the lock that Acra knows"):
            is_taken = client.set(key, VALUE, nx=True, px=LIFE_MS)
        if is_taken:
            break
        if time.monotonic() > give_up_at:
            raise StoreBusy(f"another program holds {key.decode()} for more than {wait_s:g} s: retry")
        time.sleep(PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    held = HeldKey(client, key, asked_s, time.monotonic())
    try:
        yield held
    finally:
        held.release()
