"""The steps of which the store suites are made: writing as a writer does, looking while another writes."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from keyfs.store.base import Replacement, Store

MTIME_NS: Final = 1_790_000_000_123_456_789


def put(store: Store, name: str, data: bytes, archive: str | None = None, mode: int = 0o600) -> None:
    """Make *data* the blob *name*, as a writer does."""
    with store.lock():
        put_locked(store, name, data, archive, mode)


def put_locked(store: Store, name: str, data: bytes, archive: str | None = None, mode: int = 0o600) -> None:
    """As `put`, with the lock held."""
    store.supersede([Replacement(name, data, mode, MTIME_NS, archive)])


def delete(store: Store, *names: str) -> None:
    """Remove blobs, as a writer does."""
    with store.lock():
        store.delete(names)


def set_aside(store: Store, name: str) -> str:
    """Move a blob out of the store, as a repair does; returns where."""
    with store.lock():
        return store.set_aside(name)


def rewrite(store: Store, name: str, expected: bytes, data: bytes, *others: str) -> bool:
    """Let a blob with these names hold other bytes, as a change of the master key does."""
    with store.lock():
        return store.rewrite([name, *others], expected, data)


def contents(store: Store) -> dict[str, bytes]:
    """Every blob's bytes by name."""
    return {name: store.get(name).data for name in store.list_all().blobs}


def while_writing(write: Callable[[], object], look: Callable[[], None]) -> None:
    """Look again and again until a writer in another thread is done, and once more."""
    done = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        writing.add_done_callback(lambda _: done.set())
        while not done.is_set():
            look()
        writing.result()
    look()
