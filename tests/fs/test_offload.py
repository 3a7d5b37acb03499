"""`Offload`: reads are abandoned, writes run to their end, one at a time."""

import threading
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from keyfs.errors import (
    StoreBusy,
)
from keyfs.offload import READ_THREADS, Offload
from keyfs.testing.faults import Gate, failing


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Opened at the end, so that no thread stays behind."""
    gate = Gate()
    yield gate
    gate.open()


async def test_a_read_is_abandoned_and_its_result_dropped(gate: Gate) -> None:
    offload = Offload()
    with trio.move_on_after(0.01) as scope:
        await offload.read(gate)
    assert scope.cancelled_caught
    assert await offload.read(len, "next") == 4


async def test_a_write_goes_on_after_its_caller_left_and_drain_waits_for_it(gate: Gate) -> None:
    offload, done = Offload(), threading.Event()

    def write() -> None:
        gate()
        done.set()

    with trio.move_on_after(0.01):
        await offload.write(write)
    assert not await offload.drain(0.01)
    assert not done.is_set()
    gate.open()
    assert await offload.drain(5)
    assert done.is_set()


async def test_drain_waits_for_writes_that_wait(gate: Gate) -> None:
    offload = Offload()
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.write, gate)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            nursery.start_soon(offload.write, done.append, number)
            await trio.testing.wait_all_tasks_blocked()
        gate.open()
        assert await offload.drain(5)
        assert done == [0, 1, 2]


async def test_a_write_that_had_not_begun_is_not_begun_after_its_caller_left(gate: Gate) -> None:
    offload = Offload()
    begun: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.write, gate)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01):
            await offload.write(begun.append, 1)
        gate.open()
    assert await offload.drain(5)
    assert not begun


async def test_one_writer_at_a_time() -> None:
    offload = Offload()
    inside: list[int] = []

    def write(number: int) -> None:
        inside.append(number)
        assert inside == [number]
        inside.clear()

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(offload.write, write, number)


async def test_reads_go_on_while_a_writer_hangs(gate: Gate) -> None:
    offload = Offload()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.write, gate)
        await trio.testing.wait_all_tasks_blocked()
        assert await offload.read(len, "four") == 4
        gate.open()


async def test_errors_come_out_of_both_kinds_of_call() -> None:
    offload = Offload()
    for run in (offload.read, offload.write):
        with pytest.raises(StoreBusy):
            await run(failing(StoreBusy("busy")))


async def test_hanging_reads_leave_no_more_than_their_threads(gate: Gate) -> None:
    offload = Offload()
    held: list[int] = []

    def hold() -> None:
        held.append(1)
        gate()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(READ_THREADS + 10):
                nursery.start_soon(offload.read, hold)
            while len(held) < READ_THREADS:
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert len(held) == READ_THREADS
