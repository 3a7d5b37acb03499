"""A directory of very many clients: listed whole, in short steps, and little is kept of what is in it."""

import tracemalloc

import pytest
import trio
from kernel import Kernel, kernel_on

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import STORAGE_SYM
from keyfs.core.tree import client_node, key_node
from keyfs.fs.directory_handlers import ENTRIES_AT_ONCE
from keyfs.fs.inodes import Inodes
from keyfs.testing.builders import in_memory
from keyfs.testing.medium import Medium

CLIENTS = 20_000


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """A mount of a store with many clients; one blob under many names, because only names are looked at."""
    medium = Medium()
    made = in_memory(medium)
    made.writer.generate(KeyRef(STORAGE_SYM, "client-000000"))
    blob = made.keys.store.get("client-000000_storage_sym")
    for number in range(1, CLIENTS):
        medium.put(f"client-{number:06}_storage_sym", blob.data)
    return kernel_on(in_memory(medium))


async def test_all_clients_are_listed_once_and_in_order(kernel: Kernel) -> None:
    names = await kernel.names("storage-sym")
    assert names == [".", "..", *(f"client-{number:06}" for number in range(CLIENTS))]


async def test_one_answer_holds_no_more_than_some_hundred_entries(kernel: Kernel) -> None:
    fh = await kernel.operations.opendir(await kernel.inode("storage-sym"), kernel.ctx)
    entries = await kernel.readdir(fh)
    assert len(entries) == len((".", "..")) + ENTRIES_AT_ONCE
    rest = await kernel.readdir(fh, entries[-1].next_id)
    assert rest[0].name == f"client-{ENTRIES_AT_ONCE:06}"
    await kernel.operations.releasedir(fh)


async def test_others_are_served_while_a_large_directory_is_opened(kernel: Kernel) -> None:
    kernel.operations.scene.broker.tree._labels.clear()
    turns, is_open = 0, False

    async def others() -> None:
        nonlocal turns
        while not is_open:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        fh = await kernel.operations.opendir(await kernel.inode("storage-sym"), kernel.ctx)
        is_open = True
    await kernel.operations.releasedir(fh)
    assert turns > CLIENTS // 4096


def test_little_is_kept_of_a_node_that_the_kernel_knows() -> None:
    inodes = Inodes()
    count = 20_000
    tracemalloc.start()
    for number in range(count):
        ref = KeyRef(STORAGE_SYM, f"client-{number:06}")
        inodes.refer(client_node(ref))
        inodes.refer(key_node(ref, CURRENT, Half.SECRET))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / (2 * count) < 250
    assert inodes.node(inodes.number(client_node(KeyRef(STORAGE_SYM, "client-000007")))) == client_node(
        KeyRef(STORAGE_SYM, "client-000007")
    )
