"""The channel as tasks use it: each gets what it asked for, whoever gives up, and nobody waits for ever."""

import time
from collections.abc import Sequence
from functools import partial

import pytest
import trio
from fake_channel import GONE, ChannelStore, FakeChannel, blob_of, site_of, until_open
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from keyfs.broker.line import ANSWER_WITHIN_S, FAR_S, Line
from keyfs.errors import StoreUnavailable
from keyfs.offload import Offload
from keyfs.testing.memory_store import MemoryStore

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3)),
        st.tuples(st.just("answer"), st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=25,
)


@given(STEPS)
def test_each_has_what_it_asked_for_whoever_gives_up(steps: list[tuple[str, object]]) -> None:
    """Every answer that comes is kept under its own name, and once for all who wait for it."""

    async def live() -> None:
        channel = FakeChannel()
        async with site_of(channel) as site, trio.open_nursery() as nursery:
            answers: dict[int, object] = {}
            scopes: list[trio.CancelScope] = []

            async def fetch(names: Sequence[str]) -> None:
                number = len(scopes)
                scopes.append(trio.CancelScope())
                with scopes[number]:
                    await site.fetch(answers, number, *names)

            for step, what in steps:
                if step == "fetch":
                    assert isinstance(what, list)
                    nursery.start_soon(fetch, what)
                elif step == "answer":
                    assert isinstance(what, int)
                    channel.answer(what)
                elif scopes:
                    assert isinstance(what, int)
                    scopes[what % len(scopes)].cancel()
                await wait_all_tasks_blocked()
            channel.answer(len(channel.asked))
            await wait_all_tasks_blocked()
            assert [name for name, _ in site.kept] == channel.asked
            assert all(blob == blob_of(name) for name, blob in site.kept)
            cancelled = {number for number, scope in enumerate(scopes) if scope.cancelled_caught}
            assert answers == dict.fromkeys(set(range(len(scopes))) - cancelled, True)

    trio.run(live)


async def test_those_who_want_the_same_ask_once() -> None:
    channel = FakeChannel()
    answers: dict[int, object] = {}
    async with site_of(channel) as site, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(site.fetch, answers, number, "a")
            nursery.start_soon(site.fetch, answers, 100 + number, "a", "b")
        await wait_all_tasks_blocked()
        channel.answer(2)
    assert sorted(channel.asked) == ["a", "b"]
    assert set(answers.values()) == {True}
    assert len(answers) == 40


async def test_what_does_not_come_is_said_and_is_the_trouble_of_its_own_reader() -> None:
    channel = FakeChannel()
    answers: dict[int, object] = {}
    async with site_of(channel) as site, trio.open_nursery() as nursery:
        for number, names in enumerate([("a",), (GONE,), ("b",), ("c", GONE)]):
            nursery.start_soon(site.fetch, answers, number, *names)
        await wait_all_tasks_blocked()
        channel.answer(len(channel.asked))
    assert answers == {0: True, 1: False, 2: True, 3: False}


async def test_a_channel_that_does_not_answer_is_closed_at_the_deadline(mock_clock: MockClock) -> None:
    """Who has waited so long hears of it; the others ask in another way, and so does who comes later."""
    channel, other = FakeChannel(), FakeChannel()
    answers: dict[int, object] = {}
    mock_clock.rate = 1
    async with site_of(channel, other) as site, trio.open_nursery() as nursery:
        nursery.start_soon(site.fetch, answers, 0, "a")
        await wait_all_tasks_blocked()
        mock_clock.jump(ANSWER_WITHIN_S / 2)
        nursery.start_soon(site.fetch, answers, 1, "b")
        await wait_all_tasks_blocked()
        mock_clock.jump(ANSWER_WITHIN_S / 2)
        await trio.sleep(0.01)
        assert answers == {0: StoreUnavailable, 1: False}
        assert channel.is_closed
        assert not await site.line.fetch(["c"])
        await until_open(site.line)
        nursery.start_soon(site.fetch, answers, 2, "a")
        await wait_all_tasks_blocked()
        other.answer(1)
    assert answers[2] is True
    assert other.asked == ["a"]


async def test_an_answer_that_came_while_the_loop_was_busy_is_in_time(mock_clock: MockClock) -> None:
    """Whichever task runs first afterwards: that of the deadline, or the one that takes what came."""
    channel = FakeChannel()
    answers: dict[int, object] = {}
    mock_clock.rate = 1
    async with site_of(channel) as site:
        mock_clock.rate = 0
        for number in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(site.fetch, answers, number, str(number))
                await wait_all_tasks_blocked()
                channel.answer(1)
                mock_clock.jump(ANSWER_WITHIN_S)
    assert answers == dict.fromkeys(range(20), True)


@pytest.mark.parametrize("moment", ["with the question", "after it"])
async def test_when_it_is_lost_all_who_wait_ask_in_another_way(moment: str) -> None:
    channel, other = FakeChannel(), FakeChannel()
    answers: dict[int, object] = {}
    async with site_of(channel, other) as site:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.fetch, answers, 0, "a")
            await wait_all_tasks_blocked()
            if moment == "after it":
                channel.lose()
            else:
                channel.is_lost = True
                nursery.start_soon(site.fetch, answers, 1, "b")
        assert set(answers.values()) == {False}
        assert channel.is_closed
        await until_open(site.line)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.fetch, answers, 2, "a")
            await wait_all_tasks_blocked()
            other.answer(1)
    assert answers[2] is True


async def test_one_that_is_full_is_not_waited_for_and_stays() -> None:
    channel = FakeChannel()
    async with site_of(channel) as site:
        channel.is_full = True
        assert not await site.line.fetch(["a"])
        assert site.line.is_open
        channel.is_full = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.line.fetch, ["a"])
            await wait_all_tasks_blocked()
            channel.answer(1)
    assert [name for name, _ in site.kept] == ["a"]


async def test_a_quick_server_is_waited_for_on_the_spot() -> None:
    channel = FakeChannel(is_quick=True)
    async with site_of(channel) as site:
        for name in "ab":
            site.line.fetch_near([name])
            assert site.kept[-1][0] == name
        assert channel.waits == 2


async def test_one_that_is_not_quick_is_waited_for_once_in_a_while() -> None:
    """So that tasks have the loop nearly all the time; and what comes late is kept."""
    channel = FakeChannel()
    async with site_of(channel) as site:
        site.line.fetch_near(["a"])
        assert channel.waits == 1
        for name in "abc":
            site.line.fetch_near([name])
        assert channel.waits == 1
        assert channel.asked == ["a"]
        time.sleep(FAR_S)  # noqa: ASYNC251 - as a busy loop
        site.line.fetch_near(["d"])
        assert channel.waits == 2
        channel.answer(2)
        await wait_all_tasks_blocked()
    assert [name for name, _ in site.kept] == ["a", "d"]


async def test_what_was_foreseen_is_asked_for_once_and_waited_for_by_whom_needs_it() -> None:
    channel = FakeChannel()
    async with site_of(channel) as site, trio.open_nursery() as nursery:
        site.line.ask(["a"])
        site.line.ask(["b"])
        site.line.ask(["a", "b"])
        assert channel.asked == ["a", "b"]
        channel.answer(2)
        site.line.fetch_near(["b"])
        assert [name for name, _ in site.kept] == ["a", "b"]
        site.line.ask(["c"])
        nursery.start_soon(site.line.fetch, ["c"])
        await wait_all_tasks_blocked()
        channel.answer(1)
    assert channel.asked == ["a", "b", "c"]


async def test_a_channel_that_is_lost_while_it_is_waited_for_on_the_spot_is_closed() -> None:
    channel = FakeChannel()
    async with site_of(channel) as site:
        site.line.ask(["a"])
        channel.answer(1)
        channel.is_lost = True
        site.line.fetch_near(["a"])
        assert channel.is_closed
        assert not site.line.is_open
        site.line.fetch_near(["b"])
        assert not site.line.ask(["b"])


async def test_a_store_without_channels_needs_no_task() -> None:
    line = Line(MemoryStore(), Offload(), lambda _name, _blob: None)
    with trio.fail_after(5):
        await line.run()
    assert not line.is_open
    assert not await line.fetch(["a"])


async def test_a_channel_that_is_refused_is_asked_for_again(autojump_clock: MockClock) -> None:
    store = ChannelStore([])
    line = Line(store, Offload(), lambda _name, _blob: None)
    autojump_clock.autojump_threshold = 0.05  # a thread is no task, and takes a moment
    with trio.move_on_after(20):
        await line.run()
    assert store.refused > 5
    assert not line.is_open


async def test_who_is_cancelled_while_others_wait_for_the_same_takes_nothing_from_them() -> None:
    channel = FakeChannel()
    answers: dict[int, object] = {}
    async with site_of(channel) as site, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as first:
                first.start_soon(partial(site.fetch, answers, 0, "a", "b"))
                await wait_all_tasks_blocked()
                nursery.start_soon(site.fetch, answers, 1, "b")
                await wait_all_tasks_blocked()
                scope.cancel()
        channel.answer(2)
    assert answers == {1: True}
