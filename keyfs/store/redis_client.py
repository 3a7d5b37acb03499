"""Connections to Redis: one server, a unix socket, Sentinel's primary, or a cluster.

redis-py retries ten times by default, so that a time-out of 1 s takes 14 s; here nothing is retried.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import redis
from redis import exceptions as failure
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from keyfs.errors import (
    AccessDenied,
    InvalidSettings,
    KeyfsError,
    MaterialCorrupt,
    ReadOnly,
    StoreFull,
    StoreUnavailable,
)
from keyfs.store.redis_uri import TLS, RedisPlace

CONNECT_WITHIN_S: Final = 1.0
ANSWER_WITHIN_S: Final = 1.0
PROTOCOL: Final = 2
PUSH_PROTOCOL: Final = 3
# Else redis-py asks the server to push news of its own maintenance. Before 8.1 it takes this with RESP3 only.
_PUSH_ONLY: Final = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}

# What redis-py raises when there is no answer, or one that is none of Redis's: its parser trips over that.
_NONSENSE: Final = (ValueError, TypeError, AttributeError, LookupError)
FAILURES: Final = (failure.RedisError, failure.RedisClusterException, OSError, *_NONSENSE)
_BY_FAILURE: Final[tuple[tuple[type[Exception], type[KeyfsError]], ...]] = (
    (failure.AuthenticationError, AccessDenied),
    (failure.NoPermissionError, AccessDenied),
    (failure.ReadOnlyError, ReadOnly),
    (failure.OutOfMemoryError, StoreFull),
)
# redis-py's own annotations say `str | bytes` for every answer, and nothing for half of the calls.
Client = Any


class _NamedTLS(SSLConnection):
    """TLS that asks for, and verifies, another name than the address (SNI); redis-py has no option for it."""

    def __init__(self, *, server_name: str, **options: Any) -> None:  # noqa: ANN401 - redis-py's own options
        super().__init__(**options)
        self._server_name = server_name

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> Any:  # noqa: ANN401 - as in redis-py
        address, self.host = self.host, self._server_name
        try:
            return super()._wrap_socket_with_ssl(sock)
        finally:
            self.host = address


class _NamedSentinelTLS(SentinelManagedConnection, _NamedTLS):
    pass


class Connector:
    """Opens clients and push connections for one place.

    Raises:
        InvalidSettings: a certificate file cannot be read.
    """

    def __init__(self, place: RedisPlace, password: str | None) -> None:
        self._place = place
        self._password = password
        self._tls = {} if place.tls is None else _tls_options(place.tls)

    def client(self, protocol: int = PROTOCOL) -> Client:
        """A client that nothing is sent with yet (a cluster is asked for its nodes)."""
        place, options = self._place, self._options(protocol)
        if place.scheme == "redis+cluster":
            nodes = [ClusterNode(host, port) for host, port in place.hosts]
            tls = {"ssl": True, **self._tls} if place.tls is not None else {}
            return RedisCluster(startup_nodes=nodes, **tls, **options)
        options |= {"db": place.db, "connection_class": self._connection_class()}
        if place.scheme == "redis+sentinel":
            return self._sentinel().master_for(place.service, **options, **self._tls)
        if place.scheme == "unix":
            return redis.Redis.from_pool(ConnectionPool(path=place.path, **options))
        [(host, port)] = place.hosts
        return redis.Redis.from_pool(ConnectionPool(host=host, port=port, **options, **self._tls))

    def push_connections(self) -> list[Any]:
        """New connections that speak RESP3, one to each server that holds keys of the store.

        Raises:
            redis.RedisError: no connection.
        """
        return self.connections(PUSH_PROTOCOL)

    def connections(self, protocol: int = PROTOCOL) -> list[Any]:
        """New connections that belong to no client, one to each server that holds keys of the store.

        Raises:
            redis.RedisError: no connection.
        """
        client = self.client(protocol)
        opened: list[Any] = []
        try:
            for pool in _pools(client):
                opened.append(pool.make_connection())  # not the pool's: closing the client spares it
                opened[-1].connect()
        except BaseException:
            disconnect(opened)
            raise
        finally:
            close(client)
        return opened

    def _connection_class(self) -> type[Connection | UnixDomainSocketConnection]:
        tls, is_sentinel = self._place.tls, self._place.scheme == "redis+sentinel"
        if self._place.scheme == "unix":
            return UnixDomainSocketConnection
        if tls is None:
            return SentinelManagedConnection if is_sentinel else Connection
        if tls.sni is None:
            return SentinelManagedSSLConnection if is_sentinel else SSLConnection
        return _NamedSentinelTLS if is_sentinel else _NamedTLS

    def _sentinel(self) -> Sentinel:
        """The Sentinels speak TLS if the servers do, under their own names, and ask for no password."""
        options: dict[str, Any] = {
            "socket_timeout": ANSWER_WITHIN_S,
            "socket_connect_timeout": CONNECT_WITHIN_S,
            "retry": no_retry(),
        }
        if self._place.tls is not None:
            named = {"server_name"}
            options |= {"ssl": True} | {name: self._tls[name] for name in self._tls if name not in named}
        return Sentinel(list(self._place.hosts), sentinel_kwargs=options)

    def _options(self, protocol: int) -> dict[str, Any]:
        return {
            "username": self._place.username,
            "password": self._password,
            "protocol": protocol,
            "socket_timeout": ANSWER_WITHIN_S,
            "socket_connect_timeout": CONNECT_WITHIN_S,
            "retry": no_retry(),
            "client_name": "keyfs",
            **(_PUSH_ONLY if protocol == PUSH_PROTOCOL else {}),
        }


def _tls_options(tls: TLS) -> dict[str, Any]:
    for parameter, path in (("tls_ca", tls.ca), ("tls_cert", tls.cert), ("tls_key", tls.key)):
        if path is not None and not os.access(path, os.R_OK):
            raise InvalidSettings(f"{parameter}: {path} cannot be read")
    options = {
        "ssl_ca_certs": tls.ca,
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key,
        "server_name": tls.sni,
    }
    return {name: value for name, value in options.items() if value is not None}


def no_retry() -> Retry:
    """For redis-py: fail at the first failure."""
    return Retry(NoBackoff(), 0)


def close(client: Client) -> None:
    """Close a client with all its connections, those to Sentinels too. Safe to call twice."""
    client.close()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in () if manager is None else manager.sentinels:
        sentinel.close()


def disconnect(connections: Sequence[Any]) -> None:
    """Close connections that belong to no client."""
    for connection in connections:
        connection.disconnect()


@contextmanager
def borrowed(client: Client, key: bytes) -> Iterator[Any]:
    """A connection to the server that holds *key*, ours alone; after an error it is not used again."""
    pool = _pools(client, key)[0]
    connection = pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def is_cluster(client: Client) -> bool:
    """Whether keys are spread over servers, and commands go to one slot each."""
    return isinstance(client, RedisCluster)


def _pools(client: Client, key: bytes | None = None) -> list[Any]:
    """Of all servers that hold keys, or of the one that holds *key*."""
    if not is_cluster(client):
        return [client.connection_pool]
    nodes = client.get_primaries() if key is None else [client.get_node_from_key(key)]
    return [client.get_redis_connection(node).connection_pool for node in nodes]


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what redis-py raises inside the block into the keyfs error that says what the caller can do.

    Raises:
        AccessDenied, ReadOnly, StoreFull, MaterialCorrupt, StoreUnavailable: by the server's answer.
    """
    try:
        yield
    except FAILURES as exc:
        # Not `from exc`: a server that does not know AUTH repeats its arguments, the password among them.
        raise as_keyfs_error(doing, exc) from None


def as_keyfs_error(doing: str, exc: Exception) -> KeyfsError:
    """The keyfs error for one of redis-py's."""
    cause = exc.__cause__ if isinstance(exc, failure.RedisClusterException) else None
    told = cause if isinstance(cause, failure.RedisError) else exc
    text = " ".join(str(told).split())
    for addition in (", with args beginning with", " : <"):  # a command's arguments, redis-py's objects
        text = text.partition(addition)[0]
    if is_wrong_type(told):
        return MaterialCorrupt(f"cannot {doing}: it is no string in Redis")
    kind = next((ours for theirs, ours in _BY_FAILURE if isinstance(told, theirs)), StoreUnavailable)
    return kind(f"cannot {doing}: Redis: {text[:200] or type(told).__name__}")


def is_wrong_type(exc: Exception) -> bool:
    """Whether the server refused because a key holds no string."""
    return isinstance(exc, failure.ResponseError) and str(exc).startswith("WRONGTYPE")
