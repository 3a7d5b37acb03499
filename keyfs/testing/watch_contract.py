"""What the watch of every store promises, as tests; part of `keyfs.testing.store_contract`."""
# ruff: noqa: S101 - tests state what holds by asserting it

import select
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import pytest

from keyfs.store.base import Store
from keyfs.store.watching import Changes, Watch
from keyfs.testing.store_steps import delete, put, rewrite, set_aside

ARRIVAL_S: Final = 10.0
Change = Callable[[Store], object]
CHANGES: Final[dict[str, tuple[Change, set[str]]]] = {
    "a new blob": (lambda s: put(s, "new", b"1"), {"new"}),
    "a new blob in a new directory": (lambda s: put(s, "folder/new", b"1"), {"folder/new"}),
    "other bytes": (lambda s: put(s, "key", b"2"), {"key"}),
    "other public bytes": (lambda s: put(s, "key.pub", b"2"), {"key.pub"}),
    "the first archive": (lambda s: put(s, "key", b"2", "key.old/1"), {"key", "key.old/1"}),
    "the first public archive": (
        lambda s: put(s, "key.pub", b"2", "key.pub.old/1"),
        {"key.pub", "key.pub.old/1"},
    ),
    "one more archive": (lambda s: put(s, "kept", b"2", "kept.old/2"), {"kept", "kept.old/2"}),
    "an archive three parts deep": (
        lambda s: put(s, ".deep/key", b"2", ".deep/key.old/1"),
        {".deep/key", ".deep/key.old/1"},
    ),
    "a deletion": (lambda s: delete(s, "key"), {"key"}),
    "a deletion from the archive": (lambda s: delete(s, "kept.old/1"), {"kept.old/1"}),
    "rewritten bytes": (lambda s: rewrite(s, "key", b"0", b"2"), {"key"}),
    "rewritten bytes in the archive": (
        lambda s: rewrite(s, "kept.old/1", b"0", b"2"),
        {"kept.old/1"},
    ),
    "a blob set aside": (lambda s: set_aside(s, "key"), {"key"}),
}


def arrived(watch: Watch, *names: str) -> Changes:
    """What `take` tells: at once where nobody has to wait for changes, else once *names* are among it."""
    changes = watch.take()
    give_up_at = time.monotonic() + ARRIVAL_S
    while not watch.waits and not changes.names.issuperset(names) and time.monotonic() < give_up_at:
        select.select([watch.fileno()], [], [], ARRIVAL_S)
        more = watch.take()
        changes = Changes(changes.names | more.names, changes.lost or more.lost)
    return changes


class WatchContract:
    """What a watch tells, and when."""

    @pytest.fixture
    def watch(self, store: Store) -> Iterator[Watch]:
        """A watch on a store in which there is something to change."""
        for name in ("key", "key.pub", "kept", ".deep/key"):
            put(store, name, b"0")
        put(store, "kept", b"1", "kept.old/1")
        with closing(store.watch()) as watch:
            watch.take()
            yield watch

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_change_by_another_store_is_told(self, watch: Watch, other: Store, change: str) -> None:
        """In the next take, where the watch waits for changes."""
        act, names = CHANGES[change]
        act(other)
        assert names <= arrived(watch, *names).names

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_change_by_the_store_itself_is_told_too(self, watch: Watch, store: Store, change: str) -> None:
        """A watch tells of everybody's changes."""
        act, names = CHANGES[change]
        act(store)
        assert names <= arrived(watch, *names).names

    def test_many_changes_are_told_together(self, watch: Watch, other: Store) -> None:
        """Nothing is dropped between two looks, and nothing is called lost."""
        names = {f"many-{number}" for number in range(20)}
        for name in names:
            put(other, name, b"1")
        changes = arrived(watch, *names)
        assert names <= changes.names
        assert not changes.lost

    def test_pending_agrees_with_take(self, watch: Watch, other: Store) -> None:
        """There is something to take exactly between a change and the take after it."""
        before = watch.pending()
        put(other, "key", b"2")
        select.select([watch.fileno()], [], [], 0 if watch.waits else ARRIVAL_S)
        between = watch.pending()
        watch.take()
        assert (before, between, watch.pending()) == (False, True, False)

    def test_nothing_is_told_twice(self, watch: Watch, other: Store) -> None:
        """A take empties the watch."""
        put(other, "key", b"2")
        arrived(watch, "key")
        changes = watch.take()
        assert (changes.names, changes.lost) == (frozenset(), False)

    def test_the_descriptor_is_readable_while_something_is_pending(self, watch: Watch, other: Store) -> None:
        """An event loop can wait for it."""
        assert not select.select([watch.fileno()], [], [], 0)[0]
        put(other, "key", b"2")
        assert select.select([watch.fileno()], [], [], ARRIVAL_S)[0]
        watch.take()
        assert not select.select([watch.fileno()], [], [], 0)[0]

    def test_reading_is_no_change(self, watch: Watch, other: Store) -> None:
        """Whoever looks at the store wakes nobody."""
        other.list_all()
        other.list_under("kept.old")
        other.get("key")
        other.stat("key")
        other.stat_many(["key", "kept"])
        if watch.waits:
            assert not watch.pending()
        else:
            put(other, "last", b"1")
            assert arrived(watch, "last").names == {"last"}

    def test_each_watch_is_told(self, store: Store, watch: Watch, other: Store) -> None:
        """What one watch takes, another one still has."""
        with closing(store.watch()) as second:
            put(other, "key", b"2")
            assert "key" in arrived(watch, "key").names
            assert "key" in arrived(second, "key").names

    def test_closing_a_watch_twice_is_harmless(self, store: Store, watch: Watch, other: Store) -> None:
        """And leaves the other watches alone."""
        second = store.watch()
        second.close()
        second.close()
        put(other, "key", b"2")
        assert "key" in arrived(watch, "key").names
