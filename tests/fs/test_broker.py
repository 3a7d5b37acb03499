"""`KeyBroker` and `Offload` in process: freshness, snapshots, one commit for each finished write."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
import trio
import trio.testing

from keyfs.broker.broker import AWAY_PAUSE_S, KeyBroker
from keyfs.broker.controls import MountInfo, controls
from keyfs.broker.tree import Tree
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import ROOT, ROTATE_TEXT, Node, client_node, control_node, key_node, rotate_node
from keyfs.errors import (
    AccessDenied,
    InvalidMaterial,
    KeyNotFound,
    OperationRefused,
    RotationConflict,
    StoreBusy,
    StoreUnavailable,
)
from keyfs.offload import READ_THREADS, Offload
from keyfs.store.base import Watch
from keyfs.testing.builders import (
    EVERY_REF,
    HMAC_SYM,
    NOON_NS,
    STORAGE,
    STORAGE_SYM,
    Keys,
    in_memory,
    new_material,
)
from keyfs.testing.faults import Gate, failing
from keyfs.testing.medium import Medium

INFO = MountInfo("0", 1, "/m", "memory:", "v1", "none", "pure", False, "2026-11-24T12:00:00Z")
SYM = key_node(STORAGE_SYM, CURRENT, Half.SECRET)


@pytest.fixture
def medium() -> Medium:
    medium = Medium()
    made = in_memory(medium)
    for ref in EVERY_REF:
        made.writer.import_material(ref, new_material(ref))
    return medium


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
def outside(medium: Medium) -> Keys:
    """The same medium as another program has it."""
    outside = in_memory(medium)
    outside.clock.now_ns += 3600 * 10**9
    return outside


@pytest.fixture
def broker(keys: Keys, watch: Watch) -> KeyBroker:
    tree = Tree(keys.keys, controls(keys.keys, INFO), is_writable=True, started_ns=NOON_NS)
    return KeyBroker(keys.keys, keys.writer, tree, Offload())


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Opened at the end, so that no thread stays behind."""
    gate = Gate()
    yield gate
    gate.open()


def node_of(ref: KeyRef, version: str = CURRENT, half: Half = Half.SECRET) -> Node:
    return key_node(ref, version, half)


async def read(broker: KeyBroker, node: Node) -> bytes:
    await broker.fresh()
    return (await broker.snapshot(node)).content.reveal()


async def staged_with(broker: KeyBroker, data: bytes, node: Node = SYM) -> StagedWrite:
    staged = await broker.stage(node, truncate=True)
    staged.write(0, data)
    return staged


# --- reading ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
async def test_a_snapshot_holds_the_bytes_and_their_facts(broker: KeyBroker, keys: Keys, ref: KeyRef) -> None:
    snapshot = await broker.snapshot(node_of(ref))
    assert snapshot.content.reveal() == keys.secret(ref)
    assert snapshot.facts == broker.tree.facts(node_of(ref))
    assert snapshot.facts.size == len(snapshot.content)


async def test_a_warm_snapshot_asks_the_store_nothing(broker: KeyBroker, keys: Keys) -> None:
    nodes = [SYM, node_of(STORAGE), node_of(STORAGE, half=Half.PUBLIC)]
    first = [await read(broker, node) for node in nodes]
    before = keys.store.counts.copy()
    assert [await read(broker, node) for node in nodes] == first
    assert keys.store.counts == before


async def test_a_snapshot_outlives_a_rotation(broker: KeyBroker, keys: Keys) -> None:
    snapshot = await broker.snapshot(SYM)
    before = snapshot.content.reveal()
    keys.writer.rotate(STORAGE_SYM)
    assert snapshot.content.reveal() == before != await read(broker, SYM)


async def test_the_rotate_file_says_what_it_is_for(broker: KeyBroker) -> None:
    node = rotate_node(STORAGE_SYM)
    snapshot = await broker.snapshot(node)
    assert snapshot.content.reveal() == ROTATE_TEXT
    assert snapshot.facts.size == len(ROTATE_TEXT)


@pytest.mark.parametrize("name", ["status", "status.json", "inventory.json", "inventory.tsv"])
async def test_a_control_file_is_as_long_as_it_says(broker: KeyBroker, keys: Keys, name: str) -> None:
    for _ in range(2):
        snapshot = await broker.snapshot(control_node(name))
        assert snapshot.facts.size == len(snapshot.content) == broker.tree.facts(control_node(name)).size
        keys.writer.rotate(STORAGE_SYM)


async def test_a_directory_has_no_snapshot(broker: KeyBroker) -> None:
    with pytest.raises(KeyNotFound):
        await broker.snapshot(ROOT)


async def test_a_change_outside_is_seen_by_the_next_request(broker: KeyBroker, outside: Keys) -> None:
    before = await read(broker, SYM)
    outside.writer.rotate(STORAGE_SYM)
    after = await read(broker, SYM)
    assert before != after == outside.secret(STORAGE_SYM)


async def test_a_request_waits_for_news_that_another_one_is_taking_in(
    broker: KeyBroker, keys: Keys, outside: Keys, gate: Gate
) -> None:
    """The watch is empty already, but the index is not true yet."""
    await read(broker, SYM)
    outside.writer.rotate(STORAGE_SYM)
    keys.store.before("stat", gate)
    seen: list[bytes] = []

    async def ask() -> None:
        seen.append(await read(broker, SYM))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.fresh)
        await trio.to_thread.run_sync(gate.reached.wait)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert not seen
        gate.open()
    assert seen == [outside.secret(STORAGE_SYM)]


@pytest.mark.expects_log("store.away")
@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("not yours"), KeyNotFound("gone")])
async def test_news_that_could_not_be_taken_in_are_not_forgotten(
    broker: KeyBroker, keys: Keys, outside: Keys, error: StoreUnavailable
) -> None:
    before = await read(broker, SYM)
    outside.writer.rotate(STORAGE_SYM)
    keys.store.before("stat", failing(error), None)
    keys.store.before("list_all", failing(error), None)
    for _ in range(2):
        assert await read(broker, SYM) == before
    assert b"suspect" in await read(broker, control_node("status"))
    keys.store.mend()
    assert await read(broker, SYM) == outside.secret(STORAGE_SYM)
    assert b"fresh" in await read(broker, control_node("status"))


@pytest.mark.expects_log("store.away")
async def test_following_goes_on_when_the_store_is_away(
    broker: KeyBroker, keys: Keys, watch: Watch, outside: Keys, mock_clock: trio.testing.MockClock
) -> None:
    for method in ("stat", "list_all"):
        keys.store.before(method, failing(StoreUnavailable("away")), None)

    async def until_suspect(expected: bool) -> None:
        while keys.keys.is_suspect is not expected:
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(AWAY_PAUSE_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.follow, watch)
        outside.writer.rotate(STORAGE_SYM)
        await until_suspect(True)
        keys.store.mend()
        outside.writer.rotate(STORAGE_SYM)
        await until_suspect(False)
        nursery.cancel_scope.cancel()
    assert keys.secret(STORAGE_SYM) == outside.secret(STORAGE_SYM)


# --- writing ---


@pytest.mark.parametrize("ref", EVERY_REF, ids=str)
async def test_a_finished_write_makes_exactly_one_version(broker: KeyBroker, keys: Keys, ref: KeyRef) -> None:
    before, data = keys.secret(ref), new_material(ref, 1)
    staged = await staged_with(broker, data, node_of(ref))
    for _ in range(3):
        await broker.commit(node_of(ref), staged)
    assert [keys.secret(ref, version) for version in keys.versions(ref)] == [before, data]


async def test_nothing_written_makes_no_version(broker: KeyBroker, keys: Keys) -> None:
    for node in (SYM, rotate_node(STORAGE_SYM)):
        await broker.commit(node, await broker.stage(node, truncate=True))
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_the_same_bytes_make_no_version(broker: KeyBroker, keys: Keys) -> None:
    await broker.commit(SYM, await staged_with(broker, keys.secret(STORAGE_SYM)))
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_a_later_value_of_the_same_handle_amends_its_version(broker: KeyBroker, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    staged = await staged_with(broker, b"1" * 32)
    for fill in (b"1", b"2", b"3"):
        staged.write(0, fill * 32)
        await broker.commit(SYM, staged)
    assert [keys.secret(STORAGE_SYM, v) for v in keys.versions(STORAGE_SYM)] == [before, b"3" * 32]


async def test_a_handle_never_amends_a_version_that_it_did_not_make(broker: KeyBroker, keys: Keys) -> None:
    """It wrote the bytes that were there already, then others: the first ones must stay in the history."""
    before = keys.secret(STORAGE_SYM)
    staged = await staged_with(broker, before)
    await broker.commit(SYM, staged)
    staged.write(0, b"2" * 32)
    await broker.commit(SYM, staged)
    assert [keys.secret(STORAGE_SYM, v) for v in keys.versions(STORAGE_SYM)] == [before, b"2" * 32]


async def test_a_version_of_someone_else_is_never_amended(
    broker: KeyBroker, keys: Keys, outside: Keys
) -> None:
    staged = await staged_with(broker, b"1" * 32)
    await broker.commit(SYM, staged)
    outside.writer.import_material(STORAGE_SYM, b"2" * 32)
    staged.write(0, b"3" * 32)
    await broker.commit(SYM, staged)
    await broker.fresh()
    values = [keys.secret(STORAGE_SYM, version) for version in keys.versions(STORAGE_SYM)]
    assert values[1:] == [b"1" * 32, b"2" * 32, b"3" * 32]


async def test_an_edit_starts_from_the_current_value(broker: KeyBroker, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    staged = await broker.stage(SYM, truncate=False)
    staged.write(30, b"xy")
    await broker.commit(SYM, staged)
    staged.write(0, b"z")
    await broker.commit(SYM, staged)
    assert keys.secret(STORAGE_SYM) == b"z" + before[1:30] + b"xy"
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_an_edit_of_what_is_not_current_any_more_is_a_conflict(
    broker: KeyBroker, keys: Keys, outside: Keys
) -> None:
    staged = await broker.stage(SYM, truncate=False)
    staged.write(0, b"z")
    outside.writer.rotate(STORAGE_SYM)
    with pytest.raises(RotationConflict):
        await broker.commit(SYM, staged)
    assert await read(broker, SYM) == outside.secret(STORAGE_SYM)
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_a_full_overwrite_is_no_conflict(broker: KeyBroker, keys: Keys, outside: Keys) -> None:
    staged = await broker.stage(SYM, truncate=False)
    staged.truncate(0)
    staged.write(0, b"z" * 32)
    outside.writer.rotate(STORAGE_SYM)
    await broker.commit(SYM, staged)
    assert keys.secret(STORAGE_SYM) == b"z" * 32
    assert len(keys.versions(STORAGE_SYM)) == 3


async def test_what_is_no_key_changes_nothing(broker: KeyBroker, keys: Keys) -> None:
    before = keys.secret(STORAGE_SYM)
    for data in (b"x" * 31, b"x" * 33, b"\n"):
        with pytest.raises(InvalidMaterial):
            await broker.commit(SYM, await staged_with(broker, data))
    assert keys.secret(STORAGE_SYM) == before
    assert keys.versions(STORAGE_SYM) == [CURRENT]


async def test_a_failed_commit_can_be_repeated(broker: KeyBroker, keys: Keys) -> None:
    for node in (SYM, rotate_node(HMAC_SYM)):
        staged = await staged_with(broker, b"1" * 32, node)
        keys.store.before("supersede", failing(StoreBusy("busy")))
        with pytest.raises(StoreBusy):
            await broker.commit(node, staged)
        await broker.commit(node, staged)
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
        await broker.stage(node, truncate=True)


async def test_the_rotate_file_generates_once_for_each_handle(broker: KeyBroker, keys: Keys) -> None:
    node = rotate_node(STORAGE)
    for count in (2, 3):
        staged = await staged_with(broker, b"go", node)
        await broker.commit(node, staged)
        staged.write(2, b"on")
        await broker.commit(node, staged)
        assert len(keys.versions(STORAGE)) == count


async def test_two_closes_at_once_of_one_rotate_handle_make_one_version(
    broker: KeyBroker, keys: Keys
) -> None:
    """Two processes share a descriptor: `(echo 1 & echo 2) > rotate`."""
    node = rotate_node(STORAGE_SYM)
    staged = await staged_with(broker, b"1", node)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(broker.commit, node, staged)
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_a_rotation_that_ended_after_its_deadline_is_not_made_again(
    broker: KeyBroker, keys: Keys, gate: Gate
) -> None:
    node = rotate_node(STORAGE_SYM)
    staged = await staged_with(broker, b"1", node)
    keys.store.before("supersede", gate)
    with trio.CancelScope() as deadline:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.commit, node, staged)
            await trio.to_thread.run_sync(gate.reached.wait)
            deadline.cancel()
    gate.open()
    await broker.commit(node, staged)
    assert len(keys.versions(STORAGE_SYM)) == 2


async def test_a_write_while_the_commit_runs_is_not_lost(broker: KeyBroker, keys: Keys, gate: Gate) -> None:
    """One process closes, another one with the same descriptor still writes; each close is answered."""
    before = keys.secret(STORAGE_SYM)
    staged = await staged_with(broker, b"1" * 32)
    keys.store.before("supersede", gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.commit, SYM, staged)
        await trio.to_thread.run_sync(gate.reached.wait)
        staged.write(0, b"2" * 32)
        nursery.start_soon(broker.commit, SYM, staged)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert [keys.secret(STORAGE_SYM, v) for v in keys.versions(STORAGE_SYM)] == [before, b"2" * 32]


async def test_an_edit_whose_commit_ended_after_its_deadline_is_no_conflict_with_itself(
    broker: KeyBroker, keys: Keys, gate: Gate
) -> None:
    staged = await broker.stage(SYM, truncate=False)
    staged.write(0, b"z")
    keys.store.before("supersede", gate)
    with trio.CancelScope() as deadline:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.commit, SYM, staged)
            await trio.to_thread.run_sync(gate.reached.wait)
            deadline.cancel()
    gate.open()
    await broker.commit(SYM, staged)
    assert len(keys.versions(STORAGE_SYM)) == 2


# --- threads ---


async def test_a_read_is_abandoned_and_its_result_dropped(gate: Gate) -> None:
    offload = Offload()
    with trio.move_on_after(0.01) as scope:
        await offload.read(gate)
    assert scope.cancelled_caught
    assert await offload.read(len, "next") == 4


async def test_a_write_goes_on_after_its_caller_left_and_drain_waits_for_it(gate: Gate) -> None:
    offload, done = Offload(), threading.Event()

    def write() -> None:
        gate()
        done.set()

    with trio.move_on_after(0.01):
        await offload.write(write)
    assert not await offload.drain(0.01)
    assert not done.is_set()
    gate.open()
    assert await offload.drain(5)
    assert done.is_set()


async def test_drain_waits_for_writes_that_wait(gate: Gate) -> None:
    offload = Offload()
    done: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.write, gate)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            nursery.start_soon(offload.write, done.append, number)
            await trio.testing.wait_all_tasks_blocked()
        gate.open()
        assert await offload.drain(5)
        assert done == [0, 1, 2]


async def test_a_write_that_had_not_begun_is_not_begun_after_its_caller_left(gate: Gate) -> None:
    offload = Offload()
    begun: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.write, gate)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.01):
            await offload.write(begun.append, 1)
        gate.open()
    assert await offload.drain(5)
    assert not begun


async def test_one_writer_at_a_time() -> None:
    offload = Offload()
    inside: list[int] = []

    def write(number: int) -> None:
        inside.append(number)
        assert inside == [number]
        inside.clear()

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(offload.write, write, number)


async def test_reads_go_on_while_a_writer_hangs(gate: Gate) -> None:
    offload = Offload()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(offload.write, gate)
        await trio.testing.wait_all_tasks_blocked()
        assert await offload.read(len, "four") == 4
        gate.open()


async def test_errors_come_out_of_both_kinds_of_call() -> None:
    offload = Offload()
    for run in (offload.read, offload.write):
        with pytest.raises(StoreBusy):
            await run(failing(StoreBusy("busy")))


async def test_hanging_reads_leave_no_more_than_their_threads(gate: Gate) -> None:
    offload = Offload()
    held: list[int] = []

    def hold() -> None:
        held.append(1)
        gate()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(READ_THREADS + 10):
                nursery.start_soon(offload.read, hold)
            while len(held) < READ_THREADS:
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert len(held) == READ_THREADS
