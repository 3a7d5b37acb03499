"""What every store promises of its listings, as tests; a part of `store_contract`."""
# ruff: noqa: S101 - tests state what holds by asserting it

from contextlib import closing

from keyfs.store.base import BlobStat, Store
from keyfs.store.facts import unpack
from keyfs.testing.store_steps import delete, put, while_writing


class ListingContract:
    """Needs the fixtures `store` and `other`."""

    def test_a_listing_is_complete(self, store: Store) -> None:
        """Blobs at every depth, each by its full name, and nothing else."""
        names = {"key", "key.pub", "key.old/1", "key.pub.old/1", ".deep/key", ".deep/key.old/1"}
        for name in names:
            put(store, name, b"0")
        listing = store.list_all()
        assert set(listing.blobs) == names
        assert not listing.strays

    def test_a_listing_survives_writers(self, store: Store, other: Store) -> None:
        """What nobody touches is in every listing, and nothing temporary ever is."""
        for number in range(10):
            put(store, f"still-{number}", b"0")
        still = set(store.list_all().blobs)
        allowed = still | {"key", "key.pub", "key.old/1", "fleeting"}

        def write() -> None:
            for number in range(10):
                put(other, "key", bytes([number]))
                put(other, "fleeting", b"1", None)
                delete(other, "fleeting")

        def look() -> None:
            listing = store.list_all()
            assert still <= set(listing.blobs) <= allowed
            assert not listing.strays

        while_writing(write, look)

    def test_a_listing_in_pages_is_the_whole(self, store: Store) -> None:
        """Page by page, with the facts that `stat` tells; anything can be asked meanwhile."""
        names = {f"key-{number}" for number in range(20)} | {"key.old/1", ".deep/key"}
        for name in names:
            put(store, name, name.encode(), mode=0o644)
        found: dict[str, BlobStat] = {}
        with closing(store.list_pages()) as pages:
            for page in pages:
                assert not page.strays
                found.update((name, unpack(facts)) for name, facts in page.blobs.items())
                assert all(store.get(name).data == name.encode() for name in page.blobs)
        assert found == store.stat_many(names) == store.list_all().blobs

    def test_a_listing_that_nobody_reads_on_is_let_go(self, store: Store) -> None:
        """Whoever closes it at any page can go on using the store."""
        names = {f"key-{number}" for number in range(10)}
        for name in names:
            put(store, name, b"0")
        for _ in range(50):
            pages = store.list_pages()
            next(pages)
            pages.close()
            store.list_pages().close()
        assert set(store.list_all().blobs) == names

    def test_one_directory_is_listed_alone(self, store: Store) -> None:
        """Only the blobs directly in it, by their full names."""
        for name in ("key", "key.old/1", "key.old/2", "key.older/3", ".deep/key", ".deep/key.old/1"):
            put(store, name, b"0")
        assert set(store.list_under("key.old")) == {"key.old/1", "key.old/2"}
        assert set(store.list_under(".deep")) == {".deep/key"}
        assert store.list_under("absent") == store.list_under("key") == {}
