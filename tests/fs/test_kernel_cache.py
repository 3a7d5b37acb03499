"""What the kernel is told to forget, and when: never pages of a file that somebody has open."""

import errno
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from kernel import OWNER_GID, OWNER_UID, Kernel

from keyfs.core.names import parse_key_ref
from keyfs.core.policy import Ownership
from keyfs.fs.operations import KeyfsOperations
from keyfs.testing.builders import broker_on, in_memory
from keyfs.testing.medium import Medium

LABEL = "storage-sym/alice1"
CURRENT = f"{LABEL}/current"
TTL_S = 30.0


@dataclass
class Told:
    """A kernel that is told to forget."""

    calls: list[tuple[int, bool]] = field(default_factory=list)
    unknown: set[int] = field(default_factory=set)
    go_on: threading.Event = field(default_factory=threading.Event)
    was_called: threading.Event = field(default_factory=threading.Event)

    def forget(self, inode: int, attributes_only: bool) -> None:
        """In a thread."""
        self.go_on.wait()
        self.calls.append((inode, attributes_only))
        self.was_called.set()
        if inode in self.unknown:
            raise OSError(errno.ENOENT, "unknown")


@asynccontextmanager
async def mount(told: Told, ttl_s: float = TTL_S) -> AsyncIterator[Kernel]:
    """A mount whose kernel keeps keys, unless *ttl_s* is 0, with one key in it."""
    keys = in_memory(Medium())
    keys.writer.generate(parse_key_ref(LABEL))
    keys.keys.load()
    operations = KeyfsOperations(broker_on(keys.keys, keys.writer), Ownership(OWNER_UID, OWNER_GID), ttl_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operations.scene.kernel.run, told.forget)
        await trio.testing.wait_all_tasks_blocked()
        yield Kernel(operations)
        nursery.cancel_scope.cancel()


@pytest.fixture
def told() -> Told:
    told = Told()
    told.go_on.set()
    return told


async def rotate(kernel: Kernel) -> None:
    await kernel.write(f"{LABEL}/rotate", b"\n")


async def test_the_page_of_a_closed_file_goes_with_a_rotation(told: Told) -> None:
    async with mount(told) as kernel:
        inode = await kernel.inode(CURRENT)
        await kernel.read(CURRENT)
        await rotate(kernel)
        assert (inode, False) in told.calls


async def test_no_page_is_dropped_while_a_file_is_open_but_at_its_last_close(told: Told) -> None:
    """A daemon that is killed while the kernel waits for a page would never end, and all would hang."""
    async with mount(told) as kernel:
        async with kernel.opened(CURRENT) as first, kernel.opened(CURRENT):
            inode = await kernel.inode(CURRENT)
            await kernel.operations.read(first, 0, 99)
            await rotate(kernel)
            assert (inode, True) in told.calls
            assert (inode, False) not in told.calls
        await kernel.operations.scene.kernel.settled()
        assert (inode, False) in told.calls


async def test_a_page_that_nobody_opens_is_dropped(told: Told, mock_clock: trio.testing.MockClock) -> None:
    mock_clock.rate = 1.0
    async with mount(told) as kernel:
        inode = await kernel.inode(CURRENT)
        await kernel.read(CURRENT)
        mock_clock.jump(TTL_S - 5)
        await trio.sleep(0.01)
        assert not told.calls
        mock_clock.jump(TTL_S / 2)
        with trio.fail_after(5):
            await trio.to_thread.run_sync(told.was_called.wait)
        assert told.calls == [(inode, False)]


async def test_an_open_waits_until_what_is_older_is_forgotten(told: Told) -> None:
    async with mount(told) as kernel:
        inode = await kernel.inode(CURRENT)
        await kernel.read(CURRENT)
        told.go_on.clear()
        opened: list[object] = []

        async def open_it() -> None:
            opened.append(await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx))

        async with trio.open_nursery() as nursery:
            kernel.operations.scene.kernel.forget(inode)
            nursery.start_soon(open_it)
            await trio.sleep(0.1)
            assert not opened
            told.go_on.set()
        assert told.calls == [(inode, False)]


async def test_who_was_unknown_when_it_was_told_is_told_again_at_the_next_open(told: Told) -> None:
    """An answer with attributes may have been on its way to the kernel."""
    async with mount(told) as kernel:
        inode = await kernel.inode(CURRENT)
        told.unknown.add(inode)
        kernel.operations.scene.kernel.forget(inode)
        await kernel.operations.scene.kernel.settled()
        assert len(told.calls) == 1
        told.unknown.clear()
        await kernel.read(CURRENT)
        assert len(told.calls) == 2


async def test_a_listing_that_takes_half_a_minute_looks_up_no_directory_twice() -> None:
    """`ls -lR` comes to most directories long after they were listed; to keys at once."""
    async with mount(Told()) as kernel:
        above, attr = await kernel.lookup(LABEL), await kernel.lookup(CURRENT)
        assert attr.entry_timeout < 30 < above.entry_timeout == above.attr_timeout


async def test_nothing_of_a_key_is_kept_in_the_strict_mode() -> None:
    """Its directory is, and is told of as ever."""
    told = Told()
    told.go_on.set()
    async with mount(told, ttl_s=0.0) as kernel:
        above, attr = await kernel.lookup(LABEL), await kernel.lookup(CURRENT)
        assert min(above.entry_timeout, above.attr_timeout) > 0
        assert (attr.entry_timeout, attr.attr_timeout) == (0, 0)
        info = await kernel.operations.open(attr.st_ino, os.O_RDONLY, kernel.ctx)
        assert (info.direct_io, info.keep_cache) == (True, False)
        await rotate(kernel)
        assert (above.st_ino, True) in told.calls
