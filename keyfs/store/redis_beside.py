"""What is kept beside a key store in Redis: strings as they are, not base64. No blob is ever among them."""

from collections.abc import Callable
from typing import Final

from keyfs.errors import StoreBusy
from keyfs.store.redis_client import Client
from keyfs.store.redis_swap import fetch, swap

TRIES: Final = 10


class RedisBeside:
    """Named values under a prefix of their own.

    Args:
        client: for the store.
        prefix: of the keys here, slash included.
        replicas: how many must have a write before it is acknowledged.
    """

    def __init__(self, client: Client, prefix: str, replicas: int) -> None:
        self._client = client
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

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write_beside`.

        Raises:
            StoreBusy, StoreUnavailable, MaterialCorrupt, redis.RedisError, OSError: as `swap`.
        """
        self._change(name, lambda _old: data)

    def append(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`. Not by APPEND: whether that happened nobody could tell."""
        self._change(name, lambda old: (old or b"") + line + b"\n")

    def _change(self, name: str, change: Callable[[bytes | None], bytes]) -> None:
        key = self._key(name)
        for _ in range(TRIES):
            now = fetch(self._client, [key])
            if swap(self._client, now, {key: change(now[key])}, replicas=self._replicas):
                return
        raise StoreBusy(f"others write {key.decode()} all the time, nothing was changed: retry")

    def _key(self, name: str) -> bytes:
        return (self._prefix + name).encode()
