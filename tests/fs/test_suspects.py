"""Requests that were under way when a worker died: who is to blame, and who is let go."""

import errno
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from pyfuse3 import FUSEError

from keyfs.fs.suspects import CRASH, KILL, Suspects, earlier_outsiders, note_outsider


def new_ledger() -> memoryview:
    return memoryview(bytearray(1 << 16))


async def is_refused(suspects: Suspects, *what: int | bytes) -> bool:
    try:
        async with suspects.noted("open", *what):
            return False
    except FUSEError as exc:
        return bool(exc.errno == errno.EIO)


async def dies(memory: memoryview, points: int, *requests: tuple[int | bytes, ...]) -> None:
    """A worker takes requests, and ends: what it had noted stays."""
    suspects = Suspects(memory, points)
    async with AsyncExitStack() as under_way:
        for what in requests:
            await under_way.enter_async_context(suspects.noted("open", *what))
        left = bytes(memory)
    memory[:] = left


@pytest.mark.parametrize(("points", "deaths"), [(CRASH, 2), (KILL, 8)])
@pytest.mark.expects_log(r"request\.poisonous")
async def test_it_is_refused_after_so_many_deaths(points: int, deaths: int) -> None:
    memory = new_ledger()
    for _ in range(deaths):
        await dies(memory, points, (7, b"name"))
    suspects = Suspects(memory, points)
    assert await is_refused(suspects, 7, b"name")
    assert await is_refused(suspects, 7, b"name")
    assert not await is_refused(suspects, 7, b"other name")
    assert not await is_refused(suspects, 8, b"name")


async def test_one_that_was_answered_is_no_suspect() -> None:
    memory = new_ledger()
    await dies(memory, CRASH, (7,))
    assert not await is_refused(Suspects(memory, CRASH), 7)
    await dies(memory, CRASH, (7,))
    assert not await is_refused(Suspects(memory, CRASH), 7)


async def test_suspects_go_one_at_a_time_and_others_at_once() -> None:
    memory = new_ledger()
    await dies(memory, CRASH, (2,), (3,))
    suspects = Suspects(memory, CRASH)
    order: list[int] = []

    async def ask(number: int, done: trio.Event) -> None:
        async with suspects.noted("open", number):
            order.append(number)
            await done.wait()

    over = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in (2, 3, 9):
            nursery.start_soon(ask, number, over)
        await trio.testing.wait_all_tasks_blocked()
        assert len(order) == 2
        assert 9 in order
        over.set()
    assert sorted(order) == [2, 3, 9]


async def test_more_at_once_than_there_is_room_for() -> None:
    suspects = Suspects(new_ledger(), CRASH)
    async with AsyncExitStack() as under_way:
        for number in range(5000):
            await under_way.enter_async_context(suspects.noted("open", number))


async def test_outsiders_are_remembered_for_some_workers() -> None:
    memory = new_ledger()
    assert earlier_outsiders(memory) == set()
    for generation in range(20):
        note_outsider(memory, generation, 1000 + generation)
    assert earlier_outsiders(memory) == set(range(1004, 1020))
    assert not await is_refused(Suspects(memory, CRASH), 1)
    assert earlier_outsiders(memory) == set(range(1004, 1020))
