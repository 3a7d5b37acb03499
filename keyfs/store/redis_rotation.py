"""Writing in Redis: rotation archives what is superseded, and switches; a rewrite only switches."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from keyfs.errors import KeyfsError, StoreBusy, StoreUnavailable
from keyfs.store.redis_client import FAILURES, Client, is_wrong_type
from keyfs.store.redis_lock import RedisLock
from keyfs.store.redis_swap import Values, change, fetch, swap

TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Switch:
    """One key that gets another value; what it holds stays under *archive*, if that is given."""

    key: bytes
    value: bytes
    archive: bytes | None


class Rotation:
    """Carries out switches, with the writers' lock held.

    Args:
        client: for the store.
        lock: held by this thread.
        replicas: how many must have a write before it is acknowledged.
    """

    def __init__(self, client: Client, lock: RedisLock, replicas: int) -> None:
        self._client = client
        self._lock = lock
        self._replicas = replicas

    def at_once(self, switches: Sequence[Switch]) -> None:
        """Everything in one transaction, in which the lock is still ours.

        Whoever takes no lock may write meanwhile: then what was written is archived in its turn.

        Raises:
            StoreBusy, StoreUnavailable, MaterialCorrupt: nothing was changed, or the message says what.
            redis.RedisError, OSError: nothing was changed.
        """
        keys = [self._lock.key, *_keys(switches)]

        def decide(now: Values) -> Values:
            self._lock.demand(now[self._lock.key])
            return _archives(switches, now) | {item.key: item.value for item in switches}

        try:
            for _ in range(TRIES):
                if change(self._client, keys, decide, also=[self._lock.renewal], replicas=self._replicas):
                    return
        except ResponseError as exc:
            if is_wrong_type(exc):
                fetch(self._client, keys)  # says which of them
            raise
        raise StoreBusy("others write all the time, nothing was changed: retry")

    def in_order(self, switches: Sequence[Switch]) -> None:
        """For a cluster, where no transaction spans slots: archive all, then switch one after the other.

        A crash on the way leaves every version readable, at worst one twice.

        Raises:
            As `at_once`. Once the first is switched, an error leaves the others as they were.
        """
        self._lock.renew()
        now = fetch(self._client, _keys(switches))
        archives = _archives(switches, now)
        first, *others = switches
        try:
            for key, value in archives.items():
                self._swap(key, now[key], value)
            self._swap(first.key, now[first.key], first.value)
        except (KeyfsError, *FAILURES):
            self._undo(item for item in switches if item.archive in archives and now[item.archive] is None)
            raise
        for item in others:
            self._swap(item.key, now[item.key], item.value)

    def rewrite(self, keys: Sequence[bytes], is_old: Callable[[bytes | None], bool], value: bytes) -> bool:
        """Let *keys* hold *value*, all at once, if all that do not hold it yet are as *is_old* says.

        Raises:
            StoreBusy: the lock ended; nothing was changed.
            StoreUnavailable, MaterialCorrupt, redis.RedisError, OSError: as `swap`.
        """
        now = fetch(self._client, [self._lock.key, *keys])
        self._lock.demand(now[self._lock.key])
        new = {key: value for key in keys if now[key] != value}
        if not all(is_old(now[key]) for key in new):
            return False
        return swap(self._client, now, new, also=[self._lock.renewal], replicas=self._replicas)

    def rewrite_in_order(
        self, keys: Sequence[bytes], is_old: Callable[[bytes | None], bool], value: bytes
    ) -> bool:
        """As `rewrite`, for a cluster: a crash on the way leaves some keys as they were, others done."""
        self._lock.renew()
        now = fetch(self._client, keys)
        left = {key: now[key] for key in keys if now[key] != value}
        if not all(map(is_old, left.values())):
            return False
        return all(
            swap(self._client, {key: old}, {key: value}, replicas=self._replicas) for key, old in left.items()
        )

    def _swap(self, key: bytes, old: bytes | None, new: bytes) -> None:
        if old != new and not swap(self._client, {key: old}, {key: new}, replicas=self._replicas):
            raise StoreBusy("someone else wrote at the same moment: retry")

    def _undo(self, switches: Iterable[Switch]) -> None:
        """Remove archived copies of what is still current; what stays behind, a check tells of."""
        with suppress(KeyfsError, *FAILURES):
            for item in switches:
                now = fetch(self._client, _keys([item]))
                if item.archive is not None and now[item.key] == now[item.archive]:
                    self._client.delete(item.archive)


def _keys(switches: Iterable[Switch]) -> list[bytes]:
    return [key for item in switches for key in (item.key, item.archive) if key is not None]


def _archives(switches: Iterable[Switch], now: Values) -> dict[bytes, bytes]:
    """What has to be written under archive names.

    Raises:
        StoreUnavailable: such a name is taken by other bytes.
    """
    found: dict[bytes, bytes] = {}
    for item in switches:
        old = now[item.key]
        if item.archive is None or old is None:
            continue
        if now[item.archive] not in (None, old):
            raise StoreUnavailable(f"{item.archive.decode()} is taken by other bytes: nothing was changed")
        found[item.archive] = old
    return found
