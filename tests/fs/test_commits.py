"""`KeyBroker` in process: exactly one version for each finished write, none for anything else."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
import trio
import trio.testing

from keyfs.broker.broker import KeyBroker
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import ROOT, Node, client_node, control_node, key_node, rotate_node
from keyfs.errors import (
    InvalidMaterial,
    OperationRefused,
    RotationConflict,
    StoreBusy,
)
from keyfs.store.watching import Watch
from keyfs.testing.builders import (
    EVERY_REF,
    HMAC_SYM,
    STORAGE,
    STORAGE_SYM,
    Keys,
    broker_on,
    in_memory,
    new_material,
)
from keyfs.testing.faults import Gate, failing
from keyfs.testing.medium import Medium

pytest_plugins = ["fs_fixtures"]

SYM = key_node(STORAGE_SYM, CURRENT, Half.SECRET)


@pytest.fixture
def keys(medium: Medium) -> Iterator[Keys]:
    keys = in_memory(medium)
    with closing(keys.keys):
        yield keys


@pytest.fixture
def watch(keys: Keys) -> Watch:
    """Watched, as a mount watches it."""
    return keys.keys.watch()


@pytest.fixture
def broker(keys: Keys, watch: Watch) -> KeyBroker:
    return broker_on(keys.keys, keys.writer)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Opened at the end, so that no thread stays behind."""
    gate = Gate()
    yield gate
    gate.open()


def node_of(ref: KeyRef, version: str = CURRENT, half: Half = Half.SECRET) -> Node:
    return key_node(ref, version, half)


async def staged_with(broker: KeyBroker, data: bytes, node: Node = SYM) -> StagedWrite:
    staged = await broker.changes.stage(node, truncate=True)
    staged.write(0, data)
    return staged


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
async def test_a_finished_write_makes_exactly_one_version(broker: KeyBroker, keys: Keys, ref: KeyRef) -> None:
    before, data = keys.secret(ref), new_material(ref, 1)
    staged = await staged_with(broker, data, node_of(ref))
    for _ in range(3):
        await broker.changes.commit(node_of(ref), staged)
    assert [keys.secret(ref, version) for version in keys.versions(ref)] == [before, data]


async def test_nothing_written_makes_no_version(broker: KeyBroker, keys: Keys) -> None:
    for node in (SYM, rotate_node(STORAGE_SYM)):
        await broker.changes.commit(node, await broker.changes.stage(node, truncate=True))
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_the_same_bytes_make_no_version(broker: KeyBroker, keys: Keys) -> None:
    await broker.changes.commit(SYM, await staged_with(broker, keys.secret(STORAGE_SYM)))
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_a_later_value_of_the_same_handle_amends_its_version(broker: KeyBroker, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    staged = await staged_with(broker, b"1" * 32)
    for fill in (b"1", b"2", b"3"):
        staged.write(0, fill * 32)
        await broker.changes.commit(SYM, staged)
    assert [keys.secret(STORAGE_SYM, v) for v in keys.versions(STORAGE_SYM)] == [before, b"3" * 32]


async def test_a_handle_never_amends_a_version_that_it_did_not_make(broker: KeyBroker, keys: Keys) -> None:
    """It wrote the bytes that were there already, then others: the first ones must stay in the history."""
    before = keys.secret(STORAGE_SYM)
    staged = await staged_with(broker, before)
    await broker.changes.commit(SYM, staged)
    staged.write(0, b"2" * 32)
    await broker.changes.commit(SYM, staged)
    assert [keys.secret(STORAGE_SYM, v) for v in keys.versions(STORAGE_SYM)] == [before, b"2" * 32]


async def test_a_version_of_someone_else_is_never_amended(
    broker: KeyBroker, keys: Keys, outside: Keys
) -> None:
    staged = await staged_with(broker, b"1" * 32)
    await broker.changes.commit(SYM, staged)
    outside.writer.import_material(STORAGE_SYM, b"2" * 32)
    staged.write(0, b"3" * 32)
    await broker.changes.commit(SYM, staged)
    await broker.fresh()
    values = [keys.secret(STORAGE_SYM, version) for version in keys.versions(STORAGE_SYM)]
    assert values[1:] == [b"1" * 32, b"2" * 32, b"3" * 32]


async def test_an_edit_starts_from_the_current_value(broker: KeyBroker, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    staged = await broker.changes.stage(SYM, truncate=False)
    staged.write(30, b"xy")
    await broker.changes.commit(SYM, staged)
    staged.write(0, b"z")
    await broker.changes.commit(SYM, staged)
    assert keys.secret(STORAGE_SYM) == b"z" + before[1:30] + b"xy"
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_an_edit_of_what_is_not_current_any_more_is_a_conflict(
    broker: KeyBroker, keys: Keys, outside: Keys
) -> None:
    staged = await broker.changes.stage(SYM, truncate=False)
    staged.write(0, b"z")
    outside.writer.rotate(STORAGE_SYM)
    with pytest.raises(RotationConflict):
        await broker.changes.commit(SYM, staged)
    await broker.fresh()
    assert keys.secret(STORAGE_SYM) == outside.secret(STORAGE_SYM)
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_a_full_overwrite_is_no_conflict(broker: KeyBroker, keys: Keys, outside: Keys) -> None:
    staged = await broker.changes.stage(SYM, truncate=False)
    staged.truncate(0)
    staged.write(0, b"z" * 32)
    outside.writer.rotate(STORAGE_SYM)
    await broker.changes.commit(SYM, staged)
    assert keys.secret(STORAGE_SYM) == b"z" * 32
    assert len(keys.versions(STORAGE_SYM)) == 3


async def test_what_is_no_key_changes_nothing(broker: KeyBroker, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    for data in (b"x" * 31, b"x" * 33, b"\n"):
        with pytest.raises(InvalidMaterial):
            await broker.changes.commit(SYM, await staged_with(broker, data))
    assert keys.secret(STORAGE_SYM) == before
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_a_failed_commit_can_be_repeated(broker: KeyBroker, keys: Keys) -> None:
    for node in (SYM, rotate_node(HMAC_SYM)):
        staged = await staged_with(broker, b"1" * 32, node)
        keys.store.before("supersede", failing(StoreBusy("busy")))
        with pytest.raises(StoreBusy):
            await broker.changes.commit(node, staged)
        await broker.changes.commit(node, staged)
    assert keys.secret(STORAGE_SYM) == b"1" * 32
    assert len(keys.versions(STORAGE_SYM)) == len(keys.versions(HMAC_SYM)) == 2


@pytest.mark.parametrize(
    "node",
    [
        node_of(STORAGE, half=Half.PUBLIC),
        node_of(STORAGE, "2026-11-24T02:46:25"),
        control_node("status"),
        client_node(STORAGE),
        ROOT,
    ],
    ids=str,
)
async def test_only_current_and_rotate_can_be_written(broker: KeyBroker, node: Node) -> None:
    with pytest.raises(OperationRefused):
        await broker.changes.stage(node, truncate=True)


async def test_the_rotate_file_generates_once_for_each_handle(broker: KeyBroker, keys: Keys) -> None:
    node = rotate_node(STORAGE)
    for count in (2, 3):
        staged = await staged_with(broker, b"go", node)
        await broker.changes.commit(node, staged)
        staged.write(2, b"on")
        await broker.changes.commit(node, staged)
        assert len(keys.versions(STORAGE)) == count


async def test_two_closes_at_once_of_one_rotate_handle_make_one_version(
    broker: KeyBroker, keys: Keys
) -> None:
    """Two processes share a descriptor: `(echo 1 & echo 2) > rotate`."""
    node = rotate_node(STORAGE_SYM)
    staged = await staged_with(broker, b"1", node)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(broker.changes.commit, node, staged)
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_a_rotation_that_ended_after_its_deadline_is_not_made_again(
    broker: KeyBroker, keys: Keys, gate: Gate
) -> None:
    node = rotate_node(STORAGE_SYM)
    staged = await staged_with(broker, b"1", node)
    keys.store.before("supersede", gate)
    with trio.CancelScope() as deadline:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.changes.commit, node, staged)
            await trio.to_thread.run_sync(gate.reached.wait)
            deadline.cancel()
    gate.open()
    await broker.changes.commit(node, staged)
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_a_write_while_the_commit_runs_is_not_lost(broker: KeyBroker, keys: Keys, gate: Gate) -> None:
    """One process closes, another one with the same descriptor still writes; each close is answered."""
    before = keys.secret(STORAGE_SYM)
    staged = await staged_with(broker, b"1" * 32)
    keys.store.before("supersede", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.changes.commit, SYM, staged)
        await trio.to_thread.run_sync(gate.reached.wait)
        staged.write(0, b"2" * 32)
        nursery.start_soon(broker.changes.commit, SYM, staged)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert [keys.secret(STORAGE_SYM, v) for v in keys.versions(STORAGE_SYM)] == [before, b"2" * 32]


async def test_the_end_of_a_mount_waits_for_a_write(broker: KeyBroker, keys: Keys, gate: Gate) -> None:
    staged = await staged_with(broker, b"1" * 32)
    keys.store.before("supersede", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.changes.commit, SYM, staged)
        await trio.to_thread.run_sync(gate.reached.wait)
        assert not await broker.drain(0.01)
        gate.open()
        assert await broker.drain(5)
        assert keys.secret(STORAGE_SYM) == b"1" * 32


async def test_an_edit_whose_commit_ended_after_its_deadline_is_no_conflict_with_itself(
    broker: KeyBroker, keys: Keys, gate: Gate
) -> None:
    staged = await broker.changes.stage(SYM, truncate=False)
    staged.write(0, b"z")
    keys.store.before("supersede", gate)
    with trio.CancelScope() as deadline:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.changes.commit, SYM, staged)
            await trio.to_thread.run_sync(gate.reached.wait)
            deadline.cancel()
    gate.open()
    await broker.changes.commit(SYM, staged)
    assert len(keys.versions(STORAGE_SYM)) == 2
