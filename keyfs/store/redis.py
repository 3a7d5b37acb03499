"""The Redis driver: one plain string per blob under a prefix, as Acra keeps them.

Rotation is one transaction on the server: archive and switch happen together or not at all. In a cluster
Acra's key names put a key, its history and its public half into different slots, and no transaction spans
slots: there the order is archive first, then private, then public, and a crash in between leaves every
version readable, at worst one twice.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, Final

import redis
from redis.cluster import RedisCluster
from redis.exceptions import WatchError

from keyfs.errors import KeyfsError, KeyNotFound, StoreBusy, StoreUnavailable
from keyfs.store.base import Blob, BlobStat, Listing, Replacement, parts_are_safe
from keyfs.store.redis_client import Client, Connector, as_keyfs_error, translated
from keyfs.store.redis_lock import RedisLock
from keyfs.store.redis_uri import RedisPlace
from keyfs.store.redis_values import decode, encode, stat_from_length
from keyfs.store.redis_watch import RedisWatch

CHUNK: Final = 1000  # commands in one round trip
TRANSACTION_TRIES: Final = 5
WAIT_MS: Final = 1000


class RedisStore:
    """Blobs in Redis.

    Args:
        place: parsed from the URI.
        password: kept only in the connections.
        is_plain: tells names whose values are no base64.

    Raises:
        StoreUnavailable, AccessDenied: the server does not answer, or not to us.
    """

    name_limit: int | None = None
    lists_directories = False  # only a scan of everything could; the index knows better

    def __init__(
        self,
        place: RedisPlace,
        password: str | None = None,
        is_plain: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self._place = place
        self._is_plain = is_plain
        self._prefix = f"{place.prefix}/"
        self._connector = Connector(place, password)
        with translated(f"reach {place.describe()}"):
            self._client: Client = self._connector.client()
            self._client.ping()
        self._unread = count()
        self._lock = RedisLock(self._client, f"{place.prefix}.keyfs/lock")

    def now_ns(self) -> int:
        """See `Store.now_ns`: the server's clock, so that stamps of several hosts are in order."""
        with translated("ask for the time"):
            node = {"target_nodes": "random"} if isinstance(self._client, RedisCluster) else {}
            seconds, microseconds = self._client.time(**node)
        return (int(seconds) * 1_000_000 + int(microseconds)) * 1000

    def describe(self) -> str:
        """The URI without a password."""
        return self._place.describe()

    def list_all(self) -> Listing:
        """See `Store.list_all`. Sizes come from lengths; no value is fetched."""
        listing = Listing({}, {})
        with translated("list the key store"):
            pattern = f"{_glob_escaped(self._prefix)}*"
            keys = {bytes(key) for key in self._client.scan_iter(match=pattern, count=CHUNK)}
            names = [os.fsdecode(key.removeprefix(self._prefix.encode())) for key in keys]
            for some in _chunks(sorted(names)):
                self._measure(some, listing)
        return listing

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`."""
        return {name: s for name, s in self.list_all().blobs.items() if name.rpartition("/")[0] == directory}

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`."""
        return self.stat_many([name]).get(name)

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`. The values are small, so they are fetched: that gives a true identity."""
        found: dict[str, BlobStat] = {}
        for name, value in self._values(names).items():
            if isinstance(value, bytes):
                try:
                    found[name] = decode(name, value).stat
                except KeyfsError:
                    found[name] = stat_from_length(len(value), value, self._unlike_all(name))
            elif value is not None:
                found[name] = stat_from_length(0, b"", self._unlike_all(name))
        return found

    def get(self, name: str) -> Blob:
        """See `Store.get`."""
        blob = self.get_many([name])[name]
        if isinstance(blob, KeyfsError):
            raise blob
        return blob

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`: one round trip."""
        found: dict[str, Blob | KeyfsError] = {}
        for name, value in self._values(names).items():
            if value is None:
                found[name] = KeyNotFound(f"there is no {name}")
            elif isinstance(value, Exception):
                found[name] = as_keyfs_error(f"read {name}", value)
            else:
                try:
                    found[name] = decode(name, encode(value) if self._is_plain(name) else value)
                except KeyfsError as exc:
                    found[name] = exc
        return found

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`."""
        plan = tuple(replacements)
        with translated(f"write {plan[0].name}"):
            if isinstance(self._client, RedisCluster):
                self._supersede_in_order(self._client, plan)
            else:
                self._supersede_at_once(self._client, plan)

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`."""
        with translated("delete"):
            for name in names:
                self._client.delete(self._key(name))

    def set_aside(self, name: str) -> None:
        """See `Store.set_aside`: to `PREFIX.keyfs/set-aside/`."""
        target = f"{self._place.prefix}.keyfs/set-aside/{time.time_ns()}-{name.replace('/', '%')}"
        with translated(f"set {name} aside"):
            value = self._client.get(self._key(name))
            if value is not None:
                self._client.set(target, value)
                self._client.delete(self._key(name))

    def lock(self) -> AbstractContextManager[None]:
        """See `Store.lock`."""
        return self._lock.hold()

    def watch(self) -> RedisWatch:
        """See `Store.watch`."""
        with translated("watch the key store"):
            return RedisWatch(self._connector.push_connections, self._prefix)

    def close(self) -> None:
        """See `Store.close`."""
        self._client.close()

    def _key(self, name: str) -> bytes:
        if not parts_are_safe(name):
            raise KeyNotFound(f"{name!r} is not a blob's name")
        return self._prefix.encode() + os.fsencode(name)

    def _unlike_all(self, name: str) -> str:
        """An identity for bytes that were not read: equal to no other, so nothing cached passes for them."""
        return f"?{next(self._unread)}:{name}"

    def _values(self, names: Iterable[str]) -> dict[str, Any]:
        """Each name's value, None, or the exception that asking for it gave."""
        wanted = list(names)
        found: dict[str, Any] = {}
        with translated("read from the key store"):
            for some in _chunks(wanted):
                pipe = self._client.pipeline(transaction=False)
                for name in some:
                    pipe.get(self._key(name))
                found.update(zip(some, pipe.execute(raise_on_error=False), strict=True))
        for value in found.values():
            if isinstance(value, (redis.ConnectionError, redis.TimeoutError)):
                raise as_keyfs_error("read from the key store", value) from value
        return found

    def _measure(self, names: list[str], listing: Listing) -> None:
        pipe = self._client.pipeline(transaction=False)
        good, empty = [], []
        for name in names:
            if parts_are_safe(name):
                good.append(name)
                pipe.strlen(self._key(name))
                pipe.getrange(self._key(name), -2, -1)
            else:
                listing.strays[name] = "its name is not that of a blob"
        answers = pipe.execute(raise_on_error=False)
        for name, length, tail in zip(good, answers[::2], answers[1::2], strict=True):
            if isinstance(length, Exception) or isinstance(tail, Exception):
                listing.strays[name] = "not a string in Redis"
            elif length:
                listing.blobs[name] = stat_from_length(length, tail, self._unlike_all(name))
            else:
                empty.append(name)
        listing.blobs.update(self.stat_many(empty))  # gone meanwhile, or a temporary that was never filled

    def _supersede_at_once(self, client: Client, plan: tuple[Replacement, ...]) -> None:
        # One connection for all of it: WAIT speaks of what this very connection wrote.
        with client.client() as connection:
            for _ in range(TRANSACTION_TRIES):
                try:
                    self._transact(connection, plan)
                except WatchError:
                    continue
                self._wait_for_replicas(connection)
                return
        raise StoreBusy(f"{plan[0].name} is being written by others all the time: retry")

    def _transact(self, connection: Client, plan: tuple[Replacement, ...]) -> None:
        """Look, then archive and switch in one transaction that fails if anything looked at has changed."""
        names = [item.name for item in plan] + [item.archive for item in plan if item.archive]
        with connection.pipeline() as pipe:
            pipe.watch(self._lock.key, *map(self._key, names))
            if not self._lock.is_mine(pipe.get(self._lock.key)):
                raise StoreBusy("the writers' lock ended before the write: retry")
            before = {name: pipe.get(self._key(name)) for name in names}
            pipe.multi()
            for item in plan:
                old = before[item.name]
                if item.archive is not None and old is not None:
                    _check_archive(item.archive, before[item.archive], old)
                    pipe.set(self._key(item.archive), old)
                pipe.set(self._key(item.name), encode(item.data))
            try:
                pipe.execute()
            except WatchError:
                raise
            except (redis.ConnectionError, redis.TimeoutError) as exc:
                self._resolve(plan, exc)

    def _resolve(self, plan: tuple[Replacement, ...], exc: Exception) -> None:
        """A transaction whose answer did not come may have happened: look, never guess.

        Raises:
            StoreUnavailable: it did not happen, or nobody can tell now.
        """
        values = self._values([item.name for item in plan])
        if any(values[item.name] != encode(item.data) for item in plan):
            raise StoreUnavailable(f"cannot write {plan[0].name}: nothing was changed") from exc

    def _wait_for_replicas(self, connection: Client) -> None:
        if not self._place.wait:
            return
        reached = int(connection.wait(self._place.wait, WAIT_MS))
        if reached < self._place.wait:
            raise StoreUnavailable(
                f"written, but only {reached} of {self._place.wait} replicas have it: a fail-over may lose it"
            )

    def _supersede_in_order(self, client: Client, plan: tuple[Replacement, ...]) -> None:
        for item in plan:
            old = client.get(self._key(item.name))
            if item.archive is not None and old is not None:
                archived = client.get(self._key(item.archive))
                _check_archive(item.archive, archived, old)
                client.set(self._key(item.archive), old)
        for item in plan:
            client.set(self._key(item.name), encode(item.data))


def _check_archive(archive: str, there: bytes | None, old: bytes) -> None:
    if there is not None and there != old:
        raise StoreUnavailable(f"{archive} is taken by other bytes: nothing was changed")


def _glob_escaped(text: str) -> str:
    """*text* as a pattern that matches only itself (Redis SCAN, MATCH)."""
    return "".join(f"\\{character}" if character in "*?[]^\\-" else character for character in text)


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
