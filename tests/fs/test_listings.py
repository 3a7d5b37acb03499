"""Listings, in process: what is in them, and what is made ahead of being asked for."""

from typing import NoReturn

import pytest
from kernel import Kernel, refused

from keyfs.core.names import parse_key_ref
from keyfs.errors import StoreUnavailable
from keyfs.testing.builders import STORAGE_SYM, Keys
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

SYM = "storage-sym/alice/current"


async def test_a_listing_counts_references_but_not_for_dots(kernel: Kernel) -> None:
    directory = await kernel.inode("storage/alice")
    fh = await kernel.operations.opendir(directory, kernel.ctx)
    inodes = {entry.name: entry.inode for entry in await kernel.readdir(fh)}
    assert inodes["."] == directory
    assert inodes[".."] == await kernel.inode("storage")
    await kernel.operations.forget([(inodes["current"], 1), (directory, 1)])
    for gone in (inodes["current"], directory):
        with refused("ENOENT"):
            await kernel.operations.getattr(gone, kernel.ctx)


async def test_a_listing_goes_on_where_it_stopped(kernel: Kernel) -> None:
    names = await kernel.names("storage/alice")
    fh = await kernel.operations.opendir(await kernel.inode("storage/alice"), kernel.ctx)
    found: list[str] = []
    position = 0
    while True:
        entries = await kernel.readdir(fh, position, room=2)
        if not entries:
            break
        found += [entry.name for entry in entries]
        position = entries[-1].next_id
    assert found == names


async def test_what_vanishes_while_it_is_listed_is_left_out(kernel: Kernel, medium: Medium) -> None:
    fh = await kernel.operations.opendir(await kernel.inode("storage-sym"), kernel.ctx)
    medium.set("alice_storage_sym", None)
    with refused("ENOENT"):
        await kernel.inode(SYM)
    assert [entry.name for entry in await kernel.readdir(fh)] == [".", ".."]


async def test_a_line_made_ahead_is_not_shown_after_a_rotation(kernel: Kernel, outside: Keys) -> None:
    fh = await kernel.operations.opendir(await kernel.inode("storage-sym/alice"), kernel.ctx)
    kernel.operations.between_requests()
    outside.writer.rotate(STORAGE_SYM)
    shown = await kernel.lookup(SYM)
    listed = {entry.name: entry.mtime_ns for entry in await kernel.readdir(fh)}
    assert listed["current"] == shown.st_mtime_ns == outside.keys.ring(STORAGE_SYM).versions[-1].created_ns


async def test_a_client_that_vanished_before_it_was_read_is_empty(kernel: Kernel, medium: Medium) -> None:
    fh = await kernel.operations.opendir(await kernel.inode("storage-sym/alice"), kernel.ctx)
    medium.set("alice_storage_sym", None)
    with refused("ENOENT"):
        await kernel.inode(SYM)
    kernel.operations.between_requests()
    assert [entry.name for entry in await kernel.readdir(fh)] == [".", ".."]
    assert await kernel.readdir(fh, 2) == []


async def test_a_directory_that_was_listed_may_be_listed_again(kernel: Kernel) -> None:
    directory = await kernel.inode("storage/alice")
    fh = await kernel.operations.opendir(directory, kernel.ctx)
    kernel.operations.between_requests()
    once = await kernel.readdir(fh)
    assert await kernel.readdir(fh) == once  # rewinddir(3)
    await kernel.operations.forget([(entry.inode, 1) for entry in once[2:]])
    inode = next(entry.inode for entry in once if entry.name == "current")
    assert (await kernel.operations.getattr(inode, kernel.ctx)).st_ino == inode


async def make_ahead_but_fail(kernel: Kernel, failure: Exception) -> int:
    """A handle whose first lines were to be made ahead when something failed."""

    def fails(_: object) -> NoReturn:
        raise failure

    fh = await kernel.operations.opendir(await kernel.inode("storage/alice"), kernel.ctx)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel.operations.scene.broker.tree, "children", fails)
        kernel.operations.between_requests()
    return fh


async def test_what_cannot_be_made_ahead_is_made_when_it_is_asked_for(kernel: Kernel) -> None:
    fh = await make_ahead_but_fail(kernel, StoreUnavailable("away"))
    assert [entry.name for entry in await kernel.readdir(fh)] == await kernel.names("storage/alice")


@pytest.mark.expects_log("request.bug")
async def test_a_bug_in_what_is_made_ahead_does_not_end_the_mount(kernel: Kernel) -> None:
    fh = await make_ahead_but_fail(kernel, RuntimeError("a bug"))
    assert [entry.name for entry in await kernel.readdir(fh)] == await kernel.names("storage/alice")


async def test_a_key_made_outside_is_listed_at_once(kernel: Kernel, outside: Keys) -> None:
    assert "bobby" not in await kernel.names("storage-sym")
    outside.writer.generate(parse_key_ref("storage-sym/bobby"))
    assert "bobby" in await kernel.names("storage-sym")
    assert (await kernel.lookup("storage-sym/bobby/current")).st_size == 32
