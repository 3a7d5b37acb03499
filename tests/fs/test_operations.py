"""The handlers in process, without a kernel: names, inodes, attributes, reads, writes, permissions."""

import os
import stat

import pyfuse3
import pytest
import trio
from kernel import OWNER_GID, OWNER_UID, Kernel, kernel_on, refused

from keyfs.core.tree import ROTATE_TEXT
from keyfs.fs.handles import SEEN_S
from keyfs.testing.builders import (
    NOON_NS,
    STORAGE,
    STORAGE_SYM,
    Keys,
)

pytest_plugins = ["fs_fixtures"]

SYM = "storage-sym/alice/current"


# --- names and inodes ---


async def test_the_tree_has_a_directory_for_each_purpose(kernel: Kernel) -> None:
    assert await kernel.names("/") == [
        *(".", "..", ".keyfs", "audit-log", "hmac-sym"),
        *("poison-record", "poison-record-sym", "storage", "storage-sym"),
    ]
    assert await kernel.names("poison-record") == [".", "..", "@global"]
    assert await kernel.names("storage/alice") == [".", "..", "current", "current.pub", "rotate"]
    controls = ["inventory.json", "inventory.tsv", "rotations", "status", "status.json"]
    assert await kernel.names(".keyfs") == [".", "..", *controls]
    assert await kernel.names("storage/alice/current") == [".", ".."], "a file has no children"


@pytest.mark.parametrize(
    "path",
    [
        *("nothing", "legacy-zone", "storage/bobby", "storage/@global", "storage/abc", "storage/alice/next"),
        *("storage-sym/alice/current.pub", "storage/alice/2026-01-01T00:00:00", "audit-log/alice"),
        *(".keyfs/nothing", "storage/alice/current.pub.pub", "storage/ali\udcff", "storage/alice/.pub"),
    ],
)
async def test_what_is_not_there_is_enoent(kernel: Kernel, path: str) -> None:
    with refused("ENOENT"):
        await kernel.lookup(path)


async def test_a_name_too_long_is_enametoolong(kernel: Kernel) -> None:
    with refused("ENAMETOOLONG"):
        await kernel.lookup("storage/" + "x" * 257)


async def test_inode_numbers_survive_a_restart_and_a_rotation(kernel: Kernel, keys: Keys) -> None:
    paths = ["storage", "storage/alice", SYM, "storage/alice/current.pub", ".keyfs", ".keyfs/status"]
    before = [await kernel.inode(path) for path in paths]
    keys.writer.rotate(STORAGE_SYM)
    keys.writer.rotate(STORAGE)
    assert [await kernel.inode(path) for path in paths] == before
    assert [await kernel_on(keys).inode(path) for path in paths] == before
    assert len(set(before)) == len(before)


async def test_each_lookup_is_one_reference(kernel: Kernel) -> None:
    inode = await kernel.inode(SYM)
    await kernel.inode(SYM)
    await kernel.operations.forget([(inode, 1)])
    await kernel.operations.getattr(inode, kernel.ctx)
    await kernel.operations.forget([(inode, 1)])
    with refused("ENOENT"):
        await kernel.operations.getattr(inode, kernel.ctx)


@pytest.mark.parametrize("references", [[], [(1, 5)], [(12345, 1)], [(1, 0), (2, 99)]])
async def test_forgetting_what_is_not_held_is_harmless(
    kernel: Kernel, references: list[tuple[int, int]]
) -> None:
    await kernel.operations.forget(references)
    assert (await kernel.lookup("/")).st_ino == pyfuse3.ROOT_INODE


# --- attributes ---


@pytest.mark.parametrize(
    ("path", "mode", "size", "links"),
    [
        ("/", 0o040555, 0, 1),
        ("storage", 0o040755, 0, 1),
        ("audit-log", 0o040555, 0, 1),
        ("storage/alice", 0o040755, 0, 1),
        ("storage/alice/current", 0o100600, 45, 2),
        ("storage/alice/current.pub", 0o100444, 45, 2),
        (SYM, 0o100600, 32, 2),
        ("storage/alice/rotate", 0o100600, len(ROTATE_TEXT), 1),
        (".keyfs", 0o040555, 0, 1),
    ],
)
async def test_ls_tells_the_truth(kernel: Kernel, path: str, mode: int, size: int, links: int) -> None:
    attr = await kernel.lookup(path)
    assert f"{attr.st_mode:o}" == f"{mode:o}"
    assert (attr.st_size, attr.st_nlink) == (size, links)
    assert (attr.st_uid, attr.st_gid) == (OWNER_UID, OWNER_GID)
    assert attr.st_blocks == (size + 511) // 512


async def test_nothing_is_writable_on_a_read_only_mount(keys: Keys) -> None:
    kernel = kernel_on(keys, is_writable=False)
    for path in ("/", "storage", "storage/alice", SYM, "storage/alice/current.pub"):
        assert not (await kernel.lookup(path)).st_mode & 0o222
    with refused("ENOENT"):
        await kernel.lookup("storage/alice/rotate")
    assert "rotate" not in await kernel.names("storage/alice")


async def test_a_retired_version_is_read_only_and_has_one_link(kernel: Kernel, keys: Keys) -> None:
    keys.writer.rotate(STORAGE_SYM)
    attr = await kernel.lookup(f"storage-sym/alice/{keys.versions(STORAGE_SYM)[0]}")
    assert (stat.S_IMODE(attr.st_mode), attr.st_nlink) == (0o400, 1)


async def test_the_time_of_a_version_is_when_it_became_current(kernel: Kernel, keys: Keys) -> None:
    times = [(await kernel.lookup(SYM)).st_mtime_ns]
    for _ in range(3):
        keys.writer.rotate(STORAGE_SYM)
        times.append((await kernel.lookup(SYM)).st_mtime_ns)
    assert times == sorted(set(times))
    assert times[0] > NOON_NS
    attr = await kernel.lookup(SYM)
    assert attr.st_mtime_ns == attr.st_ctime_ns == attr.st_atime_ns
    first = await kernel.lookup(f"storage-sym/alice/{keys.versions(STORAGE_SYM)[0]}")
    assert first.st_mtime_ns == times[0]


async def test_only_directories_are_kept_by_the_kernel_in_the_strict_mode(kernel: Kernel) -> None:
    for path in ("/", "storage", "storage/alice", ".keyfs"):
        attr = await kernel.lookup(path)
        assert attr.entry_timeout == attr.attr_timeout > 0
    for path in (SYM, "storage/alice/rotate", ".keyfs/status"):
        attr = await kernel.lookup(path)
        assert attr.entry_timeout == attr.attr_timeout == 0


async def test_statfs_counts_the_keys(kernel: Kernel, keys: Keys) -> None:
    data = await kernel.operations.statfs(kernel.ctx)
    assert data.f_files == len(keys.keys.index)
    assert data.f_namemax == 256


# --- reading ---


async def test_a_read_shows_the_key(kernel: Kernel, keys: Keys) -> None:
    assert await kernel.read(SYM) == keys.secret(STORAGE_SYM)
    assert await kernel.read("storage/alice/current") == keys.secret(STORAGE)
    assert await kernel.read("storage/alice/current.pub") == keys.public(STORAGE)
    assert await kernel.read("storage/alice/rotate") == ROTATE_TEXT
    assert b"layout: v1" in await kernel.read(".keyfs/status")


async def test_parts_of_a_file_are_read(kernel: Kernel, keys: Keys) -> None:
    secret = keys.secret(STORAGE)
    async with kernel.opened("storage/alice/current") as fh:
        assert await kernel.operations.read(fh, 0, 4) == secret[:4]
        assert await kernel.operations.read(fh, 40, 100) == secret[40:]
        assert await kernel.operations.read(fh, 45, 100) == b""
        assert await kernel.operations.read(fh, 1 << 40, 100) == b""


async def test_an_open_file_never_changes(kernel: Kernel, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    async with kernel.opened(SYM) as fh:
        keys.writer.rotate(STORAGE_SYM)
        assert await kernel.operations.read(fh, 0, 100) == before
        assert await kernel.read(SYM) != before


async def test_fstat_agrees_with_what_the_process_has_open(kernel: Kernel, keys: Keys) -> None:
    inode = await kernel.inode(SYM)
    before = (await kernel.operations.getattr(inode, kernel.ctx)).st_mtime_ns
    async with kernel.opened(SYM):
        keys.writer.rotate(STORAGE_SYM)
        assert (await kernel.operations.getattr(inode, kernel.ctx)).st_mtime_ns == before
        other = kernel.called_by(pid=1)
        assert (await other.operations.getattr(inode, other.ctx)).st_mtime_ns > before
    assert (await kernel.operations.getattr(inode, kernel.ctx)).st_mtime_ns > before


async def test_a_poller_that_keeps_the_file_open_sees_the_rotation(
    kernel: Kernel, keys: Keys, mock_clock: trio.testing.MockClock
) -> None:
    """Rule R2: the opener's own view lasts as long as an fstat after an open may take, not longer."""
    inode = await kernel.inode(SYM)
    before = (await kernel.operations.getattr(inode, kernel.ctx)).st_mtime_ns
    async with kernel.opened(SYM):
        keys.writer.rotate(STORAGE_SYM)
        mock_clock.jump(SEEN_S)
        assert (await kernel.operations.getattr(inode, kernel.ctx)).st_mtime_ns > before


async def test_one_of_two_opens_of_a_process_may_be_closed_first(kernel: Kernel, keys: Keys) -> None:
    async with kernel.opened(SYM) as first:
        second = await kernel.operations.open(await kernel.inode(SYM), os.O_RDONLY, kernel.ctx)
        await kernel.operations.release(second.fh)
        assert await kernel.operations.read(first, 0, 100) == keys.secret(STORAGE_SYM)


async def test_a_closed_handle_is_gone(kernel: Kernel) -> None:
    async with kernel.opened(SYM) as fh:
        pass
    with refused("ESTALE"):
        await kernel.operations.read(fh, 0, 1)
    await kernel.operations.release(fh)
    with refused("ESTALE"):
        await kernel.readdir(fh)


async def test_files_are_opened_for_direct_io(kernel: Kernel) -> None:
    """No plaintext stays in the page cache."""
    info = await kernel.operations.open(await kernel.inode(SYM), os.O_RDONLY, kernel.ctx)
    assert info.direct_io
    assert not info.keep_cache
