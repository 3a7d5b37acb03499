"""What an open will read is given to the kernel with its answer: where nobody else has the file open."""

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio.testing
from kernel import OWNER_GID, OWNER_UID, Kernel

from keyfs.broker.snapshot import Snapshot
from keyfs.core.names import Half, parse_key_ref
from keyfs.core.policy import Ownership
from keyfs.core.secret import Secret
from keyfs.core.tree import Facts, key_node
from keyfs.fs.inodes import Inodes
from keyfs.fs.kernel_cache import PAGE, KernelCache, Left
from keyfs.fs.operations import KeyfsOperations
from keyfs.testing.builders import Keys, broker_on, in_memory
from keyfs.testing.medium import Medium

REF = parse_key_ref("storage-sym/alice1")
CURRENT = f"{REF}/current"
TTL_S = 30.0


@dataclass
class Pages:
    """The pages of a kernel that takes what it is given, or does not."""

    given: list[tuple[int, int, bytes]] = field(default_factory=list)
    error: int = 0

    def give(self, inode: int, offset: int, content: bytes) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.given.append((inode, offset, bytes(content)))


@dataclass
class Site:
    """A mount with one key in it."""

    keys: Keys
    kernel: Kernel
    pages: Pages
    inode: int

    async def open(self) -> tuple[int, bool]:
        """A new handle, and whether the kernel keeps the pages."""
        info = await self.kernel.operations.open(self.inode, os.O_RDONLY, self.kernel.ctx)
        return info.fh, info.keep_cache

    async def release(self, handle: int) -> None:
        await self.kernel.operations.release(handle)


@asynccontextmanager
async def mount() -> AsyncIterator[Site]:
    keys, pages = in_memory(Medium()), Pages()
    keys.writer.generate(REF)
    keys.keys.load()
    operations = KeyfsOperations(broker_on(keys.keys, keys.writer), Ownership(OWNER_UID, OWNER_GID), TTL_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operations.scene.kernel.run, lambda *_: None, None, pages.give)
        await trio.testing.wait_all_tasks_blocked()
        kernel = Kernel(operations)
        yield Site(keys, kernel, pages, await kernel.inode(CURRENT))
        nursery.cancel_scope.cancel()


async def test_the_first_who_opens_a_key_has_it_given_to_the_kernel() -> None:
    async with mount() as site:
        _, keep = await site.open()
        assert keep
        assert site.pages.given == [(site.inode, 0, site.keys.secret(REF))]


async def test_what_was_given_is_not_given_again_until_it_is_another_version() -> None:
    async with mount() as site:
        for _ in range(3):
            handle, keep = await site.open()
            assert keep
            await site.release(handle)
        old = site.keys.secret(REF)
        await site.kernel.write(f"{REF}/rotate", b"\n")
        _, keep = await site.open()
        assert keep
        assert [content for _, _, content in site.pages.given] == [old, site.keys.secret(REF)]


async def is_given(size: int, left: Left | None) -> bool:
    """Whether the first open of so long a file is given it; *left* as `KernelCache.run` takes it."""
    pages, kernel = Pages(), KernelCache(Inodes, TTL_S)
    node = key_node(REF, "current", Half.SECRET)
    snapshot = Snapshot(Secret(bytes(size)), Facts(0o400, size, 1), is_foretold=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.run, lambda *_: None, left, pages.give)
        await trio.testing.wait_all_tasks_blocked()
        admission = kernel.pages.admit(7, node, snapshot)
        assert admission is not None
        keep = kernel.fill(7, snapshot.content, admission).keep
        nursery.cancel_scope.cancel()
    assert len(pages.given) == keep
    return keep


async def test_nothing_is_given_after_an_earlier_process() -> None:
    """Nobody knows whether a read that it did not answer still waits."""
    assert await is_given(32, None)
    assert not await is_given(32, tuple)


async def test_nothing_is_given_while_another_has_it_open() -> None:
    """Who reads a page waits for the daemon, which would wait for the page."""
    async with mount() as site:
        site.pages.error = errno.ENOMEM
        first, keep = await site.open()
        assert not keep
        site.pages.error = 0
        _, keep = await site.open()
        assert not keep
        assert site.pages.given == []
        await site.release(first)


async def test_a_kernel_that_takes_nothing_asks() -> None:
    async with mount() as site:
        site.pages.error = errno.ENOENT
        handle, keep = await site.open()
        assert not keep
        assert await site.kernel.operations.read(handle, 0, 99) == site.keys.secret(REF)
        await site.release(handle)
        _, keep = await site.open()
        assert keep  # a read has proved the pages


async def test_no_more_than_a_page_is_given() -> None:
    assert await is_given(PAGE, None)
    assert not await is_given(PAGE + 1, None)
