"""What every store promises, as tests: subclass, say how to make yours, and pytest runs the suite on it.

    class TestMyStore(StoreContract):
        def make_store(self, place: Path) -> Store:
            return MyStore(place)

Names that end in `.pub`, and directories that end in `.pub.old`, may lie apart from the others. Needs pytest,
which is not a dependency of keyfs itself.
"""
# ruff: noqa: S101 - tests state what holds by asserting it

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from keyfs.errors import KeyfsError, KeyNotFound, StoreUnavailable
from keyfs.store.base import Listing, Replacement, Store
from keyfs.testing.listing_contract import ListingContract
from keyfs.testing.name_contract import NameContract
from keyfs.testing.rewrite_contract import RewriteContract
from keyfs.testing.store_steps import (
    MTIME_NS,
    contents,
    delete,
    put,
    put_locked,
    rewrite,
    set_aside,
    while_writing,
)
from keyfs.testing.watch_contract import WatchContract


class StoreContract(ListingContract, NameContract, RewriteContract, WatchContract):
    """Named blobs on one medium."""

    passwords: ClassVar[tuple[str, ...]] = ()
    """What `make_store` uses and `describe` must not repeat."""
    identity_is_of_bytes: ClassVar[bool] = False
    """Whether a rewrite with the same bytes keeps its identity."""

    def make_store(self, place: Path) -> Store:
        """A store on the medium that *place* stands for; called again, another store on the same medium."""
        raise NotImplementedError

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        """Leave what a writer leaves that dies between archiving *name* and switching it."""
        raise NotImplementedError

    def take_away(self, place: Path) -> None:
        """Make the medium of *place* answer no more."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """The store under test, empty."""
        with closing(self.make_store(tmp_path)) as store:
            yield store

    @pytest.fixture
    def other(self, tmp_path: Path, store: Store) -> Iterator[Store]:
        """Another store on the same medium."""
        with closing(self.make_store(tmp_path)) as other:
            yield other

    # --- reading ---

    def test_an_absent_name_is_not_found(self, store: Store) -> None:
        """Whether or not there is a directory of that name."""
        put(store, "key", b"0")
        for name in ("absent", "absent/key", "key/below", "key.pub", "key.old/1"):
            assert store.stat(name) is None
            with pytest.raises(KeyNotFound):
                store.get(name)

    @pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), b"long " * 5000])
    def test_a_blob_is_read_as_it_was_written(self, store: Store, other: Store, data: bytes) -> None:
        """Whatever its bytes, and by whichever store."""
        put(store, "key", data)
        assert store.get("key").data == data == other.get("key").data

    def test_the_facts_are_those_of_the_bytes(self, store: Store) -> None:
        """Size, mode and time are what the writer gave; `get`, `stat` and both listings agree."""
        put(store, "folder/key", b"12345", mode=0o644)
        facts = store.get("folder/key").stat
        assert (facts.size, facts.mode) in ((5, 0o644), (5, 0o600))
        assert facts.mtime_ns in (MTIME_NS, None)
        assert facts == store.stat("folder/key") == store.list_all().blobs["folder/key"]
        assert facts == store.list_under("folder")["folder/key"]

    def test_a_read_is_never_torn(self, store: Store, other: Store) -> None:
        """A blob that is superseded while it is read is the old one or the new one."""
        values = [bytes([number]) * (number * 1000 + 1) for number in range(25)]
        put(store, "key", values[0])

        def read() -> None:
            blob = store.get("key")
            assert blob.data in values
            assert blob.stat.size == len(blob.data)

        def write() -> None:
            for value in values:
                put(other, "key", value)

        while_writing(write, read)

    # --- superseding ---

    def test_the_archive_keeps_the_old_bytes_and_their_facts(self, store: Store) -> None:
        """Equal identities mean the same bytes: the archived blob is the one that was current."""
        put(store, "key", b"old")
        old = store.get("key")
        put(store, "key", b"new", "key.old/1")
        assert store.get("key").data == b"new"
        assert store.get("key.old/1") == old
        assert set(store.list_all().blobs) == {"key", "key.old/1"}

    def test_without_an_archive_the_old_bytes_are_gone(self, store: Store) -> None:
        """They are under no name any more."""
        put(store, "key", b"old")
        put(store, "key", b"new")
        assert set(store.list_all().blobs) == {"key"}
        assert store.get("key").data == b"new"

    def test_a_rewrite_has_another_identity(self, store: Store) -> None:
        """Even with the same bytes, unless it is of the bytes, and with nothing left of the old ones."""
        put(store, "key", b"same")
        for number, archive in enumerate((None, None, "key.old/1", None, "key.old/2")):
            before = store.get("key").stat.identity
            put(store, "key", b"%d" % number if self.identity_is_of_bytes else b"same", archive)
            assert store.get("key").stat.identity != before

    def test_nothing_to_archive_is_no_error(self, store: Store) -> None:
        """A missing current blob is made, and nothing is archived."""
        put(store, "key", b"new", "key.old/1")
        assert set(store.list_all().blobs) == {"key"}

    def test_a_stopped_rotation_is_taken_up_again(self, tmp_path: Path, store: Store) -> None:
        """An archive name that holds the same bytes already is accepted."""
        put(store, "key", b"old")
        self.stop_half_way(tmp_path, "key", "key.old/1")
        assert store.get("key").stat.identity == store.get("key.old/1").stat.identity
        put(store, "key", b"new", "key.old/1")
        assert (store.get("key").data, store.get("key.old/1").data) == (b"new", b"old")

    def test_an_archive_that_is_taken_is_refused(self, store: Store) -> None:
        """And nothing is changed, not even what came before it in the plan."""
        for name in ("one", "two", "two.old/1"):
            put(store, name, name.encode())
        before = contents(store)
        plan = [
            Replacement("one", b"new", 0o600, MTIME_NS, "one.old/1"),
            Replacement("fresh", b"new", 0o600, MTIME_NS, "fresh.old/1"),
            Replacement("two", b"new", 0o600, MTIME_NS, "two.old/1"),
        ]
        with store.lock(), pytest.raises(KeyfsError):
            store.supersede(plan)
        assert contents(store) == before

    def test_blobs_are_switched_in_the_given_order(self, store: Store, other: Store) -> None:
        """Whoever sees the second one new sees the first one new."""
        names = ("first", "second")

        def switch() -> None:
            for value in range(25):
                plan = [Replacement(name, bytes([value]), 0o600, MTIME_NS + value, None) for name in names]
                with other.lock():
                    other.supersede(plan)

        def look() -> None:
            second = store.get("second").data
            assert store.get("first").data >= second

        for name in names:
            put(store, name, b"")
        while_writing(switch, look)

    def test_an_empty_plan_changes_nothing(self, store: Store) -> None:
        """It is no error either."""
        with store.lock():
            store.supersede([])
        assert not store.list_all().blobs

    # --- removing ---

    def test_deleting_is_idempotent(self, store: Store) -> None:
        """An absent blob is no error, wherever it would lie."""
        for name in ("key", "key.old/1", "key.old/2"):
            put(store, name, b"0")
        for _ in range(2):
            delete(store, "key.old/1", "absent", "absent/1", "absent.pub.old/1", "key/below")
            assert set(store.list_all().blobs) == {"key", "key.old/2"}

    def test_what_is_set_aside_is_not_listed(self, store: Store) -> None:
        """Also when something of the same name was set aside before; each time it is said where."""
        for name in ("key", "key.old/1", "key.pub"):
            put(store, name, b"0")
        for name in ("key", "key.old/1", "key.pub"):
            place = set_aside(store, name)
            put(store, name, b"1")
            assert place
            assert set_aside(store, name) != place
        assert store.list_all() == Listing({}, {})

    def test_no_lock_that_is_held_is_a_stuck_one(self, store: Store) -> None:
        """Nor is it broken."""
        with store.lock():
            assert store.stuck_locks("others") == ()
            put_locked(store, "key", b"0")
        assert store.get("key").data == b"0"

    # --- the lock ---

    def test_the_lock_excludes_other_threads(self, store: Store, other: Store) -> None:
        """One writer at a time, whichever store it uses."""
        inside: list[int] = []

        def write(number: int) -> None:
            for _ in range(10):
                with (store, other)[number % 2].lock():
                    inside.append(number)
                    store.list_all()
                    assert inside == [number]
                    inside.clear()

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(write, number) for number in range(4)]:
                done.result()

    def test_an_error_lets_go_of_the_lock(self, store: Store, other: Store) -> None:
        """The next writer does not wait for one that failed."""
        with pytest.raises(ZeroDivisionError), store.lock():
            raise ZeroDivisionError
        put(other, "key", b"0")

    # --- failure and the end ---

    def test_a_medium_that_is_gone_is_unavailable(self, tmp_path: Path, store: Store) -> None:
        """No blob is called absent, none is made elsewhere, and no library's error escapes."""
        put(store, "key", b"0")
        self.take_away(tmp_path)
        calls: list[Callable[[], object]] = [
            store.list_all,
            lambda: next(store.list_pages()),
            lambda: store.list_under("key.old"),
            lambda: store.stat("key"),
            lambda: store.get("key"),
            lambda: put(store, "key", b"1", "key.old/1"),
            lambda: delete(store, "key"),
            lambda: set_aside(store, "key"),
            lambda: rewrite(store, "key", b"0", b"1"),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                call()

    def test_the_description_is_a_line_without_passwords(self, store: Store) -> None:
        """It goes to logs and to `keyfs status`."""
        text = store.describe()
        assert text
        assert text.isprintable()
        assert not [password for password in self.passwords if password in text]

    def test_closing_twice_is_harmless(self, store: Store, other: Store) -> None:
        """And does not disturb another store."""
        store.close()
        store.close()
        put(other, "key", b"0")
