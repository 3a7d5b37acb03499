"""What the kernel has already is opened without a seal; who looks all the same gets what he opened."""

import os

import pytest
import trio
from kernel import OTHER, OWNER_GID, OWNER_UID, Kernel, refused

from keyfs.core.names import CURRENT, parse_key_ref
from keyfs.core.policy import Ownership
from keyfs.errors import UnsealFailed
from keyfs.fs.operations import KeyfsOperations
from keyfs.testing.builders import Keys, broker_on, in_memory
from keyfs.testing.medium import Medium

REF = parse_key_ref("storage-sym/alice1")
PATH = f"{REF}/{CURRENT}"


@pytest.fixture
def keys() -> Keys:
    made = in_memory(Medium())
    made.writer.generate(REF)
    return made


async def warmed(keys: Keys) -> tuple[Kernel, int]:
    """A mount whose kernel has read the key twice, as it is not read by chance, and the key's inode."""
    broker = broker_on(keys.keys, keys.writer)
    kernel = Kernel(KeyfsOperations(broker, Ownership(OWNER_UID, OWNER_GID), 30.0))
    for _ in range(2):
        await kernel.read(PATH)
    return kernel, await kernel.inode(PATH)


def break_seals(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UnsealFailed("not now")

    monkeypatch.setattr(keys.keys.protection, "unseal", fail)


async def test_no_seal_is_opened_for_what_the_kernel_has(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, inode = await warmed(keys)
    break_seals(keys, monkeypatch)
    info = await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    assert (info.direct_io, info.keep_cache) == (False, True)
    await kernel.operations.release(info.fh)


@pytest.mark.expects_log(r"request\.failed")
async def test_one_that_has_to_be_opened_and_does_not_open_is_said_to_be_so(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, inode = await warmed(keys)
    info = await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    break_seals(keys, monkeypatch)
    with refused("EBADMSG"):
        await kernel.operations.read(info.fh, 0, 99)


async def test_a_handle_that_was_never_read_keeps_its_version_through_a_rotation(keys: Keys) -> None:
    kernel, inode = await warmed(keys)
    old = keys.secret(REF)
    info = await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    keys.writer.rotate(REF)
    assert keys.secret(REF) != old
    assert await kernel.operations.read(info.fh, 0, 99) == old
    await kernel.operations.release(info.fh)
    with trio.fail_after(5):
        assert await kernel.read(PATH) == keys.secret(REF)


@pytest.mark.expects_log(r"access\.denied")
async def test_who_may_not_read_a_key_is_refused_what_the_kernel_has(keys: Keys) -> None:
    kernel, inode = await warmed(keys)
    stranger = kernel.called_by(uid=OTHER, gid=OTHER)
    with refused("EACCES"):
        await kernel.operations.open(inode, os.O_RDONLY, stranger.ctx)


async def test_a_change_of_another_key_takes_nothing_away(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, inode = await warmed(keys)
    keys.writer.generate(parse_key_ref("storage-sym/bob222"))
    break_seals(keys, monkeypatch)
    for _ in range(2):
        info = await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
        assert info.keep_cache
        await kernel.operations.release(info.fh)


async def test_who_closes_first_takes_nothing_from_who_opened_the_same(keys: Keys) -> None:
    kernel, inode = await warmed(keys)
    first, second = [await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx) for _ in range(2)]
    assert first.fh != second.fh
    for number in (first.fh, second.fh):
        assert await kernel.operations.read(number, 0, 99) == keys.secret(REF)
    await kernel.operations.release(first.fh)
    assert await kernel.operations.read(second.fh, 0, 99) == keys.secret(REF)
    await kernel.operations.release(second.fh)


async def test_a_destroyed_version_is_not_opened_again(keys: Keys) -> None:
    keys.writer.rotate(REF)
    kernel, _ = await warmed(keys)
    (label,) = [name for name in await kernel.names(str(REF)) if name.startswith("2")]
    await kernel.read(f"{REF}/{label}")
    inode = await kernel.inode(f"{REF}/{label}")
    keys.writer.destroy(REF, keys.keys.ring(REF).versions[0].id)
    with refused("ENOENT"):
        await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
