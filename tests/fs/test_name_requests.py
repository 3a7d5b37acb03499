"""The handlers in process: who does not see a name that was removed, for how long, and who may set a mode."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing

import pytest
import trio
from kernel import OTHER, OWNER_GID, OWNER_UID, Kernel, refused
from trio.testing import MockClock

from keyfs.core.marks import LIFE_S
from keyfs.core.scratch import LIFE_S as SCRATCH_LIFE_S
from keyfs.testing.builders import STORAGE_SYM, Keys, full_medium, in_memory

pytest_plugins = ["fs_fixtures"]

DIRECTORY = "storage-sym/alice"
SYM = f"{DIRECTORY}/current"
KEY = b"k" * 32


@pytest.fixture
def keys() -> Iterator[Keys]:
    keys = in_memory(full_medium())
    with closing(keys.keys):
        keys.keys.watch()
        yield keys


def another_process(kernel: Kernel, uid: int = OWNER_UID) -> Kernel:
    return kernel.called_by(pid=os.getppid(), uid=uid, gid=OWNER_GID)


async def unlink(kernel: Kernel, path: str) -> None:
    directory, _, name = path.rpartition("/")
    await kernel.operations.unlink(await kernel.inode(directory), name.encode(), kernel.ctx)


async def create(kernel: Kernel, path: str, flags: int = os.O_WRONLY | os.O_CREAT) -> int:
    directory, _, name = path.rpartition("/")
    parent = await kernel.inode(directory)
    info, _ = await kernel.operations.create(parent, name.encode(), 0o600, flags, kernel.ctx)
    return info.fh


async def test_a_removed_name_is_there_again_after_a_while(kernel: Kernel, autojump_clock: MockClock) -> None:
    await unlink(kernel, SYM)
    with refused("ENOENT"):
        await kernel.lookup(SYM)
    assert (await another_process(kernel).lookup(SYM)).st_size == 32
    await trio.sleep(LIFE_S)
    assert (await kernel.lookup(SYM)).st_size == 32


async def test_a_name_is_hidden_from_no_process_without_a_number(kernel: Kernel) -> None:
    """Processes of other pid namespaces all have number 0: what one removes must not be hidden from all."""
    elsewhere = kernel.called_by(pid=0)
    await unlink(elsewhere, SYM)
    assert (await elsewhere.lookup(SYM)).st_size == 32


async def test_a_removed_name_is_made_again_exclusively_by_who_removed_it(kernel: Kernel, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    await unlink(kernel, SYM)
    with refused("EEXIST"):
        await create(another_process(kernel), SYM, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    fh = await create(kernel, SYM, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert (await kernel.lookup(SYM)).st_size == 32
    await kernel.operations.write(fh, 0, KEY)
    await kernel.operations.flush(fh)
    await kernel.operations.release(fh)
    assert keys.values(STORAGE_SYM) == [before, KEY]


@pytest.mark.expects_log("access.denied")
async def test_only_the_owner_may_remove_or_make_a_name(kernel: Kernel) -> None:
    other = another_process(kernel, OTHER)
    with refused("EACCES"):
        await unlink(other, SYM)
    with refused("EACCES"):
        await create(other, f"{DIRECTORY}/x")
    parent = await other.inode("storage-sym")
    with refused("EACCES"):
        await other.operations.mkdir(parent, b"bobby", 0o755, other.ctx)
    with refused("EACCES"):
        await other.operations.rmdir(parent, b"alice", other.ctx)


async def test_who_has_just_written_a_key_may_set_its_mode_without_effect(
    kernel: Kernel, autojump_clock: MockClock
) -> None:
    inode = await kernel.inode(SYM)
    with refused("EPERM"):
        await kernel.setattr(inode, mode=0o644)
    fh = (await kernel.operations.open(inode, os.O_WRONLY | os.O_TRUNC, kernel.ctx)).fh
    await trio.sleep(2 * LIFE_S)
    assert (await kernel.setattr(inode, mode=0o644, uid=OTHER)).st_mode & 0o777 == 0o600
    with refused("EPERM"):
        await another_process(kernel).setattr(inode, mode=0o644)
    await kernel.operations.release(fh)
    with refused("EPERM"):
        await kernel.setattr(inode, mode=0o644)


@pytest.mark.expects_log("request.failed")
async def test_a_scratch_file_is_its_makers_alone_even_by_number(kernel: Kernel) -> None:
    fh = await create(kernel, f"{DIRECTORY}/x")
    await kernel.operations.write(fh, 0, KEY)
    inode = await kernel.inode(f"{DIRECTORY}/x")
    other = another_process(kernel, OTHER)
    with refused("EACCES"):
        await other.operations.open(inode, os.O_RDONLY, other.ctx)
    with refused("EACCES"):
        await other.setattr(inode, size=0)
    with refused("ENOENT"):
        await other.lookup(f"{DIRECTORY}/x")
    assert await kernel.read(f"{DIRECTORY}/x") == KEY


async def test_scratch_files_that_nobody_uses_are_wiped(kernel: Kernel, autojump_clock: MockClock) -> None:
    fh = await create(kernel, f"{DIRECTORY}/x")
    await kernel.operations.release(fh)
    await trio.sleep(SCRATCH_LIFE_S)
    kernel.operations.expire_scratches()
    assert "x" in await kernel.names(DIRECTORY)
    await trio.sleep(1)
    kernel.operations.expire_scratches()
    assert await kernel.names(DIRECTORY) == [".", "..", "current", "rotate"]


@pytest.mark.parametrize(("flags", "answer"), [(2, "EINVAL"), (1, "EEXIST"), (3, "EINVAL")])
async def test_flags_of_rename(kernel: Kernel, flags: int, answer: str) -> None:
    await create(kernel, f"{DIRECTORY}/x")
    parent = await kernel.inode(DIRECTORY)
    with refused(answer):
        await kernel.operations.rename(parent, b"x", parent, b"current", flags, kernel.ctx)


async def test_two_opens_of_a_file_that_became_the_key_write_one_value(kernel: Kernel, keys: Keys) -> None:
    """The first one's end must not wipe what the second one still writes."""
    before = keys.secret(STORAGE_SYM)
    first = await create(kernel, f"{DIRECTORY}/x")
    inode = await kernel.inode(f"{DIRECTORY}/x")
    second = (await kernel.operations.open(inode, os.O_WRONLY, kernel.ctx)).fh
    await kernel.operations.write(first, 0, KEY)
    parent = await kernel.inode(DIRECTORY)
    await kernel.operations.rename(parent, b"x", parent, b"current", 0, kernel.ctx)
    await kernel.operations.flush(first)
    await kernel.operations.release(first)
    assert (await kernel.operations.getattr(inode, kernel.ctx)).st_size == 32
    await kernel.operations.write(second, 0, b"K")
    await kernel.operations.flush(second)
    await kernel.operations.release(second)
    assert keys.values(STORAGE_SYM) == [before, b"K" + KEY[1:]]
    with refused("ENOENT"):
        await kernel.operations.getattr(inode, kernel.ctx)


async def test_a_rename_across_keys_is_a_copy_for_the_program_to_make(kernel: Kernel) -> None:
    here, there = await kernel.inode(DIRECTORY), await kernel.inode("hmac-sym/alice")
    with refused(errno.errorcode[errno.EXDEV]):
        await kernel.operations.rename(here, b"current", there, b"current", 0, kernel.ctx)


async def test_a_scratch_file_is_not_empty_for_who_looks_it_up(kernel: Kernel) -> None:
    """The kernel takes the size from there: sendfile(2) on a file just opened found nothing in it."""
    fh = await create(kernel, f"{DIRECTORY}/x")
    await kernel.operations.write(fh, 0, KEY)
    await kernel.operations.release(fh)
    attr = await kernel.lookup(f"{DIRECTORY}/x")
    assert (attr.st_size, attr.st_mode & 0o777) == (len(KEY), 0o600)


@pytest.mark.expects_log("access.denied")
async def test_who_may_only_read_a_file_cannot_have_it_taken_for_empty(kernel: Kernel) -> None:
    """O_RDONLY with O_TRUNC changes nothing here, but the kernel then believes the file to be empty."""
    inode = await kernel.inode("storage/alice/current.pub")
    with refused("EACCES"):
        await kernel.operations.open(inode, os.O_RDONLY | os.O_TRUNC, another_process(kernel, OTHER).ctx)
    async with kernel.opened(SYM, os.O_RDONLY | os.O_TRUNC) as fh:
        assert len(await kernel.operations.read(fh, 0, 99)) == 32


async def test_a_rename_that_should_leave_a_whiteout_does_nothing(kernel: Kernel) -> None:
    await kernel.operations.release(await create(kernel, f"{DIRECTORY}/x"))
    parent = await kernel.inode(DIRECTORY)
    for flags in (2, 4):  # RENAME_EXCHANGE, RENAME_WHITEOUT
        with refused("EINVAL"):
            await kernel.operations.rename(parent, b"x", parent, b"y", flags, kernel.ctx)
    assert "x" in await kernel.names(DIRECTORY)


async def test_another_user_cannot_touch_a_key_or_set_its_mode_to_what_it_is(kernel: Kernel) -> None:
    """It had no effect, but was answered as if it were allowed, and watchers were woken."""
    other = another_process(kernel, OTHER)
    inode = await other.inode(SYM)
    for change in ({"mtime_ns": 1}, {"mode": 0o600}, {"uid": OWNER_UID}):
        with refused("EPERM"):
            await other.setattr(inode, **change)


async def test_a_file_renamed_onto_a_key_while_open_is_truncated_through_its_handle(
    kernel: Kernel, keys: Keys
) -> None:
    """Else what is written after that would be mixed with the bytes before it."""
    fh = await create(kernel, f"{DIRECTORY}/x", os.O_RDWR | os.O_CREAT)
    await kernel.operations.write(fh, 0, b"a" * 32)
    parent, inode = await kernel.inode(DIRECTORY), await kernel.inode(f"{DIRECTORY}/x")
    await kernel.operations.rename(parent, b"x", parent, b"current", 0, kernel.ctx)
    await kernel.setattr(inode, fh, size=0)
    assert await kernel.operations.read(fh, 0, 99) == b""
    await kernel.operations.write(fh, 0, b"short")
    with refused("EINVAL"):
        await kernel.operations.flush(fh)
    await kernel.operations.release(fh)
    assert keys.secret(STORAGE_SYM) == b"a" * 32


async def test_a_client_is_not_removed_with_scratch_files_in_it(kernel: Kernel) -> None:
    """They were there again, out of nowhere, when the client was made again."""
    parent = await kernel.inode("storage-sym")
    await kernel.operations.mkdir(parent, b"bobby", 0o755, kernel.ctx)
    await kernel.operations.release(await create(kernel, "storage-sym/bobby/x"))
    with refused("ENOTEMPTY"):
        await kernel.operations.rmdir(parent, b"bobby", kernel.ctx)
    await unlink(kernel, "storage-sym/bobby/x")
    await kernel.operations.rmdir(parent, b"bobby", kernel.ctx)


async def test_the_attributes_of_an_open_version_that_was_destroyed(kernel: Kernel, keys: Keys) -> None:
    """fstat(2) long after the open: the file has no name any more, but is still there for who has it open."""
    keys.writer.rotate(STORAGE_SYM)
    old = keys.versions(STORAGE_SYM)[0]
    async with kernel.opened(f"{DIRECTORY}/{old}") as fh:
        inode = await kernel.inode(f"{DIRECTORY}/{old}")
        keys.writer.destroy(STORAGE_SYM, old)
        other = another_process(kernel)
        assert (await other.operations.getattr(inode, other.ctx)).st_size == 32
        with refused("ENOENT"):
            await other.lookup(f"{DIRECTORY}/{old}")
        assert len(await kernel.operations.read(fh, 0, 99)) == 32
    with refused("ENOENT"):
        await kernel.operations.getattr(inode, kernel.ctx)
