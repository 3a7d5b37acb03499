"""Stores of the Redis driver for tests, and every call that one has."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

from keyfs.store.base import Replacement
from keyfs.store.redis import RedisStore
from keyfs.store.redis_uri import parse_redis_uri
from keyfs.testing.store_steps import MTIME_NS, delete, put, rewrite, set_aside

READS: Final[dict[str, Callable[[RedisStore], object]]] = {
    "now_ns": lambda s: s.now_ns(),
    "list_all": lambda s: s.list_all(),
    "list_under": lambda s: s.list_under("key.old"),
    "stat": lambda s: s.stat("key"),
    "stat_many": lambda s: s.stat_many(["key", "absent"]),
    "get": lambda s: s.get("key"),
    "get_many": lambda s: s.get_many(["key", "absent"]),
    "read_beside": lambda s: s.read_beside("note"),
    "watch": lambda s: s.watch().close(),
}
"""Whatever only looks."""
WRITES: Final[dict[str, Callable[[RedisStore], object]]] = {
    "lock": lambda s: s.lock().__enter__(),
    "supersede": lambda s: put(s, "key", b"new", "key.old/1"),
    "rewrite": lambda s: rewrite(s, "key", s.get("key").data, b"new"),
    "write_beside": lambda s: s.write_beside("note", b"new"),
    "append_beside": lambda s: s.append_beside("log", b"line"),
    "set_aside": lambda s: set_aside(s, "key"),
    "delete": lambda s: delete(s, "key"),
}
"""Whatever changes something, the lock taken as a writer does."""


def open_redis(uri: str, **environment: str) -> RedisStore:
    """The store that *uri* names; the caller closes it."""
    return RedisStore(*parse_redis_uri(uri, environment))


@contextmanager
def redis_store(uri: str, **environment: str) -> Iterator[RedisStore]:
    """The store that *uri* names."""
    with closing(open_redis(uri, **environment)) as store:
        yield store


def put_after(store: RedisStore, event: Callable[[], object]) -> None:
    """Let something happen between taking the lock and writing."""
    with store.lock():
        event()
        store.supersede([Replacement("key", b"new", 0o600, MTIME_NS, "key.old/1")])
