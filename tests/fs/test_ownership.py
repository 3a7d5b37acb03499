"""The handlers in process: each key's files belong to whom the rules say, and only the bits let anyone in."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing

import pytest
from kernel import OTHER, OWNER_GID, OWNER_UID, Kernel, kernel_on, refused

from keyfs.core.policy import READ, SEARCH, WRITE, Policy, Rule
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys, full_medium, in_memory

SERVER, SERVER_GROUP = 4301, 4302
RULES = Policy(
    [
        Rule("storage", uid=SERVER, gid=SERVER_GROUP, mode=0o640),
        Rule("storage-sym", mode=0o400),
        Rule("hmac-sym", gid=SERVER_GROUP, mode=0o440),
    ]
)


@pytest.fixture
def keys() -> Iterator[Keys]:
    keys = in_memory(full_medium())
    with closing(keys.keys):
        keys.keys.watch()
        yield keys


@pytest.fixture
def kernel(keys: Keys) -> Kernel:
    return kernel_on(keys, policy=RULES)


async def look(kernel: Kernel, path: str) -> tuple[str, int, int]:
    attr = await kernel.lookup(path)
    return stat.filemode(attr.st_mode), attr.st_uid, attr.st_gid


@pytest.mark.parametrize(
    ("path", "writable", "read_only"),
    [
        ("storage/alice/current", "-rw-r-----", "-r--r-----"),
        ("storage/alice/current.pub", "-r--r--r--", "-r--r--r--"),
        ("storage/alice/rotate", "-rw-r-----", None),
        ("storage/alice", "drwxr-xr-x", "dr-xr-xr-x"),
        ("storage-sym/alice/current", "-r--------", "-r--------"),
        ("storage-sym/alice", "dr-xr-xr-x", "dr-xr-xr-x"),
        ("hmac-sym/alice/current", "-r--r-----", "-r--r-----"),
        ("hmac-sym/alice", "dr-xr-xr-x", "dr-xr-xr-x"),
        ("audit-log/@global/current", "-rw-------", "-r--------"),
        ("storage", "drwxr-xr-x", "dr-xr-xr-x"),
        (".keyfs/status", "-r--r--r--", "-r--r--r--"),
    ],
)
async def test_what_a_file_looks_like(keys: Keys, path: str, writable: str, read_only: str | None) -> None:
    owner = {"storage": (SERVER, SERVER_GROUP), "hmac-sym": (OWNER_UID, SERVER_GROUP)}
    expected = (
        owner.get(path.partition("/")[0], (OWNER_UID, OWNER_GID)) if "/" in path else (OWNER_UID, OWNER_GID)
    )
    assert await look(kernel_on(keys, policy=RULES), path) == (writable, *expected)
    other = kernel_on(keys, policy=RULES, is_writable=False)
    if read_only is None:
        with refused("ENOENT"):
            await other.lookup(path)
    else:
        assert await look(other, path) == (read_only, *expected)


async def test_rotations_change_nothing_of_that(kernel: Kernel, keys: Keys) -> None:
    before = await look(kernel, "storage/alice/current")
    keys.writer.rotate(STORAGE)
    await kernel.called_by(uid=SERVER).write("storage/alice/rotate", b"1")
    assert await look(kernel, "storage/alice/current") == before
    for stamp in keys.versions(STORAGE)[:-1]:
        assert await look(kernel, f"storage/alice/{stamp}") == ("-r--r-----", SERVER, SERVER_GROUP)


@pytest.mark.parametrize(
    "facts", [{"uid": SERVER, "gid": OTHER}, {"uid": 0, "gid": 0}], ids=["owner", "root"]
)
async def test_the_owner_of_a_key_and_root_read_and_write_it(kernel: Kernel, facts: dict[str, int]) -> None:
    caller = kernel.called_by(**facts)
    inode = await caller.inode("storage/alice/current")
    assert await caller.operations.access(inode, READ | WRITE, caller.ctx)
    for flags in (os.O_RDONLY, os.O_WRONLY):
        await caller.operations.release((await caller.operations.open(inode, flags, caller.ctx)).fh)


@pytest.mark.expects_log("access.denied")
@pytest.mark.parametrize(
    ("facts", "is_reader"),
    [
        ({"uid": OTHER, "gid": SERVER_GROUP}, True),
        ({"uid": OTHER, "gid": OTHER}, False),
        ({"uid": OWNER_UID, "gid": OWNER_GID}, False),
    ],
    ids=["group", "other", "owner of the mount"],
)
async def test_others_only_read_and_only_if_the_group_may(
    kernel: Kernel, facts: dict[str, int], is_reader: bool
) -> None:
    """The owner of the mount is nobody special where a rule names another owner."""
    caller = kernel.called_by(**facts)
    inode = await caller.inode("storage/alice/current")
    assert await caller.operations.access(inode, READ, caller.ctx) is is_reader
    assert not await caller.operations.access(inode, WRITE, caller.ctx)
    with refused("EACCES"):
        await caller.operations.open(inode, os.O_WRONLY, caller.ctx)
    if is_reader:
        await caller.operations.release((await caller.operations.open(inode, os.O_RDONLY, caller.ctx)).fh)
    else:
        with refused("EACCES"):
            await caller.operations.open(inode, os.O_RDONLY, caller.ctx)


@pytest.mark.expects_log("access.denied")
@pytest.mark.parametrize("uid", [0, OWNER_UID])
async def test_a_key_without_a_write_bit_is_written_by_nobody(kernel: Kernel, keys: Keys, uid: int) -> None:
    caller = kernel.called_by(uid=uid)
    before = keys.values(STORAGE_SYM)
    assert await caller.names("storage-sym/alice") == [".", "..", "current"]
    inode, parent = await caller.inode("storage-sym/alice/current"), await caller.inode("storage-sym/alice")
    with refused("EACCES"):
        await caller.operations.open(inode, os.O_WRONLY, caller.ctx)
    for request in (
        caller.operations.create(parent, b"new", 0o600, os.O_RDWR, caller.ctx),
        caller.operations.unlink(parent, b"current", caller.ctx),
        caller.operations.rename(parent, b"current", parent, b"old", 0, caller.ctx),
    ):
        with refused("EACCES"):
            await request
    assert keys.values(STORAGE_SYM) == before


async def test_the_owner_of_a_key_replaces_it_as_other_files(kernel: Kernel, keys: Keys) -> None:
    """As `install` does: another file in its place. Mode and owner are what the rule says after that."""
    server = kernel.called_by(uid=SERVER, gid=SERVER_GROUP)
    parent = await server.inode("storage/alice")
    await server.operations.unlink(parent, b"current", server.ctx)
    material = in_memory(full_medium()).secret(STORAGE)
    info, attr = await server.operations.create(
        parent, b"current", 0o600, os.O_WRONLY | os.O_EXCL, server.ctx
    )
    assert (attr.st_uid, attr.st_gid) == (SERVER, SERVER_GROUP)
    await server.operations.write(info.fh, 0, material)
    await server.operations.flush(info.fh)
    await server.operations.release(info.fh)
    assert keys.secret(STORAGE) == material
    assert await look(kernel, "storage/alice/current") == ("-rw-r-----", SERVER, SERVER_GROUP)


async def test_a_scratch_file_belongs_to_who_made_it(kernel: Kernel) -> None:
    server = kernel.called_by(uid=SERVER, gid=OTHER)
    parent = await server.inode("storage/alice")
    _, attr = await server.operations.create(parent, b"new", 0o640, os.O_WRONLY, server.ctx)
    assert (attr.st_uid, attr.st_gid) == (SERVER, OTHER)


async def test_chown_and_chmod_to_what_is_succeed_and_to_anything_else_do_not(kernel: Kernel) -> None:
    root = kernel.called_by(uid=0, gid=0)
    inode = await root.inode("storage/alice/current")
    await root.setattr(inode, uid=SERVER, gid=SERVER_GROUP, mode=0o640)
    for values in ({"uid": OWNER_UID}, {"gid": OWNER_GID}, {"mode": 0o600}):
        with refused("EPERM"):
            await root.setattr(inode, **values)


async def test_directories_are_listed_and_searched_by_everybody_and_written_by_no_group(
    kernel: Kernel,
) -> None:
    other = kernel.called_by(uid=OTHER, gid=SERVER_GROUP)
    for path in ("", "storage", "storage/alice", "hmac-sym/alice"):
        inode = await kernel.inode(path)
        assert await other.operations.access(inode, READ | SEARCH, other.ctx)
        assert not await other.operations.access(inode, WRITE, other.ctx)
