"""What is kept beside a key store in Redis: strings as they are, not base64. No blob is ever among them."""

from collections.abc import Callable
from typing import Final

from keyfs.errors import StoreBusy
from keyfs.store.redis_client import Client, is_cluster
from keyfs.store.redis_lock import RedisLock
from keyfs.store.redis_swap import Values, change, fetch, swap

TRIES: Final = 10


class RedisBeside:
    """Named values under a prefix of their own.

    Args:
        client: for the store.
        lock: that of the store's writers.
        prefix: of the keys here, slash included.
        replicas: how many must have a write before it is acknowledged.
    """

    def __init__(self, client: Client, lock: RedisLock, prefix: str, replicas: int) -> None:
        self._client = client
        self._lock = lock
        self._prefix = prefix
        self._replicas = replicas

    def read(self, name: str) -> bytes | None:
        """See `Store.read_beside`.

        Raises:
            MaterialCorrupt: it is no string.
            redis.RedisError, OSError: no answer, or a refusal.
        """
        key = self._key(name)
        return fetch(self._client, [key])[key]

    def write(self, name: str, data: bytes, *, is_locked: bool) -> None:
        """See `Store.write_beside`.

        Raises:
            StoreBusy, StoreUnavailable, MaterialCorrupt, redis.RedisError, OSError: as `swap`.
        """
        if not is_locked:
            self._change(name, lambda _old: data)
        elif is_cluster(self._client):  # where no transaction spans the two
            self._lock.renew()
            self._change(name, lambda _old: data)
        else:
            self._write_locked(self._key(name), data)

    def append(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`. Not by APPEND: whether that happened nobody could tell."""
        self._change(name, lambda old: (old or b"") + line + b"\n")

    def _change(self, name: str, new: Callable[[bytes | None], bytes]) -> None:
        key = self._key(name)
        for _ in range(TRIES):
            now = fetch(self._client, [key])
            if swap(self._client, now, {key: new(now[key])}, replicas=self._replicas):
                return
        raise _busy(key)

    def _write_locked(self, key: bytes, data: bytes) -> None:
        def decide(now: Values) -> Values:
            self._lock.demand(now[self._lock.key])
            return {key: data}

        keys = [self._lock.key, key]
        for _ in range(TRIES):
            if change(self._client, keys, decide, also=[self._lock.renewal], replicas=self._replicas):
                return
        raise _busy(key)

    def _key(self, name: str) -> bytes:
        return (self._prefix + name).encode()


def _busy(key: bytes) -> StoreBusy:
    return StoreBusy(f"others write {key.decode()} all the time, nothing was changed: retry")
