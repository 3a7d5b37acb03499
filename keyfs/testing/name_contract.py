"""Which names every store takes and which it refuses, as tests; part of `keyfs.testing.store_contract`."""
# ruff: noqa: S101 - tests state what holds by asserting it

from collections.abc import Callable
from typing import Final

import pytest

from keyfs.errors import KeyfsError, KeyNotFound
from keyfs.store.base import Store
from keyfs.testing.store_steps import contents, delete, put, rewrite, set_aside

ODD_NAMES: Final = (
    *("a*b", "a?b", "[ab]", "a[!x]b", "a]b", "50%", "%2F", "a%s", "a:b", "a b", " a", "a ", ".a", "a.b.c"),
    *("-rf", "~", "$HOME", "a\\b", "a\nb", "a'b\"c", "{a,b}", "ключ", "a\u0301", "\udcff", "x" * 200),
)
UNSAFE_NAMES: Final = (
    *("", "/", "/a", "a/", "a//b", "a/b/c/d"),
    *(".", "..", "../a", "a/..", "./a", "a/./b", "a\0b"),
)
# What a pattern, an escape or a normal form would make of the odd names.
NEIGHBOURS: Final = ("axb", "aab", "a", "b", "ab", "\u00e1", "50")


class NameContract:
    """A name is ordinary or refused, never reinterpreted."""

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_an_odd_name_is_ordinary_or_refused(self, store: Store, name: str) -> None:
        """Never reinterpreted: no other blob is read, changed or removed for it."""
        for neighbour in NEIGHBOURS:
            put(store, neighbour, neighbour.encode())
        before = contents(store)
        try:
            put(store, name, b"odd")
        except KeyfsError:
            assert contents(store) == before
            return
        assert contents(store) == before | {name: b"odd"}
        put(store, name, b"more", f"{name}.old/1")
        assert set(store.list_under(f"{name}.old")) == {f"{name}.old/1"}
        delete(store, name, f"{name}.old/1")
        assert contents(store) == before

    @pytest.mark.parametrize("name", UNSAFE_NAMES, ids=ascii)
    def test_an_unsafe_name_is_not_found(self, store: Store, name: str) -> None:
        """It names no blob, and cannot be made to name one."""
        put(store, "a", b"0")
        calls: list[Callable[[], object]] = [
            lambda: store.get(name),
            lambda: store.stat(name),
            lambda: store.list_under(name),
            lambda: put(store, name, b"1"),
            lambda: put(store, "a", b"1", name),
            lambda: delete(store, name),
            lambda: set_aside(store, name),
            lambda: rewrite(store, name, b"0", b"1"),
            lambda: rewrite(store, "a", b"0", b"1", name),
        ]
        for call in calls:
            with pytest.raises(KeyNotFound):
                call()
        assert contents(store) == {"a": b"0"}

    def test_a_long_name_is_ordinary_up_to_the_limit(self, store: Store) -> None:
        """And refused beyond, with nothing changed."""
        longest = store.name_limit or 300
        put(store, "x" * longest, b"0")
        assert store.get("x" * longest).data == b"0"
        if store.name_limit is not None:
            with pytest.raises(KeyfsError):
                put(store, "x" * (longest + 1), b"0")
            with pytest.raises(KeyfsError):
                store.get("x" * (longest + 1))
        assert set(store.list_all().blobs) == {"x" * longest}
