"""What every store promises about rewriting, and about what lies beside it; part of `store_contract`."""
# ruff: noqa: S101 - tests state what holds by asserting it

import itertools
from pathlib import Path

import pytest

from keyfs.errors import InvalidName
from keyfs.store.base import TAKEN_BESIDE, Listing, Store
from keyfs.testing.store_steps import contents, put, rewrite, while_writing


class RewriteContract:
    """The same key, sealed in another manner; and named things that are no blobs."""

    def stop_half_way(self, place: Path, name: str, archive: str) -> None:
        """See `StoreContract`."""
        raise NotImplementedError

    # --- rewriting ---

    @pytest.mark.parametrize("name", ["key", "key.pub", "key.old/1", ".deep/key.old/1"])
    def test_rewritten_bytes_are_there_and_nothing_else_has_changed(
        self, store: Store, other: Store, name: str
    ) -> None:
        """Name, mode and time are the same, nothing is archived, and the identity tells of the change."""
        put(store, name, b"old", mode=0o640)
        before = store.get(name).stat
        assert rewrite(store, name, b"old", b"new bytes")
        after = other.get(name)
        assert after.data == b"new bytes"
        assert (after.stat.mode, after.stat.mtime_ns) == (before.mode, before.mtime_ns)
        assert after.stat.identity != before.identity
        assert store.list_all() == Listing({name: after.stat}, {})

    def test_other_bytes_are_not_rewritten(self, store: Store) -> None:
        """Whoever was faster keeps what he wrote."""
        put(store, "key", b"theirs")
        before = store.get("key")
        assert not rewrite(store, "key", b"old", b"new")
        assert store.get("key") == before

    @pytest.mark.parametrize("name", ["absent", "absent/1", "key/below"])
    def test_what_is_gone_is_not_rewritten(self, store: Store, name: str) -> None:
        """Nor is it made."""
        put(store, "key", b"0")
        assert not rewrite(store, name, b"", b"new")
        assert contents(store) == {"key": b"0"}

    def test_bytes_that_are_there_already_are_left_alone(self, store: Store) -> None:
        """A rewrite whose answer was lost can be done again."""
        put(store, "key", b"new")
        before = store.get("key")
        assert rewrite(store, "key", b"old", b"new")
        assert store.get("key") == before

    def test_all_names_of_a_blob_are_rewritten_and_stay_names_of_one(
        self, tmp_path: Path, store: Store
    ) -> None:
        """What a rotation left that stopped after archiving."""
        put(store, "key", b"old")
        self.stop_half_way(tmp_path, "key", "key.old/1")
        assert rewrite(store, "key", b"old", b"new", "key.old/1")
        assert store.get("key") == store.get("key.old/1")
        assert contents(store) == {"key": b"new", "key.old/1": b"new"}

    def test_a_rewrite_that_stopped_between_two_names_is_finished(self, tmp_path: Path, store: Store) -> None:
        """Then they are names of one blob again."""
        put(store, "key", b"old")
        self.stop_half_way(tmp_path, "key", "key.old/1")
        assert rewrite(store, "key", b"old", b"new")
        assert store.get("key").stat.identity != store.get("key.old/1").stat.identity
        assert rewrite(store, "key", b"old", b"new", "key.old/1")
        assert store.get("key") == store.get("key.old/1")
        assert store.get("key").data == b"new"

    def test_no_name_is_rewritten_when_one_holds_other_bytes(self, store: Store) -> None:
        """Whichever of them it is."""
        put(store, "key", b"old")
        put(store, "key.old/1", b"theirs")
        before = contents(store)
        assert not rewrite(store, "key", b"old", b"new", "key.old/1")
        assert not rewrite(store, "key.old/1", b"old", b"new", "key")
        assert not rewrite(store, "key", b"old", b"new", "absent")
        assert contents(store) == before

    def test_a_blob_is_there_all_the_time_while_it_is_rewritten(self, store: Store, other: Store) -> None:
        """Whole, the old bytes or the new ones, and in every listing."""
        values = [bytes([number]) * (number * 1000 + 1) for number in range(25)]
        put(store, "key", values[0])

        def look() -> None:
            blob = store.get("key")
            assert blob.data in values
            assert blob.stat.size == len(blob.data)
            assert set(store.list_all().blobs) == {"key"}

        def write() -> None:
            for old, new in itertools.pairwise(values):
                assert rewrite(other, "key", old, new)

        while_writing(write, look)

    # --- beside the store ---

    def test_what_is_written_beside_a_store_is_read_back_and_no_blob(
        self, store: Store, other: Store
    ) -> None:
        """Any bytes; what was there before is replaced."""
        assert store.read_beside("note") is None
        for data in (b"", bytes(range(256)), b"longer " * 1000, b"short"):
            store.write_beside("note", data)
            assert other.read_beside("note") == data
        assert store.read_beside("other.note-2") is None
        assert store.list_all() == Listing({}, {})

    def test_lines_are_added_beside_a_store(self, store: Store, other: Store) -> None:
        """In their order, whoever adds them."""
        for number, writer in enumerate((store, other, store)):
            writer.append_beside("audit.log", b"line %d" % number)
        assert store.read_beside("audit.log") == b"line 0\nline 1\nline 2\n"
        assert store.list_all() == Listing({}, {})

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "a/b", "A", "a b", "-a", "\u00e4", "a" * 65, *sorted(TAKEN_BESIDE)]
    )
    def test_a_name_that_is_none_is_refused_beside_a_store(self, store: Store, name: str) -> None:
        """Also where keyfs keeps something of its own."""
        for call in (
            store.read_beside,
            lambda n: store.write_beside(n, b""),
            lambda n: store.append_beside(n, b""),
        ):
            with pytest.raises(InvalidName):
                call(name)

    def test_what_lies_beside_a_store_survives_writers(self, store: Store) -> None:
        """Whoever takes the lock clears up only what is left of writers."""
        store.write_beside("note", b"kept")
        put(store, "key", b"0")
        assert store.read_beside("note") == b"kept"
