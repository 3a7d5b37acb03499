"""The handlers in process, each on its own: what one of them owes whatever others did before."""

import os
from collections.abc import Awaitable, Callable

import pytest
from kernel import OTHER, Kernel, kernel_on, refused

from keyfs.core.names import parse_key_ref
from keyfs.testing.builders import HMAC_SYM, STORAGE_SYM, Keys
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

SYM = "storage-sym/alice/current"
KEY = b"k" * 32


# --- nobody answers older than what was complete before ---


async def looked_up(kernel: Kernel, folder: int, outside: Keys) -> bool:
    stamp = outside.versions(STORAGE_SYM)[0]
    return (await kernel.operations.lookup(folder, stamp.encode(), kernel.ctx)).st_size == 32


async def listed(kernel: Kernel, folder: int, outside: Keys) -> bool:
    fh = await kernel.operations.opendir(folder, kernel.ctx)
    return outside.versions(STORAGE_SYM)[0] in [entry.name for entry in await kernel.readdir(fh)]


async def got_attributes(kernel: Kernel, inode: int, outside: Keys) -> bool:
    attr = await kernel.operations.getattr(inode, kernel.ctx)
    return attr.st_mtime_ns == outside.keys.ring(STORAGE_SYM).versions[-1].created_ns


async def touched(kernel: Kernel, inode: int, outside: Keys) -> bool:
    attr = await kernel.setattr(inode, mtime_ns=1)
    return attr.st_mtime_ns == outside.keys.ring(STORAGE_SYM).versions[-1].created_ns


async def opened(kernel: Kernel, inode: int, outside: Keys) -> bool:
    fh = (await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)).fh
    return await kernel.operations.read(fh, 0, 100) == outside.secret(STORAGE_SYM)


async def opened_for_an_edit(kernel: Kernel, inode: int, outside: Keys) -> bool:
    fh = (await kernel.operations.open(inode, os.O_RDWR, kernel.ctx)).fh
    return await kernel.operations.read(fh, 0, 100) == outside.secret(STORAGE_SYM)


Look = Callable[[Kernel, int, Keys], Awaitable[bool]]


@pytest.mark.parametrize("look", [looked_up, listed, got_attributes, touched, opened, opened_for_an_edit])
async def test_each_request_sees_what_changed_outside(
    kernel: Kernel, outside: Keys, medium: Medium, look: Look
) -> None:
    inode = await kernel.inode("storage-sym/alice" if look in (looked_up, listed) else SYM)
    await kernel.read(SYM)
    outside.writer.rotate(STORAGE_SYM)
    assert await look(kernel, inode, outside)


async def test_a_creation_sees_what_was_made_outside(kernel: Kernel, outside: Keys, medium: Medium) -> None:
    outside.writer.rotate(STORAGE_SYM)
    blob = medium.blobs["alice_storage_sym"]
    medium.set("alice_storage_sym", None)
    folder = await kernel.inode("storage-sym/alice")
    medium.set("alice_storage_sym", blob)
    with refused("EEXIST"):
        await kernel.operations.create(folder, b"current", 0o600, os.O_WRONLY | os.O_EXCL, kernel.ctx)


# --- what each answers ---


async def test_a_write_says_how_much_it_took(kernel: Kernel) -> None:
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY, kernel.ctx)).fh
    assert await kernel.operations.write(fh, 0, KEY[:7]) == 7


async def test_a_sync_alone_commits(kernel: Kernel, keys: Keys) -> None:
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY | os.O_TRUNC, kernel.ctx)).fh
    await kernel.operations.write(fh, 0, KEY)
    await kernel.operations.fsync(fh, datasync=False)
    assert keys.secret(STORAGE_SYM) == KEY


async def test_a_creation_that_is_not_exclusive_overwrites(kernel: Kernel, keys: Keys) -> None:
    folder = await kernel.inode("storage-sym/alice")
    info, attr = await kernel.operations.create(folder, b"current", 0o600, os.O_WRONLY, kernel.ctx)
    assert attr.st_ino == await kernel.inode(SYM)
    await kernel.operations.write(info.fh, 0, KEY)
    await kernel.operations.flush(info.fh)
    assert keys.secret(STORAGE_SYM) == KEY


@pytest.mark.expects_log("access.denied")
@pytest.mark.parametrize("is_writable", [True, False])
async def test_only_who_may_write_creates(keys: Keys, medium: Medium, is_writable: bool) -> None:
    keys.writer.rotate(HMAC_SYM)
    medium.set("alice_hmac", None)
    kernel = kernel_on(keys, is_writable=is_writable)
    other = kernel.called_by(uid=OTHER, gid=OTHER) if is_writable else kernel
    folder = await kernel.inode("hmac-sym/alice")
    with refused("EACCES"):
        await other.operations.create(folder, b"current", 0o600, os.O_WRONLY, other.ctx)


async def test_what_was_listed_is_known(kernel: Kernel) -> None:
    """The kernel may ask for an inode that only a listing has given out."""
    fh = await kernel.operations.opendir(await kernel.inode("storage/alice"), kernel.ctx)
    for entry in await kernel.readdir(fh):
        assert (await kernel.operations.getattr(entry.inode, kernel.ctx)).st_ino == entry.inode


async def test_a_closed_directory_is_gone(kernel: Kernel) -> None:
    fh = await kernel.operations.opendir(await kernel.inode("storage"), kernel.ctx)
    await kernel.operations.releasedir(fh)
    with refused("ESTALE"):
        await kernel.readdir(fh)


async def test_a_name_of_255_bytes_is_an_ordinary_name(kernel: Kernel, keys: Keys) -> None:
    with refused("ENOENT"):
        await kernel.lookup("storage-sym/" + "x" * 255)
    ref = parse_key_ref("storage-sym/" + "x" * 255)
    keys.writer.generate(ref)
    assert (await kernel.lookup(f"{ref}/current")).st_size == 32


async def test_statfs_has_no_room_and_whole_pages(kernel: Kernel) -> None:
    data = await kernel.operations.statfs(kernel.ctx)
    assert data.f_bsize == data.f_frsize == 4096
    assert (data.f_blocks, data.f_bfree, data.f_bavail, data.f_ffree, data.f_favail) == (0, 0, 0, 0, 0)
