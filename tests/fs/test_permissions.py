"""The handlers in process: who is let in, and what no one may do to a key store mounted as files."""

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyfuse3
import pytest
from kernel import OTHER, OWNER_GID, OWNER_UID, Kernel, refused

from keyfs.core.policy import READ, SEARCH, WRITE
from keyfs.testing.builders import STORAGE_SYM, Keys
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

SYM = "storage-sym/alice/current"
GONE_PID = 1 << 22  # above the highest number that a process can have


@contextmanager
def this_process_called(name: bytes) -> Iterator[None]:
    comm = Path(f"/proc/{os.getpid()}/comm")
    before = comm.read_bytes()
    comm.write_bytes(name)
    yield
    comm.write_bytes(before.rstrip(b"\n"))


@pytest.mark.expects_log("access.denied")
@pytest.mark.parametrize(
    ("path", "flags", "facts"),
    [
        (SYM, os.O_RDONLY, {"uid": OTHER, "gid": OTHER}),
        (SYM, os.O_RDONLY, {"uid": OTHER, "gid": OWNER_GID}),
        (SYM, os.O_WRONLY, {"uid": OTHER, "gid": OTHER}),
        ("storage/alice/rotate", os.O_WRONLY, {"uid": OTHER, "gid": OTHER}),
        ("storage/alice/current.pub", os.O_WRONLY, {"uid": OWNER_UID}),
        ("storage/alice/current.pub", os.O_WRONLY, {"uid": 0, "gid": 0}),
        (".keyfs/status", os.O_WRONLY, {"uid": OWNER_UID}),
    ],
)
async def test_a_denial_is_an_errno_and_a_line_in_the_log(
    kernel: Kernel, path: str, flags: int, facts: dict[str, int]
) -> None:
    inode = await kernel.inode(path)
    other = kernel.called_by(**facts)
    with refused("EACCES"):
        await other.operations.open(inode, flags, other.ctx)


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        (SYM, {"uid": 0, "gid": 0}),
        ("storage/alice/current.pub", {"uid": OTHER, "gid": OTHER}),
        (".keyfs/inventory.json", {"uid": OTHER, "gid": OTHER}),
    ],
)
async def test_others_read_what_the_bits_allow(kernel: Kernel, path: str, facts: dict[str, int]) -> None:
    assert await kernel.called_by(**facts).read(path)


@pytest.mark.expects_log("access.denied")
@pytest.mark.parametrize("pid", [0, GONE_PID])
async def test_a_process_that_cannot_be_looked_at_is_denied_not_an_error(kernel: Kernel, pid: int) -> None:
    """It ended meanwhile, or lives in another pid namespace: its groups are not known."""
    inode = await kernel.inode(SYM)
    other = kernel.called_by(uid=OTHER, gid=OTHER, pid=pid)
    assert not await other.operations.access(inode, READ, other.ctx)
    with refused("EACCES"):
        await other.operations.open(inode, os.O_RDONLY, other.ctx)


async def test_a_process_may_have_a_name_that_is_not_utf8(kernel: Kernel) -> None:
    inode = await kernel.inode("storage/alice/current.pub")
    other = kernel.called_by(uid=OTHER, gid=OTHER)
    with this_process_called(b"caf\xe9"):
        assert await other.operations.access(inode, READ, other.ctx)


@pytest.mark.parametrize(
    ("path", "facts", "mode", "granted"),
    [
        (SYM, {}, READ, True),
        (SYM, {}, READ | WRITE, True),
        (SYM, {}, SEARCH, False),
        (SYM, {"uid": OTHER, "gid": OTHER}, READ, False),
        ("storage/alice", {"uid": OTHER, "gid": OTHER}, READ | SEARCH, True),
        ("storage/alice", {"uid": OTHER, "gid": OTHER}, WRITE, False),
        ("storage/alice/current.pub", {"uid": OTHER, "gid": OTHER}, READ, True),
        (SYM, {}, 0, True),
    ],
)
async def test_access_says_what_open_would(
    kernel: Kernel, path: str, facts: dict[str, int], mode: int, granted: bool
) -> None:
    inode = await kernel.inode(path)
    other = kernel.called_by(**facts)
    assert await other.operations.access(inode, mode, other.ctx) is granted


async def test_access_to_what_was_removed_outside_is_enoent(kernel: Kernel, medium: Medium) -> None:
    inode = await kernel.inode(SYM)
    medium.set("alice_storage_sym", None)
    with refused("ENOENT"):
        await kernel.operations.access(inode, READ, kernel.ctx)


async def test_a_key_removed_outside_is_enoent_for_those_who_knew_it(kernel: Kernel, medium: Medium) -> None:
    inode = await kernel.inode(SYM)
    medium.set("alice_storage_sym", None)
    with refused("ENOENT"):
        await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    with refused("ENOENT"):
        await kernel.operations.getattr(inode, kernel.ctx)


# --- refusals ---

Request = Callable[[pyfuse3.Operations, Any], Coroutine[Any, Any, object]]
REFUSALS: Final[dict[str, tuple[str, Request]]] = {
    "unlink": ("ENOENT", lambda o, ctx: o.unlink(1, b"x", ctx)),
    "rmdir": ("ENOENT", lambda o, ctx: o.rmdir(1, b"x", ctx)),
    "mkdir": ("EPERM", lambda o, ctx: o.mkdir(1, b"x", 0o755, ctx)),
    "mknod": ("EPERM", lambda o, ctx: o.mknod(1, b"x", 0o600, 0, ctx)),
    "symlink": ("EPERM", lambda o, ctx: o.symlink(1, b"x", b"y", ctx)),
    "link": ("EPERM", lambda o, ctx: o.link(1, 1, b"x", ctx)),
    "rename": ("ENOENT", lambda o, ctx: o.rename(1, b"x", 1, b"y", 0, ctx)),
    "exchange": ("EINVAL", lambda o, ctx: o.rename(1, b"x", 1, b"y", 2, ctx)),
    "setxattr": ("EOPNOTSUPP", lambda o, ctx: o.setxattr(1, b"user.x", b"y", ctx)),
    "removexattr": ("ENODATA", lambda o, ctx: o.removexattr(1, b"user.x", ctx)),
    "getxattr of a user": ("ENODATA", lambda o, ctx: o.getxattr(1, b"user.x", ctx)),
    "getxattr of the system": ("EOPNOTSUPP", lambda o, ctx: o.getxattr(1, b"security.selinux", ctx)),
}


@pytest.mark.parametrize("request_name", REFUSALS)
async def test_a_refusal_is_one_honest_errno(kernel: Kernel, keys: Keys, request_name: str) -> None:
    answer, request = REFUSALS[request_name]
    before = keys.versions(STORAGE_SYM)
    with refused(answer):
        await request(kernel.operations, kernel.ctx)
    assert keys.versions(STORAGE_SYM) == before


async def test_the_root_has_one_extended_attribute(kernel: Kernel) -> None:
    assert list(await kernel.operations.listxattr(1, kernel.ctx)) == [b"user.keyfs.state"]


@pytest.mark.parametrize("path", ["", ".keyfs", "storage", "storage/alice"])
async def test_everybody_may_read_and_search_every_directory(kernel: Kernel, path: str) -> None:
    """`opendir` relies on it: it asks for no permission."""
    stranger = kernel.called_by(uid=OTHER, gid=OTHER)
    assert (await stranger.lookup(path)).st_mode & 0o555 == 0o555
    assert await stranger.names(path)
