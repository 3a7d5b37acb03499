"""Two stores as one: the key store itself, and an annex beside it for what Acra must never see.

Names in the annex begin with `ANNEX`. While there is no annex there is nothing in it; it is made when someone
locks it to write.
"""

import select
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import Final, Protocol, TypeVar

from keyfs.errors import KeyfsError, KeyNotFound
from keyfs.store.base import ANNEX, Blob, BlobStat, Listing, Page, Pages, Replacement, Store
from keyfs.store.facts import whole
from keyfs.store.watching import Changes, Watch

_NOTHING: Final = Changes(frozenset(), lost=False)
_Value = TypeVar("_Value")


class Annex(Protocol):
    """Where the second store is, or will be."""

    def place(self) -> object:
        """What tells the store that is there from one that was there before; None for none. Never fails."""

    def find(self) -> Store | None:
        """The store; None while there is none.

        Raises:
            StoreUnavailable, AccessDenied, InsecurePermissions, StoreInvalid: it cannot be seen, or used.
        """

    def make(self) -> Store:
        """The store, made if need be.

        Raises:
            As `find`; ReadOnly, StoreFull: it cannot be made.
        """


class JoinedStore:
    """See this module's first lines.

    Args:
        main: what lies beside it is what lies beside the whole.
        annex: on the same kind of medium.
    """

    def __init__(self, main: Store, annex: Annex) -> None:
        self._main = main
        self._annex = annex
        self.name_limit = main.name_limit
        self.lists_directories = main.lists_directories
        self.now_ns = main.now_ns
        self.describe = main.describe
        self.read_beside = main.read_beside
        self.write_beside = main.write_beside
        self.append_beside = main.append_beside
        self.channel = main.channel  # on which no name in the annex is asked for

    def list_pages(self) -> Pages:
        """See `Store.list_pages`: first the main part's, then the annex's."""
        with closing(self._main.list_pages()) as pages:
            yield from pages
        annex = self._annex.find()
        if annex is None:
            return
        with closing(annex.list_pages()) as pages:
            for page in pages:
                yield Page(_outer(page.blobs), _outer(page.strays))

    def list_all(self) -> Listing:
        """See `Store.list_all`."""
        return whole(self.list_pages())

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`."""
        if not directory.startswith(ANNEX):
            return self._main.list_under(directory)
        annex = self._annex.find()
        return {} if annex is None else _outer(annex.list_under(directory.removeprefix(ANNEX)))

    def mark(self, directory: str) -> object:
        """See `Store.mark`; nothing tells of the annex."""
        return None if directory.startswith(ANNEX) else self._main.mark(directory)

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`."""
        return self.stat_many([name]).get(name)

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`; one round trip to each of the two that is meant."""
        here, there = _parted(names)
        found = self._main.stat_many(here) if here else {}
        annex = self._annex.find() if there else None
        return found if annex is None else found | _outer(annex.stat_many(there))

    def get(self, name: str) -> Blob:
        """See `Store.get`."""
        if not name.startswith(ANNEX):
            return self._main.get(name)
        annex = self._annex.find()
        if annex is None:
            raise KeyNotFound(f"there is no {name}")
        return annex.get(name.removeprefix(ANNEX))

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`; as `stat_many`."""
        here, there = _parted(names)
        found = self._main.get_many(here) if here else {}
        annex = self._annex.find() if there else None
        if annex is None:
            return found | {ANNEX + name: KeyNotFound(f"there is no {name}") for name in there}
        return found | _outer(annex.get_many(there))

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`: all of them lie in one of the two."""
        plan = tuple(replacements)
        if not any(item.name.startswith(ANNEX) for item in plan):
            self._main.supersede(plan)
            return
        self._annex.make().supersede(
            Replacement(
                _inner(item.name), item.data, item.mode, item.mtime_ns, item.archive and _inner(item.archive)
            )
            for item in plan
        )

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """See `Store.rewrite`: all of them lie in one of the two."""
        if not names[0].startswith(ANNEX):
            return self._main.rewrite(names, expected, data)
        annex = self._annex.find()
        return annex is not None and annex.rewrite([_inner(name) for name in names], expected, data)

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`."""
        here, there = _parted(names)
        if here:
            self._main.delete(here)
        annex = self._annex.find() if there else None
        if annex is not None:
            annex.delete(there)

    def set_aside(self, name: str) -> str:
        """See `Store.set_aside`."""
        if not name.startswith(ANNEX):
            return self._main.set_aside(name)
        annex = self._annex.find()
        if annex is None:
            raise KeyNotFound(f"there is no {name}")
        return annex.set_aside(name.removeprefix(ANNEX))

    def stuck_locks(self, *names: str) -> tuple[str, ...]:
        """See `Store.stuck_locks`: those of both."""
        annex = self._annex.find()
        return self._main.stuck_locks(*names) + (() if annex is None else annex.stuck_locks())

    def break_lock(self, lock: str) -> bool:
        """See `Store.break_lock`; both lie on one medium."""
        return self._main.break_lock(lock)

    def lock(self, name: str = "") -> AbstractContextManager[None]:
        """See `Store.lock`: of the part where *name* lies, or of both."""
        if not name:
            return self._lock_both()
        return self._annex.make().lock() if name.startswith(ANNEX) else self._main.lock(name)

    def watch(self) -> "JoinedWatch":
        """See `Store.watch`."""
        return JoinedWatch(self._main.watch(), self._annex)

    def close(self) -> None:
        """See `Store.close`."""
        with suppress(KeyfsError):  # what cannot be found was never opened
            annex = self._annex.find()
            if annex is not None:
                annex.close()
        self._main.close()

    @contextmanager
    def _lock_both(self) -> Iterator[None]:
        """The main part first, whoever asks. An annex that is not there is made by someone who locks it."""
        with self._main.lock():
            annex = self._annex.find()
            with nullcontext() if annex is None else annex.lock():
                yield


class JoinedWatch:
    """Watches both parts; the annex once it is there, and another one when that has taken its place."""

    def __init__(self, main: Watch, annex: Annex) -> None:
        self._main = main
        self._annex = annex
        self._second: Watch | None = None
        self._place: object = None  # of the annex that is watched
        self.waits = main.waits
        self._epoll = select.epoll()
        self._epoll.register(main.fileno(), select.EPOLLIN)
        try:
            self._turn()
        except BaseException:
            self.close()
            raise

    @property
    def is_connected(self) -> bool:
        """See `Watch.is_connected`."""
        second = self._second
        return self._main.is_connected and (second is None or second.is_connected)

    def fileno(self) -> int:
        """See `Watch.fileno`. An annex that comes or goes is noticed when somebody asks for `pending`."""
        return self._epoll.fileno()

    def pending(self) -> bool:
        """See `Watch.pending`."""
        second = self._second
        is_pending = self._main.pending() or (second is not None and second.pending())
        return is_pending or self._annex.place() != self._place

    def take(self) -> Changes:
        """See `Watch.take`. With the first look at an annex, what happened in it before was missed."""
        changes, is_other = self._main.take(), self._turn()
        more = _NOTHING if self._second is None else self._second.take()
        names = changes.names | {ANNEX + name for name in more.names}
        return Changes(names, changes.lost or is_other or more.lost)

    def renew(self) -> None:
        """See `Watch.renew`."""
        self._main.renew()
        if self._second is not None:
            self._second.renew()

    def close(self) -> None:
        """See `Watch.close`."""
        self._end()
        self._main.close()
        self._epoll.close()

    def _turn(self) -> bool:
        """Watch the annex that is there now; whether it is another one than before, or none any more."""
        place = self._annex.place()
        if place == self._place:
            return False
        self._end()
        annex = self._annex.find()
        if annex is not None:
            self._second = annex.watch()
            self._epoll.register(self._second.fileno(), select.EPOLLIN)
            self._place = place
        return True

    def _end(self) -> None:
        second, self._second, self._place = self._second, None, None
        if second is not None:
            self._epoll.unregister(second.fileno())
            second.close()


def _parted(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names in the main part, and those in the annex as they are called there."""
    here: list[str] = []
    there: list[str] = []
    for name in names:
        (there if name.startswith(ANNEX) else here).append(name.removeprefix(ANNEX))
    return here, there


def _outer(found: dict[str, _Value]) -> dict[str, _Value]:
    return {ANNEX + name: value for name, value in found.items()}


def _inner(name: str) -> str:
    return name.removeprefix(ANNEX)
