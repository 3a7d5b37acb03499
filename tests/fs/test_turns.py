"""How requests are waited for: on the spot while they follow one another, and everybody else gets turns."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from keyfs.fs.turns import NEAR_S, TURN_S, Turns


@dataclass(frozen=True)
class Device:
    """A pipe in place of /dev/fuse: one byte, one request."""

    fd: int
    asks: int

    def ask(self, requests: int = 1) -> None:
        os.write(self.asks, b"?" * requests)

    async def take(self, turns: Turns) -> None:
        """As pyfuse3 does."""
        async with turns:
            await turns.wait_readable(self.fd)
        os.read(self.fd, 1)


@pytest.fixture
def device() -> Iterator[Device]:
    """An open one."""
    made = Device(*os.pipe())
    yield made
    for fd in (made.fd, made.asks):
        os.close(fd)


async def test_requests_that_are_there_are_taken_without_a_turn_of_the_loop(device: Device) -> None:
    turns, others = Turns(), 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        device.ask(21)
        await device.take(turns)  # the turn begins
        before, began_s = others, time.perf_counter()
        for _ in range(20):
            await device.take(turns)
        assert others == before or time.perf_counter() - began_s > TURN_S
        nursery.cancel_scope.cancel()


async def test_other_tasks_get_a_turn_while_requests_follow_one_another(device: Device) -> None:
    turns, is_served = Turns(), False

    async def other() -> None:
        nonlocal is_served
        is_served = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with trio.fail_after(5):
            while not is_served:
                device.ask()
                await device.take(turns)


async def test_who_waits_for_the_device_has_it_while_an_answer_is_waited_for(device: Device) -> None:
    turns, taken = Turns(), trio.Event()

    async def second() -> None:
        await device.take(turns)
        taken.set()

    async with trio.open_nursery() as nursery:
        async with turns:
            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked()
            device.ask()
            await turns.wait_readable(device.fd)
        os.read(device.fd, 1)
        device.ask()
        with trio.fail_after(5):
            await taken.wait()  # an answer that takes its time


async def test_who_gives_up_waiting_for_the_device_is_not_woken(device: Device) -> None:
    turns = Turns()
    async with turns:
        with trio.move_on_after(0.01):
            await device.take(turns)
    device.ask()
    with trio.fail_after(5):
        await device.take(turns)


async def test_no_request_is_taken_once_the_mount_is_left(device: Device) -> None:
    turns, ended = Turns(), trio.Event()

    async def reader() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await device.take(turns)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        turns.notify_closing(device.fd)
        with trio.fail_after(5):
            await ended.wait()
    device.ask()
    with pytest.raises(trio.ClosedResourceError):
        await device.take(turns)
    assert os.read(device.fd, 1)  # for the next process


async def test_a_request_that_follows_at_once_is_waited_for_on_the_spot(device: Device) -> None:
    turns = Turns()
    turns._may_spin = True
    device.ask()
    await device.take(turns)
    turns._is_near = True
    began_s = time.perf_counter()
    assert not turns._is_here(device.fd, began_s)
    assert time.perf_counter() - began_s >= NEAR_S


async def test_one_that_comes_late_makes_the_next_be_waited_for_asleep(device: Device) -> None:
    turns = Turns()
    turns._is_near = True

    async def late() -> None:
        await trio.sleep(10 * NEAR_S)
        device.ask()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late)
        await device.take(turns)
    assert not turns._is_near


async def test_nobody_waits_on_the_spot_while_another_answer_is_under_way(device: Device) -> None:
    turns = Turns()
    turns._is_near = turns._may_spin = True
    device.ask()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.take, turns)
    began_s = time.perf_counter()
    assert not turns._is_here(device.fd, began_s + 5)
    assert time.perf_counter() - began_s < 5
