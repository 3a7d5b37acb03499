"""What every store's channel promises: the blobs that `get_many` gives, in the order of the questions.

class TestMyStore(StoreContract, ChannelContract): ...
"""
# ruff: noqa: S101 - tests state what holds by asserting it

import select
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

import pytest

from keyfs.store.base import ANNEX, Blob, Channel, Store
from keyfs.testing.store_steps import put

ANSWER_S: Final = 10.0
MANY: Final = 50


def answers(channel: Channel, count: int) -> list[tuple[str, Blob | None]]:
    """So many answers, as they come."""
    found: list[tuple[str, Blob | None]] = []
    while len(found) < count:
        assert select.select([channel], [], [], ANSWER_S)[0], f"{len(found)} of {count} answers came"
        found += channel.take()
    return found


def same_as_get_many(store: Store, names: Sequence[str]) -> list[tuple[str, Blob | None]]:
    """What a channel has to answer."""
    found = store.get_many(names)
    blobs = {name: blob if isinstance(blob, Blob) else None for name, blob in found.items()}
    return [(name, blobs[name]) for name in names]


class ChannelContract:
    """For a store that has channels; the fixtures are those of `StoreContract`."""

    @pytest.fixture
    def channel(self, store: Store) -> Iterator[Channel]:
        """A channel of the store."""
        channel = store.channel()
        assert channel is not None
        with closing(channel):
            yield channel

    def test_a_channel_answers_as_get_many_does(self, store: Store, channel: Channel) -> None:
        """Any bytes, and what is not there."""
        names = [f"dir/{number}" for number in range(MANY)]
        for number, name in enumerate(names):
            put(store, name, bytes(range(number)) + b"\r\n")
        asked = [*names, "absent", *reversed(names)]
        for name in asked:
            assert channel.ask([name])
        assert answers(channel, len(asked)) == same_as_get_many(store, asked)

    def test_several_are_asked_for_at_once(self, store: Store, channel: Channel) -> None:
        """All of them, in their order, before those of the next question."""
        for name in "abc":
            put(store, name, name.encode())
        assert channel.ask(["c", "absent", "a"])
        assert channel.ask(["b"])
        asked = ["c", "absent", "a", "b"]
        assert answers(channel, 4) == same_as_get_many(store, asked)

    def test_an_answer_is_of_its_own_moment(self, store: Store, other: Store, channel: Channel) -> None:
        """A blob that is switched has other facts, too, and no answer mixes the two."""
        found = []
        for number in range(MANY):
            put(other, "key", b"%d" % number)
            assert channel.ask(["key"])
            found += answers(channel, 1)
            assert found[-1] == ("key", other.get("key"))
        assert len({blob.stat.identity for _, blob in found if blob is not None}) == MANY

    def test_what_is_not_in_this_store_is_not_asked_for(self, store: Store, channel: Channel) -> None:
        """Neither it nor what was to be asked with it, and the next question has its own answer."""
        put(store, "key", b"1")
        for name in (ANNEX + "key", "../key", "", "a/b/c/d", "key\0"):
            assert not channel.ask([name])
            assert not channel.ask(["key", name])
        assert channel.ask(["key"])
        assert answers(channel, 1) == [("key", store.get("key"))]
        assert channel.take() == []

    def test_waiting_for_nothing_ends(self, store: Store, channel: Channel) -> None:
        """In time; and waiting for an answer ends with it."""
        assert not channel.wait(1)
        put(store, "key", b"1")
        assert channel.ask(["key"])
        assert channel.wait(int(ANSWER_S * 1000))

    def test_a_channel_may_be_closed_twice(self, channel: Channel) -> None:
        """It has no descriptor after that."""
        channel.close()
        channel.close()
        assert channel.fileno() < 0
