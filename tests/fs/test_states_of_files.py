"""The handlers in process: what a state forbids is refused at the next open, whatever is in memory."""

import os

import pytest
import trio
from kernel import OWNER_GID, OWNER_UID, Kernel, kernel_on, refused

from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import CURRENT
from keyfs.core.policy import Ownership, Policy
from keyfs.core.states import KeyState
from keyfs.core.views import View
from keyfs.fs.operations import KeyfsOperations
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys, broker_on, in_memory
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

REFUSED = pytest.mark.expects_log(r"request\.failed")
PATH = f"{STORAGE_SYM}/{CURRENT}"
FORBIDDEN = [
    (KeyState.SUSPENDED, "EKEYEXPIRED"),
    (KeyState.DEACTIVATED, "EKEYEXPIRED"),
    (KeyState.COMPROMISED, "EKEYREVOKED"),
]


@pytest.fixture
def others(medium: Medium) -> StateWriter:
    """Somebody else on the same medium."""
    return StateWriter(in_memory(medium).keys)


@pytest.mark.parametrize(("state", "answer"), FORBIDDEN)
@REFUSED
async def test_the_next_open_is_refused(
    keys: Keys, others: StateWriter, state: KeyState, answer: str
) -> None:
    kernel = kernel_on(keys)
    assert await kernel.read(PATH)
    others.set(STORAGE_SYM, CURRENT, state)
    with refused(answer):
        await kernel.read(PATH)


@pytest.mark.parametrize(("state", "answer"), FORBIDDEN)
@REFUSED
async def test_so_is_one_of_what_the_kernel_has(
    keys: Keys, others: StateWriter, state: KeyState, answer: str
) -> None:
    kernel = Kernel(KeyfsOperations(broker_on(keys.keys, keys.writer), Ownership(OWNER_UID, OWNER_GID), 30.0))
    await kernel.read(PATH)
    inode = await kernel.inode(PATH)
    first = await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    assert first.keep_cache
    others.set(STORAGE_SYM, CURRENT, state)
    with refused(answer):
        await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)
    assert await kernel.operations.read(first.fh, 0, 99)  # who has it open keeps it
    await kernel.operations.release(first.fh)
    with refused(answer):
        await kernel.operations.open(inode, os.O_RDONLY, kernel.ctx)


@REFUSED
async def test_what_is_active_again_can_be_read(keys: Keys, others: StateWriter) -> None:
    kernel = kernel_on(keys)
    before = await kernel.read(PATH)
    others.set(STORAGE_SYM, CURRENT, KeyState.SUSPENDED)
    with refused("EKEYEXPIRED"):
        await kernel.read(PATH)
    others.set(STORAGE_SYM, CURRENT, KeyState.ACTIVE)
    assert await kernel.read(PATH) == before


@pytest.mark.parametrize("name", ["current", "current.pub", "current.pem", "current.pub.pem", "current.b64"])
@REFUSED
async def test_a_state_goes_for_all_files_of_a_version(keys: Keys, others: StateWriter, name: str) -> None:
    kernel = kernel_on(keys, policy=Policy(views=frozenset(View)))
    others.set(STORAGE, CURRENT, KeyState.COMPROMISED)
    with refused("EKEYREVOKED"):
        await kernel.read(f"{STORAGE}/{name}")


async def test_but_its_fingerprint_which_says_what_to_revoke(keys: Keys, others: StateWriter) -> None:
    kernel = kernel_on(keys, policy=Policy(views=frozenset(View)))
    before = await kernel.read(f"{STORAGE}/current.fp")
    others.set(STORAGE, CURRENT, KeyState.COMPROMISED)
    assert await kernel.read(f"{STORAGE}/current.fp") == before
    inode = await kernel.inode(f"{STORAGE}/current")
    assert await kernel.operations.getxattr(inode, b"user.keyfs.fingerprint", kernel.ctx) == before.rstrip()


@REFUSED
async def test_a_compromised_key_can_be_replaced_and_not_edited(keys: Keys, others: StateWriter) -> None:
    kernel = kernel_on(keys)
    others.set(STORAGE_SYM, CURRENT, KeyState.COMPROMISED)
    with refused("EKEYREVOKED"):
        await kernel.operations.open(await kernel.inode(PATH), os.O_RDWR, kernel.ctx)
    await kernel.write(PATH, b"n" * 32)
    assert await kernel.read(PATH) == b"n" * 32
    [stamp, _] = keys.versions(STORAGE_SYM)
    with refused("EKEYREVOKED"):
        await kernel.read(f"{STORAGE_SYM}/{stamp}")


async def test_generating_the_next_version_is_the_way_out(keys: Keys, others: StateWriter) -> None:
    kernel = kernel_on(keys)
    others.set(STORAGE, CURRENT, KeyState.SUSPENDED)
    await kernel.write(f"{STORAGE}/rotate", b"1")
    assert await kernel.read(f"{STORAGE}/current")


async def test_attributes_and_inventory_say_the_state(keys: Keys, others: StateWriter) -> None:
    kernel = kernel_on(keys)
    keys.writer.rotate(STORAGE)
    [stamp, _] = keys.versions(STORAGE)
    before = await kernel.read(".keyfs/inventory.json")
    others.set(STORAGE, stamp, KeyState.COMPROMISED)
    others.plan(STORAGE, stamp, 7 * 86400, is_forced=False)
    for name, state in ((stamp, b"compromised"), (f"{stamp}.pub", b"compromised"), ("current", b"active")):
        inode = await kernel.inode(f"{STORAGE}/{name}")
        assert await kernel.operations.getxattr(inode, b"user.keyfs.key_state", kernel.ctx) == state
        names = list(await kernel.operations.listxattr(inode, kernel.ctx))
        assert (b"user.keyfs.destroy_at" in names) == (name != "current")
    after = await kernel.read(".keyfs/inventory.json")
    assert before != after
    assert after.count(b'"state": "compromised", "destroy_at": "2') == 2


@REFUSED
async def test_what_comes_back_after_it_was_destroyed_is_refused(
    keys: Keys, others: StateWriter, medium: Medium
) -> None:
    """From a backup, say; until somebody undoes it."""
    kernel = kernel_on(keys)
    keys.writer.rotate(STORAGE_SYM)
    [stamp, _] = keys.versions(STORAGE_SYM)
    name = f"alice_storage_sym.old/{stamp}"
    kept = medium.blobs[name]
    others.destroy(STORAGE_SYM, stamp)
    with refused("ENOENT"):
        await kernel.read(f"{STORAGE_SYM}/{stamp}")
    medium.set(name, kept)
    with refused("ENOKEY"):
        await kernel.read(f"{STORAGE_SYM}/{stamp}")
    others.undo(STORAGE_SYM, stamp)
    assert await kernel.read(f"{STORAGE_SYM}/{stamp}")


async def test_what_is_due_is_destroyed_by_a_mount_that_can_write(
    keys: Keys, others: StateWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyfs.broker.upkeep.DUE_EVERY_S", 0.001)
    keys.writer.rotate(STORAGE_SYM)
    [stamp, _] = keys.versions(STORAGE_SYM)
    broker, heard = broker_on(keys.keys, keys.writer), trio.Event()
    broker.on_version(lambda ref: heard.set() if ref == STORAGE_SYM else None)
    others.plan(STORAGE_SYM, stamp, 0, is_forced=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.upkeep.destroy_when_due, broker.fresh)
        with trio.fail_after(20):
            await heard.wait()
        nursery.cancel_scope.cancel()
    assert keys.versions(STORAGE_SYM) == [CURRENT]
    assert b"destroy\tdone" in broker.changes.outcomes.render()
