"""Faults on purpose: a store whose calls fail, hang or are overtaken, at the call that a test names."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

from keyfs.errors import KeyfsError
from keyfs.store.base import Blob, BlobStat, Channel, Listing, Pages, Replacement, Store
from keyfs.store.facts import whole
from keyfs.store.watching import Watch

T = TypeVar("T")
Act = Callable[[], object]


def failing(error: KeyfsError) -> Act:
    """An act that raises *error*."""

    def fail() -> None:
        raise error

    return fail


class Gate:
    """An act that holds whoever comes until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        """Say that someone came, and hold them."""
        self.reached.set()
        self._opened.wait()

    def open(self) -> None:
        """Let everyone pass from now on."""
        self._opened.set()


class FaultyStore:
    """Passes every call on to *store*; before or after some of them it acts.

    Args:
        store: what does the work.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: dict[tuple[str, int | None], Act] = {}
        self._after: dict[tuple[str, int | None], Act] = {}
        self._guard = threading.Lock()
        self.name_limit = store.name_limit
        self.lists_directories = store.lists_directories
        self.counts: Counter[str] = Counter()

    def before(self, method: str, act: Act, call: int | None = 1) -> None:
        """Act just before a call of *method*: the *call*-th from now on, or every one (None)."""
        with self._guard:
            self._before[method, None if call is None else self.counts[method] + call] = act

    def after(self, method: str, act: Act, call: int | None = 1) -> None:
        """Act when the work is done, but nobody was told so yet; else as `before`."""
        with self._guard:
            self._after[method, None if call is None else self.counts[method] + call] = act

    def mend(self) -> None:
        """Act no more."""
        with self._guard:
            self._before.clear()
            self._after.clear()

    def now_ns(self) -> int:
        """See `Store.now_ns`."""
        return self._store.now_ns()

    def describe(self) -> str:
        """See `Store.describe`."""
        return self._store.describe()

    def list_pages(self) -> Pages:
        """See `Store.list_pages`; it acts before the first part and after the last."""
        number = self._count("list_pages")
        self._act(self._before, "list_pages", number)
        with closing(self._store.list_pages()) as pages:
            yield from pages
        self._act(self._after, "list_pages", number)

    def list_all(self) -> Listing:
        """See `Store.list_all`."""
        return whole(self.list_pages())

    def list_under(self, directory: str) -> dict[str, BlobStat]:
        """See `Store.list_under`."""
        return self._pass("list_under", lambda: self._store.list_under(directory))

    def mark(self, directory: str) -> object:
        """See `Store.mark`."""
        return self._store.mark(directory)

    def stat(self, name: str) -> BlobStat | None:
        """See `Store.stat`."""
        return self._pass("stat", lambda: self._store.stat(name))

    def get(self, name: str) -> Blob:
        """See `Store.get`."""
        return self._pass("get", lambda: self._store.get(name))

    def stat_many(self, names: Iterable[str]) -> dict[str, BlobStat]:
        """See `Store.stat_many`; each name counts as a call of `stat`."""
        return {name: facts for name in names if (facts := self.stat(name)) is not None}

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        """See `Store.get_many`; each name counts as a call of `get`."""
        found: dict[str, Blob | KeyfsError] = {}
        for name in names:
            try:
                found[name] = self.get(name)
            except KeyfsError as exc:
                found[name] = exc
        return found

    def channel(self) -> Channel | None:
        """See `Store.channel`."""
        return self._pass("channel", self._store.channel)

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        """See `Store.supersede`."""
        self._pass("supersede", lambda: self._store.supersede(replacements))

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        """See `Store.rewrite`."""
        return self._pass("rewrite", lambda: self._store.rewrite(names, expected, data))

    def delete(self, names: Iterable[str]) -> None:
        """See `Store.delete`."""
        self._pass("delete", lambda: self._store.delete(names))

    def set_aside(self, name: str) -> str:
        """See `Store.set_aside`."""
        return self._pass("set_aside", lambda: self._store.set_aside(name))

    def stuck_locks(self, *names: str) -> tuple[str, ...]:
        """See `Store.stuck_locks`."""
        return self._store.stuck_locks(*names)

    def break_lock(self, lock: str) -> bool:
        """See `Store.break_lock`."""
        return self._store.break_lock(lock)

    def read_beside(self, name: str) -> bytes | None:
        """See `Store.read_beside`."""
        return self._pass("read_beside", lambda: self._store.read_beside(name))

    def write_beside(self, name: str, data: bytes, *, is_locked: bool = False) -> None:
        """See `Store.write_beside`."""
        self._pass("write_beside", lambda: self._store.write_beside(name, data, is_locked=is_locked))

    def append_beside(self, name: str, line: bytes) -> None:
        """See `Store.append_beside`."""
        self._pass("append_beside", lambda: self._store.append_beside(name, line))

    @contextmanager
    def lock(self, name: str = "") -> Iterator[None]:
        """See `Store.lock`; it acts before and after the taking of the lock."""
        self._act(self._before, "lock", self._count("lock"))
        with self._store.lock(name):
            self._act(self._after, "lock", self.counts["lock"])
            yield

    def watch(self) -> Watch:
        """See `Store.watch`."""
        return self._pass("watch", self._store.watch)

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()

    def _pass(self, method: str, work: Callable[[], T]) -> T:
        number = self._count(method)
        self._act(self._before, method, number)
        result = work()
        self._act(self._after, method, number)
        return result

    def _count(self, method: str) -> int:
        with self._guard:
            self.counts[method] += 1
            return self.counts[method]

    def _act(self, plan: dict[tuple[str, int | None], Act], method: str, number: int) -> None:
        with self._guard:
            acts = [plan[key] for key in ((method, number), (method, None)) if key in plan]
        for act in acts:
            act()
