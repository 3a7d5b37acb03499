"""The Redis driver: one plain string per blob under a prefix, as Acra keeps them.

Rotation is one transaction on the server: archive and switch happen together or not at all. In a cluster
Acra's key names put a key, its history and its public half into different slots, and no transaction spans
slots: there the order is archive first, then private, then public, and a crash in between leaves every
version readable, at worst one twice.

Under Sentinel, replication is asynchronous: a fail-over can lose what was acknowledged a moment before,
unless `wait=N` in the URI has each write acknowledged only when N replicas have it.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress

from keyfs.errors import KeyfsError, KeyNotFound, MaterialCorrupt
from keyfs.store.base import (
    STATES_BESIDE,
    Blob,
    BlobStat,
    Listing,
    Page,
    Pages,
    Replacement,
    beside_name,
    parent,
    parts_are_safe,
)
from keyfs.store.facts import unpack, whole
from keyfs.store.redis_beside import RedisBeside
from keyfs.store.redis_channel import RedisChannel
from keyfs.store.redis_client import Client, Connector, close, is_cluster, translated
from keyfs.store.redis_foreign_lock import HeldKey, key_lock
from keyfs.store.redis_listing import PAGE_KEYS, Values, scanned, value_pages
from keyfs.store.redis_lock import RedisLock, lasting, remove_lasting
from keyfs.store.redis_rotation import Rotation, Switch
from keyfs.store.redis_swap import fetch_each, swap
from keyfs.store.redis_uri import RedisPlace
from keyfs.store.redis_values import decode, encode, packed, plain
from keyfs.store.redis_watch import RedisWatch

Value = bytes | None | Exception


class RedisStore:
    """Blobs in Redis.

    Args:
        place: parsed from the URI.
        password: kept only in the connections.
        is_plain: tells names whose values are no base64.

    Raises:
        StoreUnavailable, AccessDenied: the server does not answer, or not to us.
        InvalidSettings: a certificate file cannot be read.
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
        self._prefix = f"{place.prefix}/".encode()
        self._connector = Connector(place, password)
        with translated(f"reach {place.describe()}"):
            self._client: Client = self._connector.client()
            self._is_cluster = is_cluster(self._client)
            try:
                self._client.ping()
            except BaseException:
                close(self._client)
                raise
        self._lock = RedisLock(self._client, f"{place.prefix}.keyfs/lock")
        self._rotation = Rotation(self._client, self._lock, place.wait)
        self._beside = RedisBeside(self._client, self._lock, f"{place.prefix}.keyfs/", place.wait)

    def now_ns(self) -> int:
        """See `Store.now_ns`: one server's clock, so that stamps of several hosts are in order."""
        told_ns = self._lock.time_ns()
        if told_ns is not None:
            return told_ns
        with translated("ask for the time"):
            one = {"target_nodes": self._client.get_node_from_key(self._lock.key)} if self._is_cluster else {}
            seconds, microseconds = self._client.time(**one)
        return (int(seconds) * 1_000_000 + int(microseconds)) * 1000

    def describe(self) -> str:
        """The URI without a password."""
        return self._place.describe()

    def list_pages(self) -> Pages:
        """See `Store.list_pages`. The values are fetched: asking for their lengths costs more."""
        with translated("list the key store"), closing(value_pages(self._client, self._prefix)) as pages:
            for found in pages:
                yield self._page(found)

    def list_all(self) -> Listing:
        """See `Store.list_all`."""
        return whole(self.list_pages())

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`."""
        begin = self._key(directory) + b"/"
        with translated("list the key store"):
            names = {os.fsdecode(key.removeprefix(self._prefix)) for key in scanned(self._client, begin)}
        return self.stat_many(name for name in names if parts_are_safe(name) and parent(name) == directory)

    def mark(self, directory: str) -> None:
        """See `Store.mark`: nothing tells."""

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`; None too for what is no string."""
        return self.stat_many([name]).get(name)

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`. The values are small, so they are fetched: that gives a true identity."""
        values = self._values(names).items()
        return {name: self._stat(name, value) for name, value in values if isinstance(value, bytes)}

    def get(self, name: str) -> Blob:
        """See `Store.get`."""
        blob = self.get_many([name])[name]
        if isinstance(blob, KeyfsError):
            raise blob
        return blob

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`: one round trip, and outside a cluster all of one moment."""
        found: dict[str, Blob | KeyfsError] = {}
        for name, value in self._values(names).items():
            try:
                found[name] = self._blob(name, value)
            except KeyfsError as exc:
                found[name] = exc
        return found

    def channel(self) -> RedisChannel | None:
        """See `Store.channel`. In a cluster keys are on several servers, and move: there is none."""
        if self._is_cluster:
            return None
        with translated(f"reach {self.describe()}"):
            [connection] = self._connector.connections()
            return RedisChannel(connection, self._key, self._blob)

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`."""
        switches = [
            Switch(
                self._key(item.name),
                self._encoded(item.name, item.data),
                None if item.archive is None else self._key(item.archive),
            )
            for item in replacements
        ]
        if not switches:
            return
        with translated(f"write {os.fsdecode(switches[0].key)}"):
            (self._rotation.in_order if self._is_cluster else self._rotation.at_once)(switches)

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """See `Store.rewrite`: one transaction; in a cluster one for each name."""
        keys = [self._key(name) for name in names]
        is_plain = self._is_plain(names[0])

        def is_old(value: bytes | None) -> bool:
            if value is None:
                return False
            with suppress(MaterialCorrupt):
                return (plain(value) if is_plain else decode(names[0], value)).data == expected
            return False

        with translated(f"rewrite {names[0]}"):
            work = self._rotation.rewrite_in_order if self._is_cluster else self._rotation.rewrite
            return work(keys, is_old, self._encoded(names[0], data))

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`."""
        keys = [self._key(name) for name in names]
        with translated("delete from the key store"):
            self._lock.renew()  # or notice that it is not ours any more
            for key in keys:
                self._client.delete(key)

    def set_aside(self, name: str) -> str:
        """See `Store.set_aside`: to `PREFIX.keyfs/set-aside/`."""
        key = self._key(name)
        target = os.fsencode(
            f"{self._place.prefix}.keyfs/set-aside/{time.time_ns()}-{name.replace('/', '%')}"
        )
        with translated(f"set {name} aside"):
            if not self._client.exists(key):
                raise KeyNotFound(f"there is no {name}")
            if not self._is_cluster:
                self._client.renamenx(key, target)
                return os.fsdecode(target)
            value = self._client.get(key)
            self._client.set(target, value)
            swap(self._client, {key: value}, {key: None})
            return os.fsdecode(target)

    def read_beside(self, name: str) -> bytes | None:
        """See `Store.read_beside`: of `PREFIX.keyfs/NAME`."""
        with translated(f"read {name} beside the key store"):
            return self._beside.read(beside_name(name))

    def write_beside(self, name: str, data: bytes, *, is_locked: bool = False) -> None:
        """See `Store.write_beside`."""
        with translated(f"write {name} beside the key store"):
            self._beside.write(beside_name(name), data, is_locked=is_locked)

    def append_beside(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`."""
        with translated(f"write {name} beside the key store"):
            self._beside.append(beside_name(name), line)

    def lock(self, name: str = "") -> AbstractContextManager[None]:
        """See `Store.lock`. A store has one part."""
        return self._lock.hold()

    def stuck_locks(self, *names: str) -> tuple[str, ...]:
        """See `Store.stuck_locks`: those keys without an end."""
        with translated("look at locks"):
            return lasting(self._client, [self._lock.key, *map(self._key, names)])

    def break_lock(self, lock: str) -> bool:
        """See `Store.break_lock`. One that is no string is nobody's lock, and stays."""
        with translated(f"remove {lock}"):
            return remove_lasting(self._client, lock.encode())

    def foreign_lock(self, name: str) -> AbstractContextManager[HeldKey]:
        """See `keyfs.store.ring_changes.RingMedium.foreign_lock`: that key, as Acra sets it."""
        return key_lock(self._client, self._key(name))

    def watch(self) -> RedisWatch:
        """See `Store.watch`."""
        with translated("watch the key store"):
            states = f"{self._place.prefix}.keyfs/{STATES_BESIDE}".encode()
            return RedisWatch(self._connector.push_connections, self._prefix, states)

    def close(self) -> None:
        """See `Store.close`."""
        close(self._client)

    def _key(self, name: str) -> bytes:
        if not parts_are_safe(name):
            raise KeyNotFound(f"{name!r} is not a blob's name")
        return self._prefix + os.fsencode(name)

    def _page(self, found: Values) -> Page:
        page, is_plain = Page({}, {}), self._is_plain
        for name, value in zip(self._names(found), found.values(), strict=True):
            if not parts_are_safe(name):
                page.strays[name] = "its name is not that of a blob"
            elif isinstance(value, bytes):
                page.blobs[name] = packed(value, is_plain=is_plain(name))
            elif value is not None:
                page.strays[name] = "not a string in Redis"
        return page

    def _names(self, keys: Collection[bytes]) -> list[str]:
        """The names of the blobs under these keys."""
        begin = len(os.fsdecode(self._prefix))
        names = [name[begin:] for name in os.fsdecode(b"\0".join(keys)).split("\0")]
        if len(names) != len(keys):  # a name has a NUL: it is a stray, but what is before it may be none
            return [os.fsdecode(key)[begin:] for key in keys]
        return names

    def _values(self, names: Iterable[str]) -> dict[str, Value]:
        """Each name's value, None, or an exception for what is no string."""
        keys = {self._key(name): name for name in names}
        found: dict[str, Value] = {}
        with translated("read from the key store"):
            for some in _chunks(list(keys)):
                found.update((keys[key], value) for key, value in fetch_each(self._client, some).items())
        return found

    def _blob(self, name: str, value: Value) -> Blob:
        if value is None:
            raise KeyNotFound(f"there is no {name}")
        if isinstance(value, Exception):
            raise MaterialCorrupt(f"{name} is no string in Redis")
        return plain(value) if self._is_plain(name) else decode(name, value)

    def _stat(self, name: str, value: bytes) -> BlobStat:
        return unpack(packed(value, is_plain=self._is_plain(name)))

    def _encoded(self, name: str, data: bytes) -> bytes:
        return data if self._is_plain(name) else encode(data)


def _chunks(keys: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), PAGE_KEYS):
        yield keys[start : start + PAGE_KEYS]
