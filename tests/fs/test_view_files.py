"""The handlers in process: views beside a key are listed where they are valid, and show what it shows."""

import os
import stat

import pytest
from kernel import OTHER, OWNER_GID, OWNER_UID, Kernel, kernel_on, refused

from keyfs.core.names import Half
from keyfs.core.policy import Policy, Rule
from keyfs.core.views import NO_VIEWS, View, valid_views, view_label
from keyfs.testing.builders import EVERY_REF, STORAGE, STORAGE_SYM, Keys
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

ALL = frozenset(View)
PAIR_VIEWS = {"b64", "hex", "pem", "fp", "pub.b64", "pub.hex", "pub.pem"}
PUBLIC = {"fp", "pub.b64", "pub.hex", "pub.pem"}


@pytest.fixture
def kernel(keys: Keys) -> Kernel:
    return kernel_on(keys, policy=Policy(views=ALL))


async def test_views_are_listed_where_they_are_valid(kernel: Kernel, keys: Keys) -> None:
    keys.writer.rotate(STORAGE)
    [stamp, current] = keys.versions(STORAGE)
    found = {".", "..", "rotate", *(f"{v}{half}" for v in (stamp, current) for half in ("", ".pub"))}
    found |= {f"{version}.{form}" for version in (stamp, current) for form in PAIR_VIEWS}
    assert set(await kernel.names("storage/alice")) == found
    assert await kernel.names("hmac-sym/alice") == [
        ".",
        "..",
        "current",
        "current.b64",
        "current.hex",
        "rotate",
    ]


async def test_what_is_listed_can_be_opened_and_has_the_size_that_stat_says(kernel: Kernel) -> None:
    for ref in EVERY_REF:
        names = await kernel.names(str(ref))
        assert names == sorted(set(names))
        for name in names[2:]:
            attr = await kernel.lookup(f"{ref}/{name}")
            assert len(await kernel.read(f"{ref}/{name}")) == attr.st_size


async def test_a_view_has_the_bits_of_what_it_shows(kernel: Kernel) -> None:
    for form in PAIR_VIEWS:
        attr = await kernel.lookup(f"storage/alice/current.{form}")
        assert stat.filemode(attr.st_mode) == ("-r--r--r--" if form in PUBLIC else "-r--------")
        assert attr.st_mtime_ns == (await kernel.lookup("storage/alice/current")).st_mtime_ns
        assert (attr.st_uid, attr.st_gid, attr.st_nlink) == (OWNER_UID, OWNER_GID, 1)


async def test_only_the_views_that_are_asked_for_are_there(keys: Keys) -> None:
    kernel = kernel_on(keys, policy=Policy([Rule("storage-sym", views=frozenset({View.HEX}))]))
    assert await kernel.names("storage/alice") == [".", "..", "current", "current.pub", "rotate"]
    assert await kernel.names("storage-sym/alice") == [".", "..", "current", "current.hex", "rotate"]
    for name in (
        "storage/alice/current.hex",
        "storage-sym/alice/current.b64",
        "storage-sym/alice/current.pem",
    ):
        with refused("ENOENT"):
            await kernel.lookup(name)


async def test_what_is_no_version_has_no_views(kernel: Kernel) -> None:
    for name in ("2020-01-01T00:00:00.hex", "rotate.hex", "current.hex.hex", "current.pub.fp", "1.b64"):
        with refused("ENOENT"):
            await kernel.lookup(f"storage/alice/{name}")


async def test_a_version_without_a_public_half_has_none_of_its_views(keys: Keys, medium: Medium) -> None:
    medium.set("alice_storage.pub", None)
    keys.keys.refresh()
    kernel = kernel_on(keys, policy=Policy(views=ALL))
    listed = await kernel.names("storage/alice")
    assert listed == [".", "..", "current", "current.b64", "current.hex", "current.pem", "rotate"]
    with refused("ENOENT"):
        await kernel.lookup("storage/alice/current.fp")


async def test_an_open_view_goes_on_showing_its_version(kernel: Kernel, keys: Keys) -> None:
    async with kernel.opened("storage-sym/alice/current.hex") as fh:
        old = keys.secret(STORAGE_SYM)
        keys.writer.rotate(STORAGE_SYM)
        assert await kernel.operations.read(fh, 0, 100) == old.hex().encode() + b"\n"
        assert await kernel.operations.read(fh, 2, 4) == old.hex().encode()[2:6]
    assert (
        await kernel.read("storage-sym/alice/current.hex") == keys.secret(STORAGE_SYM).hex().encode() + b"\n"
    )
    [stamp, _] = keys.versions(STORAGE_SYM)
    assert await kernel.read(f"storage-sym/alice/{stamp}.hex") == old.hex().encode() + b"\n"


@pytest.mark.expects_log("access.denied")
@pytest.mark.parametrize("uid", [OWNER_UID, 0, OTHER])
@pytest.mark.parametrize("form", ["hex", "pem", "fp", "pub.pem"])
async def test_nobody_writes_to_a_view(kernel: Kernel, keys: Keys, uid: int, form: str) -> None:
    inode = await kernel.inode(f"storage/alice/current.{form}")
    caller = kernel.called_by(uid=uid)
    before = keys.values(STORAGE)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with refused("EACCES"):
            await caller.operations.open(inode, flags, caller.ctx)
    with refused("EACCES"):
        await caller.setattr(inode, size=0)
    assert keys.values(STORAGE) == before


async def test_a_view_keeps_its_name_and_stays(kernel: Kernel, keys: Keys) -> None:
    keys.writer.rotate(STORAGE)
    [stamp, _] = keys.versions(STORAGE)
    parent = await kernel.inode("storage/alice")
    for name in (b"current.hex", f"{stamp}.pem".encode()):
        with refused("EPERM"):
            await kernel.operations.unlink(parent, name, kernel.ctx)
        with refused("EPERM"):
            await kernel.operations.rename(parent, name, parent, b"current", 0, kernel.ctx)
    assert keys.versions(STORAGE) == [stamp, "current"]


@pytest.mark.expects_log("access.denied")
async def test_others_read_only_the_views_of_what_is_public(kernel: Kernel) -> None:
    other = kernel.called_by(uid=OTHER, gid=OTHER)
    for form in sorted(PAIR_VIEWS - PUBLIC):
        with refused("EACCES"):
            await other.read(f"storage/alice/current.{form}")
    for form in sorted(PUBLIC):
        assert await other.read(f"storage/alice/current.{form}")


@pytest.mark.expects_log("request.failed")
async def test_a_key_that_does_not_open_has_views_that_do_not(kernel: Kernel, medium: Medium) -> None:
    medium.put("alice_storage_sym", bytes(76))
    for form in ("hex", "b64"):
        with refused("EBADMSG"):
            await kernel.read(f"storage-sym/alice/current.{form}")


async def test_policy_is_looked_at_each_time(keys: Keys) -> None:
    """So that a reload needs no remount."""
    kernel = kernel_on(keys)
    tree = kernel.operations._scene.broker.tree
    assert "current.hex" not in await kernel.names("storage/alice")
    inode = await kernel.inode("storage/alice/current")
    tree.policy = Policy([Rule(uid=7, mode=0o640)], ALL)
    assert "current.hex" in await kernel.names("storage/alice")
    attr = await kernel.operations.getattr(inode, kernel.ctx)
    assert (attr.st_uid, attr.st_gid, stat.S_IMODE(attr.st_mode)) == (7, OWNER_GID, 0o640)
    tree.policy = Policy(views=NO_VIEWS)
    with refused("ENOENT"):
        await kernel.lookup("storage/alice/current.hex")


def test_every_view_of_a_half_is_named_in_these_tests() -> None:
    names = {view_label("current", half, v) for half in Half for v in valid_views(STORAGE.purpose, half)}
    assert names == {f"current.{form}" for form in PAIR_VIEWS}
