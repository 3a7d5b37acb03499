"""The writers' lock in Redis: a key beside the store, with an owner's token and an end of its own."""

import random
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from keyfs.errors import KeyfsError, StoreBusy
from keyfs.store.redis_client import FAILURES, Client, borrowed, is_cluster, translated
from keyfs.store.redis_swap import Command, Values, ask, change, swap

# A rotation takes milliseconds. Every write renews the lock, and fails if the lock has ended meanwhile; so
# this can be shorter than the others wait: a writer that dies delays them, no more.
LIFE_MS: Final = 3000
WAIT_S: Final = 4.0
PAUSE_S: Final = 0.01
NO_END: Final = -1  # what PTTL says of a key that lasts


class RedisLock:
    """Excludes other keyfs writers. Held by at most one; a dead holder's lock ends by itself.

    The token is this object's, not one hold's, and threads take turns before they ask the server: a lock with
    our token while nobody here holds it is one whose answer was lost, and it is taken up.
    """

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._turn = threading.Lock()
        self._token = secrets.token_hex(16).encode()
        self._told: tuple[int, int, int] | None = None  # the holder's thread; the server's time, and ours
        self.key = key.encode()

    @property
    def renewal(self) -> Command:
        """The command that lets the lock last; for a transaction that finds it ours."""
        return ("PEXPIRE", self.key, LIFE_MS)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            StoreBusy: another writer held it all the time that we waited.
            StoreUnavailable, ReadOnly, AccessDenied, StoreFull: as `translated`.
        """
        if not self._turn.acquire(timeout=WAIT_S):
            raise self._busy()
        try:
            with translated("lock the key store"):
                self._acquire()
            try:
                yield
            finally:
                self._told = None
                self._release()
        finally:
            self._turn.release()

    def demand(self, value: bytes | None) -> None:
        """Nothing, if *value*, what the key holds, says that the lock is ours.

        Raises:
            StoreBusy: it is not, or not any more.
        """
        if value != self._token:
            raise StoreBusy("the writers' lock ended before the write, nothing was changed: retry")

    def renew(self) -> None:
        """Let it last.

        Raises:
            StoreBusy: it is not ours any more.
            redis.RedisError, OSError, StoreUnavailable: as `swap`.
        """
        if not swap(self._client, {self.key: self._token}, {}, also=[self.renewal]):
            self.demand(None)

    def _acquire(self) -> None:
        give_up_at = time.monotonic() + WAIT_S
        while not self._take():
            if self._client.get(self.key) == self._token and self._client.pexpire(self.key, LIFE_MS):
                return
            if time.monotonic() > give_up_at:
                raise self._busy()
            time.sleep(PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret

    def _take(self) -> bool:
        """Whether nobody held it. The server says what time it is in the same round trip."""
        if is_cluster(self._client):  # whose client follows a key that moves
            return bool(self._client.set(self.key, self._token, nx=True, px=LIFE_MS))
        with borrowed(self._client, self.key) as connection:
            taking = ("SET", self.key, self._token, "PX", LIFE_MS, "NX")
            is_taken, (seconds, microseconds) = ask(connection, [taking, ("TIME",)])
        if not is_taken:
            return False
        told_ns = (int(seconds) * 1_000_000 + int(microseconds)) * 1000
        self._told = (threading.get_ident(), told_ns, time.monotonic_ns())
        return True

    def time_ns(self) -> int | None:
        """The server's time, if it told it to this thread when it took the lock that it holds; else None."""
        told = self._told
        if told is None or told[0] != threading.get_ident():
            return None
        return told[1] + time.monotonic_ns() - told[2]

    def _release(self) -> None:
        """Delete the lock if it is still ours. If that fails it ends by itself."""
        with suppress(KeyfsError, *FAILURES):
            swap(self._client, {self.key: self._token}, {self.key: None})

    def _busy(self) -> StoreBusy:
        return StoreBusy(f"another writer holds {self.key.decode()} for more than {WAIT_S:.0f} s: retry")


def lasting(client: Client, keys: Sequence[bytes]) -> tuple[str, ...]:
    """Which of these locks will never end, because whoever set them set no end."""
    return tuple(key.decode() for key in keys if client.pttl(key) == NO_END)


def remove_lasting(client: Client, key: bytes) -> bool:
    """Remove a lock that will never end; whether it still was one. What is no string is nobody's lock.

    Raises:
        redis.RedisError, OSError, StoreUnavailable: as `change`.
    """

    def decide(now: Values) -> Values | None:
        """Once the key is watched: who takes the lock from here on keeps it."""
        return {key: None} if now[key] is not None and client.pttl(key) == NO_END else None

    return client.type(key) == b"string" and change(client, [key], decide)
