"""The handlers in process: opens for writing, flushes, truncation, creation, permissions, refusals."""

import os
import stat

import pyfuse3
import pytest
import trio
from kernel import OTHER, OWNER_GID, OWNER_UID, Kernel, kernel_on, refused

from keyfs.core.names import CURRENT
from keyfs.testing.builders import (
    HMAC_SYM,
    STORAGE,
    STORAGE_SYM,
    Keys,
    in_memory,
    new_material,
)
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

SYM = "storage-sym/alice/current"
ROTATE = "storage-sym/alice/rotate"
KEY = b"k" * 32
PERMS = "access.denied"


def values(keys: Keys) -> list[bytes]:
    return [keys.secret(STORAGE_SYM, version) for version in keys.versions(STORAGE_SYM)]


# --- writing ---


async def test_a_write_makes_the_next_version(kernel: Kernel, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    await kernel.write(SYM, KEY)
    assert values(keys) == [before, KEY]
    assert await kernel.read(SYM) == KEY


async def test_a_pair_is_imported_with_its_public_half(kernel: Kernel, keys: Keys) -> None:
    material = new_material(STORAGE)
    await kernel.write("storage/alice/current", material)
    assert await kernel.read("storage/alice/current") == material
    assert await kernel.read("storage/alice/current.pub") == keys.public(STORAGE)


async def test_any_byte_to_rotate_generates(kernel: Kernel, keys: Keys) -> None:
    await kernel.write(ROTATE, b"1")
    assert len(keys.versions(STORAGE_SYM)) == 2
    await kernel.write("storage/alice/rotate", b"x" * 5000)
    assert len(keys.versions(STORAGE)) == 2


async def test_a_handle_makes_one_version_whatever_is_flushed_and_synced(kernel: Kernel, keys: Keys) -> None:
    inode = await kernel.inode(SYM)
    fh = (await kernel.operations.open(inode, os.O_WRONLY | os.O_TRUNC, kernel.ctx)).fh
    await kernel.operations.flush(fh)  # a shell duplicates the descriptor before it writes
    await kernel.operations.write(fh, 0, KEY[:16])
    await kernel.operations.write(fh, 16, KEY[16:])
    await kernel.operations.fsync(fh, datasync=True)
    await kernel.operations.flush(fh)
    await kernel.operations.flush(fh)
    await kernel.operations.release(fh)
    assert values(keys)[1:] == [KEY]


async def test_release_commits_nothing(kernel: Kernel, keys: Keys) -> None:
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY, kernel.ctx)).fh
    await kernel.operations.write(fh, 0, KEY)
    await kernel.operations.release(fh)
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_a_handle_reads_what_it_wrote(kernel: Kernel, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    async with kernel.opened(SYM, os.O_RDWR) as fh:
        assert await kernel.operations.read(fh, 0, 100) == before
        await kernel.operations.write(fh, 0, b"zz")
        assert await kernel.operations.read(fh, 0, 100) == b"zz" + before[2:]
    assert keys.secret(STORAGE_SYM) == b"zz" + before[2:]


async def test_a_read_handle_takes_no_write(kernel: Kernel) -> None:
    async with kernel.opened(SYM) as fh:
        with refused("ENOENT"):
            await kernel.operations.write(fh, 0, KEY)


@pytest.mark.parametrize("data", [b"x" * 31, b"\n", b"0123456789abcdef" * 4])
async def test_what_is_no_key_is_refused_and_changes_nothing(kernel: Kernel, keys: Keys, data: bytes) -> None:
    before = values(keys)
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY | os.O_TRUNC, kernel.ctx)).fh
    try:
        await kernel.operations.write(fh, 0, data)
    except pyfuse3.FUSEError:
        assert len(data) > 33
    with refused("EINVAL"):
        await kernel.operations.flush(fh)
    await kernel.operations.release(fh)
    assert values(keys) == before


async def test_a_wrong_beginning_of_a_pair_fails_at_the_write(kernel: Kernel) -> None:
    """Many programs do not look at what close(2) says."""
    fh = (
        await kernel.operations.open(await kernel.inode("storage/alice/current"), os.O_WRONLY, kernel.ctx)
    ).fh
    with refused("EINVAL"):
        await kernel.operations.write(fh, 0, b"-----BEGIN EC PRIVATE KEY-----")
    await kernel.operations.release(fh)


@pytest.mark.expects_log("request.failed")
async def test_an_edit_of_what_someone_else_rotated_is_stale(
    kernel: Kernel, keys: Keys, medium: Medium
) -> None:
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_WRONLY, kernel.ctx)).fh
    await kernel.operations.write(fh, 0, b"z")
    in_memory(medium).writer.rotate(STORAGE_SYM)
    with refused("ESTALE"):
        await kernel.operations.flush(fh)
    await kernel.operations.release(fh)


async def test_two_writers_make_two_versions(kernel: Kernel, keys: Keys) -> None:
    async with trio.open_nursery() as nursery:
        for fill in (b"1", b"2"):
            nursery.start_soon(kernel.write, SYM, fill * 32)
    assert sorted(values(keys)[1:]) == [b"1" * 32, b"2" * 32]


async def test_on_a_read_only_mount_closing_costs_nothing(keys: Keys) -> None:
    kernel = kernel_on(keys, is_writable=False)
    fh = (await kernel.operations.open(await kernel.inode(SYM), os.O_RDONLY, kernel.ctx)).fh
    with refused("ENOSYS"):  # the kernel never asks again
        await kernel.operations.flush(fh)
    await kernel.operations.release(fh)


# --- truncate, touch, chmod ---


async def test_truncation_alone_makes_no_version(kernel: Kernel, keys: Keys) -> None:
    inode = await kernel.inode(SYM)
    await kernel.setattr(inode, size=0)
    async with kernel.opened(SYM, os.O_WRONLY) as fh:
        await kernel.setattr(inode, fh, size=0)
        await kernel.setattr(inode, fh, size=16)
    assert keys.versions(STORAGE_SYM) == [CURRENT]
    assert (await kernel.lookup(SYM)).st_size == 32


async def test_a_truncated_handle_starts_anew(kernel: Kernel, keys: Keys) -> None:
    inode = await kernel.inode(SYM)
    async with kernel.opened(SYM, os.O_WRONLY) as fh:
        await kernel.setattr(inode, fh, size=0)
        await kernel.operations.write(fh, 0, KEY)
    assert keys.secret(STORAGE_SYM) == KEY


async def test_after_truncation_the_kernel_hears_the_size_that_the_handle_has(kernel: Kernel) -> None:
    """An appending write goes to where the kernel believes the end to be."""
    inode = await kernel.inode(SYM)
    async with kernel.opened(SYM, os.O_WRONLY) as fh:
        assert (await kernel.setattr(inode, fh, size=0)).st_size == 0
        assert (await kernel.setattr(inode, fh, size=16)).st_size == 16
    assert (await kernel.lookup(SYM)).st_size == 32


async def test_a_size_that_no_key_has_is_einval(kernel: Kernel) -> None:
    inode = await kernel.inode(SYM)
    async with kernel.opened(SYM, os.O_WRONLY) as fh:
        with refused("EINVAL"):
            await kernel.setattr(inode, fh, size=1 << 40)


async def test_what_changes_nothing_succeeds(kernel: Kernel, keys: Keys) -> None:
    inode = await kernel.inode(SYM)
    before = await kernel.lookup(SYM)
    for values_given in ({"mtime_ns": 1}, {"mode": 0o600}, {"uid": OWNER_UID, "gid": OWNER_GID}):
        attr = await kernel.setattr(inode, **values_given)
        assert attr.st_mtime_ns == before.st_mtime_ns
    assert keys.versions(STORAGE_SYM) == [CURRENT]


@pytest.mark.parametrize("change", [{"mode": 0o644}, {"uid": OTHER}, {"gid": OTHER}, {"mode": 0o4600}])
async def test_policy_is_not_changed_by_chmod_and_chown(kernel: Kernel, change: dict[str, int]) -> None:
    inode = await kernel.inode(SYM)
    with refused("EPERM"):
        await kernel.setattr(inode, **change)


@pytest.mark.expects_log(PERMS)
async def test_truncation_needs_the_right_to_write(kernel: Kernel) -> None:
    inode = await kernel.inode(SYM)
    with refused("EACCES"):
        await kernel.called_by(uid=OTHER, gid=OTHER).setattr(inode, size=0)


# --- creation ---


async def create(kernel: Kernel, path: str, flags: int = os.O_WRONLY | os.O_CREAT) -> tuple[int, int]:
    """Handle and inode of a file that is made."""
    folder, _, name = path.rpartition("/")
    parent = await kernel.inode(folder)
    info, attr = await kernel.operations.create(parent, os.fsencode(name), 0o600, flags, kernel.ctx)
    return info.fh, attr.st_ino


async def test_a_lost_current_can_be_made_again(kernel: Kernel, keys: Keys, medium: Medium) -> None:
    keys.writer.rotate(STORAGE_SYM)
    medium.set("alice_storage_sym", None)
    with refused("ENOENT"):
        await kernel.inode(SYM)
    fh, inode = await create(kernel, SYM, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    attr = await kernel.operations.getattr(inode, kernel.ctx)
    assert (attr.st_size, stat.S_IMODE(attr.st_mode)) == (0, 0o600)
    await kernel.operations.write(fh, 0, KEY)
    await kernel.operations.flush(fh)
    await kernel.operations.release(fh)
    assert await kernel.read(SYM) == KEY
    assert await kernel.inode(SYM) == inode
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_closing_one_of_two_new_files_leaves_the_other(kernel: Kernel, medium: Medium) -> None:
    in_memory(medium).writer.rotate(STORAGE_SYM)
    medium.set("alice_storage_sym", None)
    (first, inode), (second, _) = await create(kernel, SYM), await create(kernel, SYM)
    await kernel.operations.release(second)
    assert (await kernel.operations.getattr(inode, kernel.ctx)).st_size == 0
    await kernel.operations.release(first)
    with refused("ENOENT"):
        await kernel.operations.getattr(inode, kernel.ctx)


async def test_a_new_file_of_one_key_is_not_one_of_another(kernel: Kernel, medium: Medium) -> None:
    paths = [SYM, "hmac-sym/alice/current"]
    inodes = [await kernel.inode(path) for path in paths]
    for ref in (STORAGE_SYM, HMAC_SYM):
        in_memory(medium).writer.rotate(ref)
    for name in ("alice_storage_sym", "alice_hmac"):
        medium.set(name, None)
    await create(kernel, SYM)
    assert (await kernel.operations.getattr(inodes[0], kernel.ctx)).st_size == 0
    with refused("ENOENT"):
        await kernel.operations.getattr(inodes[1], kernel.ctx)


async def test_what_exists_is_not_made_exclusively(kernel: Kernel) -> None:
    """Someone else made it between the kernel's lookup and its request."""
    with refused("EEXIST"):
        await create(kernel, SYM, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


@pytest.mark.expects_log("request.failed|access.denied")
@pytest.mark.parametrize(
    "path",
    [
        *("storage/bobby", "new", "storage/alice/current.pub", "storage/alice/current.pub.pem"),
        *("storage/alice/2020-01-01T00:00:00", "storage/alice/2020-01-01T00:00:00.5.b64"),
    ],
)
async def test_nothing_else_can_be_made(kernel: Kernel, path: str) -> None:
    with refused("EACCES"):
        await create(kernel, path)


async def test_an_overlong_new_name_is_enametoolong(kernel: Kernel) -> None:
    with refused("ENAMETOOLONG"):
        await create(kernel, "storage/alice/" + "x" * 257)
