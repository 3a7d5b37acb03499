"""The writers' lock in Redis: a key beside the store, with an owner's token and an end of its own."""

import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.exceptions import RedisError, WatchError

from keyfs.errors import StoreBusy
from keyfs.store.redis_client import Client, translated

LIFE_S: Final = 15  # longer than all steps of a rotation with every one of them timing out
WAIT_S: Final = 4.0
PAUSE_S: Final = 0.01


class RedisLock:
    """Excludes other keyfs writers. Held by at most one; a dead holder's lock ends by itself."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self.key = key
        self._held = threading.local()  # the token of this thread's hold

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock.

        Raises:
            StoreBusy: another writer held it all the time that we waited.
            StoreUnavailable, ReadOnly, AccessDenied, StoreFull: as `translated`.
        """
        token = secrets.token_hex(16).encode()
        with translated("lock the key store"):
            self._acquire(token)
        self._held.token = token
        try:
            yield
        finally:
            self._held.token = b""
            self._release(token)

    def is_mine(self, value: bytes | None) -> bool:
        """Whether the lock's present value is the one that this thread set."""
        token = getattr(self._held, "token", b"")
        return bool(token) and value == token

    def _acquire(self, token: bytes) -> None:
        give_up_at = time.monotonic() + WAIT_S
        while not self._client.set(self.key, token, nx=True, ex=LIFE_S):
            if time.monotonic() > give_up_at:
                raise StoreBusy(f"another writer holds {self.key} for more than {WAIT_S:.0f} s: retry")
            time.sleep(PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret

    def _release(self, token: bytes) -> None:
        """Delete the lock if it is still ours. If that fails it ends by itself."""
        try:
            with self._client.pipeline() as pipe:
                pipe.watch(self.key)
                if pipe.get(self.key) == token:
                    pipe.multi()
                    pipe.delete(self.key)
                    pipe.execute()
        except (WatchError, RedisError, OSError):
            return
