"""The handlers in process: extended attributes say what `stat` cannot; a seal is opened only when asked."""

import hashlib
import os

import pytest
from kernel import OTHER, Kernel, kernel_on, refused

from keyfs.core.policy import Policy
from keyfs.core.stamps import rfc3339
from keyfs.core.views import View
from keyfs.errors import StoreUnavailable
from keyfs.testing.builders import NOON_NS, STORAGE, Keys
from keyfs.testing.faults import failing
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

PAIR_ATTRIBUTES = {"state", "version", "key_state", "created", "fingerprint"}


@pytest.fixture
def kernel(keys: Keys) -> Kernel:
    return kernel_on(keys, policy=Policy(views=frozenset(View)))


async def listed(kernel: Kernel, path: str) -> set[str]:
    names = await kernel.operations.listxattr(await kernel.inode(path), kernel.ctx)
    assert all(name.startswith(b"user.keyfs.") for name in names)
    return {name.decode().removeprefix("user.keyfs.") for name in names}


async def value(kernel: Kernel, path: str, name: str) -> str:
    found = await kernel.operations.getxattr(
        await kernel.inode(path), f"user.keyfs.{name}".encode(), kernel.ctx
    )
    return found.decode()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", {"state"}),
        ("storage", {"state"}),
        ("storage/alice", {"state"}),
        ("storage/alice/rotate", {"state"}),
        (".keyfs/status", {"state"}),
        ("storage/alice/current", PAIR_ATTRIBUTES),
        ("storage/alice/current.pub", PAIR_ATTRIBUTES),
        ("storage/alice/current.pem", PAIR_ATTRIBUTES),
        ("storage/alice/current.fp", PAIR_ATTRIBUTES),
        ("storage-sym/alice/current", {"state", "version", "key_state", "created"}),
        ("storage-sym/alice/current.hex", {"state", "version", "key_state", "created"}),
    ],
)
async def test_what_is_listed_has_a_value(kernel: Kernel, path: str, names: set[str]) -> None:
    assert await listed(kernel, path) == names
    for name in sorted(names):
        assert await value(kernel, path, name)
    for name in sorted(
        {"state", "version", "key_state", "destroy_at", "created", "fingerprint", "last_error"} - names
    ):
        with refused("ENODATA"):
            await value(kernel, path, name)


async def test_what_they_say(kernel: Kernel, keys: Keys) -> None:
    keys.writer.rotate(STORAGE)
    [stamp, _] = keys.versions(STORAGE)
    for version, path in ((stamp, f"storage/alice/{stamp}"), ("current", "storage/alice/current")):
        assert await value(kernel, path, "version") == version
        assert await value(kernel, path, "state") == "fresh"
        created = keys.keys.ring(STORAGE).version(version).created_ns
        assert await value(kernel, path, "created") == rfc3339(created or 0)
        shown = (await kernel.read(f"{path}.fp")).decode()
        for file in (path, f"{path}.pub", f"{path}.hex"):
            assert await value(kernel, file, "fingerprint") + "\n" == shown


async def test_a_fingerprint_is_there_whether_its_view_is_or_not(keys: Keys) -> None:
    kernel = kernel_on(keys)
    other = kernel.called_by(uid=OTHER, gid=OTHER)
    found = await value(other, "storage/alice/current", "fingerprint")
    assert (
        bytes.fromhex(found) != hashlib.sha256(keys.public(STORAGE)).digest()
    )  # of the key, not of its container
    assert len(found) == 64


@pytest.mark.expects_log("request.failed")
async def test_only_the_fingerprint_opens_a_seal(kernel: Kernel, medium: Medium) -> None:
    for name in ("alice_storage", "alice_storage.pub"):
        medium.put(name, bytes(89), mtime_ns=NOON_NS)
    assert await listed(kernel, "storage/alice/current") == PAIR_ATTRIBUTES
    for name in ("version", "state", "created"):
        assert await value(kernel, "storage/alice/current", name)
    with refused("EIO"):
        await value(kernel, "storage/alice/current", "fingerprint")


async def test_a_version_that_went_has_no_attributes_of_its_own(kernel: Kernel, medium: Medium) -> None:
    inode = await kernel.inode("storage-sym/alice/current")
    medium.set("alice_storage_sym", None)
    assert list(await kernel.operations.listxattr(inode, kernel.ctx)) == [b"user.keyfs.state"]
    with refused("ENODATA"):
        await kernel.operations.getxattr(inode, b"user.keyfs.version", kernel.ctx)


async def test_what_failed_last_is_said_until_something_succeeds(kernel: Kernel) -> None:
    inode = await kernel.inode("storage-sym/alice/current")
    info = await kernel.operations.open(inode, os.O_WRONLY | os.O_TRUNC, kernel.ctx)
    await kernel.operations.write(info.fh, 0, b"short")
    with refused("EINVAL"):
        await kernel.operations.flush(info.fh)
    await kernel.operations.release(info.fh)
    for path in ("storage-sym/alice", "storage-sym/alice/current", "storage-sym/alice/current.hex"):
        assert "32 bytes" in await value(kernel, path, "last_error")
        assert "short" not in await value(kernel, path, "last_error")
    await kernel.write("storage-sym/alice/current", b"n" * 32)
    assert "last_error" not in await listed(kernel, "storage-sym/alice/current")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (b"user.keyfs.nothing", "ENODATA"),
        (b"user.other", "ENODATA"),
        (b"user.", "ENODATA"),
        (b"security.selinux", "ENOTSUP"),
        (b"security.capability", "ENOTSUP"),
        (b"system.posix_acl_access", "ENOTSUP"),
        (b"trusted.keyfs.state", "ENOTSUP"),
    ],
)
async def test_what_there_is_not_is_answered_from_memory(
    kernel: Kernel, keys: Keys, name: bytes, answer: str
) -> None:
    inode = await kernel.inode("storage/alice/current")
    for method in ("get", "get_many", "stat", "stat_many", "list_pages", "now_ns"):
        keys.store.before(method, failing(StoreUnavailable("the store is away")), None)
    with refused(answer):
        await kernel.operations.getxattr(inode, name, kernel.ctx)


@pytest.mark.parametrize(
    ("name", "set_answer", "remove_answer"),
    [
        (b"user.keyfs.state", "EPERM", "EPERM"),
        (b"user.keyfs.mine", "EPERM", "EPERM"),
        (b"user.other", "ENOTSUP", "ENODATA"),
        (b"system.posix_acl_access", "ENOTSUP", "ENODATA"),
    ],
)
async def test_nobody_sets_any(kernel: Kernel, name: bytes, set_answer: str, remove_answer: str) -> None:
    inode = await kernel.inode("storage/alice/current")
    with refused(set_answer):
        await kernel.operations.setxattr(inode, name, b"x", kernel.ctx)
    with refused(remove_answer):
        await kernel.operations.removexattr(inode, name, kernel.ctx)
