"""Connections to Redis: one server, a unix socket, Sentinel's master, or a cluster.

redis-py retries ten times by default, so that a time-out of 1 s takes 14 s; here nothing is retried.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
from redis import exceptions as failure
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from keyfs.errors import (
    AccessDenied,
    KeyfsError,
    MaterialCorrupt,
    ReadOnly,
    StoreFull,
    StoreUnavailable,
)
from keyfs.store.redis_uri import TLS, RedisPlace

CONNECT_WITHIN_S: Final = 1.0
ANSWER_WITHIN_S: Final = 1.0

# The most special first: redis-py's classes inherit from one another.
_BY_FAILURE: Final[tuple[tuple[type[Exception], type[KeyfsError]], ...]] = (
    (failure.AuthenticationError, AccessDenied),
    (failure.NoPermissionError, AccessDenied),
    (failure.ReadOnlyError, ReadOnly),
    (failure.OutOfMemoryError, StoreFull),
    (failure.RedisError, StoreUnavailable),
    (OSError, StoreUnavailable),
)
# redis-py's own annotations say `str | bytes` for every answer, and nothing for half of the calls.
Client = Any


class Connector:
    """Opens clients and push connections for one place."""

    def __init__(self, place: RedisPlace, password: str | None) -> None:
        self._place = place
        self._password = password

    def client(self, protocol: int = 2) -> Client:
        """A client that nothing is sent with yet (a cluster is asked for its nodes)."""
        place = self._place
        if place.scheme == "redis+cluster":
            nodes = [ClusterNode(host, port) for host, port in place.hosts]
            return RedisCluster(startup_nodes=nodes, **self._common(protocol), cluster_error_retry_attempts=1)
        if place.scheme == "redis+sentinel":
            return self._sentinel(protocol)
        if place.scheme == "unix":
            return redis.Redis(unix_socket_path=place.path, db=place.db, **self._common(protocol))
        [(host, port), *_] = place.hosts
        return redis.Redis(host=host, port=port, db=place.db, **self._common(protocol))

    def push_connections(self) -> list[Any]:
        """New connections that speak RESP3, one to each server that holds keys of the store.

        Raises:
            redis.RedisError: no connection.
        """
        client = self.client(protocol=3)
        if isinstance(client, RedisCluster):
            clients = [node.redis_connection for node in client.get_primaries()]
        else:
            clients = [client]
        return [one.connection_pool.get_connection() for one in clients if one is not None]

    def _sentinel(self, protocol: int) -> Client:
        timeouts = {"socket_timeout": ANSWER_WITHIN_S, "socket_connect_timeout": CONNECT_WITHIN_S}
        sentinel = Sentinel(list(self._place.hosts), sentinel_kwargs={**timeouts, "retry": no_retry()})
        common = self._common(protocol)
        if self._place.tls is not None:
            common["ssl"] = True
        return sentinel.master_for(self._place.service, db=self._place.db, **common)

    def _common(self, protocol: int) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": self._place.username,
            "password": self._password,
            "protocol": protocol,
            "socket_timeout": ANSWER_WITHIN_S,
            "socket_connect_timeout": CONNECT_WITHIN_S,
            "retry": no_retry(),
            "client_name": "keyfs",
        }
        if self._place.tls is not None:
            options |= _tls_options(self._place.tls)
        return options


def _tls_options(tls: TLS) -> dict[str, Any]:
    options = {
        "ssl": True,
        "ssl_ca_certs": tls.ca,
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key,
    }
    return {name: value for name, value in options.items() if value is not None}


def no_retry() -> Retry:
    """For redis-py: fail at the first failure."""
    return Retry(NoBackoff(), 0)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what redis-py raises inside the block into the keyfs error that says what the caller can do.

    Raises:
        AccessDenied, ReadOnly, StoreFull, MaterialCorrupt, StoreUnavailable: by the server's answer.
    """
    try:
        yield
    except (failure.RedisError, OSError) as exc:
        raise as_keyfs_error(doing, exc) from exc


def as_keyfs_error(doing: str, exc: Exception) -> KeyfsError:
    """The keyfs error for one of redis-py's."""
    text = " ".join(str(exc).split())
    if "WRONGTYPE" in text:
        return MaterialCorrupt(f"cannot {doing}: it is no string in Redis")
    kind = next(ours for theirs, ours in _BY_FAILURE if isinstance(exc, theirs))
    if "OOM" in text or "-OOM" in text:
        kind = StoreFull
    elif text.startswith(("NOPERM", "NOAUTH", "WRONGPASS")):
        kind = AccessDenied
    elif text.startswith("READONLY"):
        kind = ReadOnly
    return kind(f"cannot {doing}: Redis: {text[:200] or type(exc).__name__}")
