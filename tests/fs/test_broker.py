"""`KeyBroker` in process: what a reader gets, and how fresh it is."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
import trio
import trio.testing

from keyfs.broker.broker import AWAY_PAUSE_S, KeyBroker
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.tree import ROOT, ROTATE_TEXT, Node, control_node, key_node, rotate_node
from keyfs.errors import (
    AccessDenied,
    KeyNotFound,
    StoreUnavailable,
)
from keyfs.store.watching import Watch
from keyfs.testing.builders import (
    EVERY_REF,
    STORAGE,
    STORAGE_SYM,
    Keys,
    broker_on,
    in_memory,
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


async def read(broker: KeyBroker, node: Node) -> bytes:
    await broker.fresh()
    return (await broker.snapshot(node)).content.reveal()


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
@pytest.mark.expects_log("store.back")
@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("not yours"), KeyNotFound("gone")])
async def test_news_that_could_not_be_taken_in_are_not_forgotten(
    broker: KeyBroker, keys: Keys, outside: Keys, error: StoreUnavailable
) -> None:
    before = await read(broker, SYM)
    outside.writer.rotate(STORAGE_SYM)
    keys.store.before("stat", failing(error), None)
    keys.store.before("list_pages", failing(error), None)
    for _ in range(2):
        assert await read(broker, SYM) == before
    assert b"state: stale since" in await read(broker, control_node("status"))
    keys.store.mend()
    assert await read(broker, SYM) == outside.secret(STORAGE_SYM)
    assert b"state: fresh" in await read(broker, control_node("status"))


@pytest.mark.expects_log("store.away")
@pytest.mark.expects_log("store.back")
async def test_following_goes_on_when_the_store_is_away(
    broker: KeyBroker, keys: Keys, watch: Watch, outside: Keys, mock_clock: trio.testing.MockClock
) -> None:
    for method in ("stat", "list_pages"):
        keys.store.before(method, failing(StoreUnavailable("away")), None)

    async def until(state: bytes) -> None:
        while state not in (await broker.snapshot(control_node("status"))).content.reveal():
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(AWAY_PAUSE_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(broker.follow, watch)
        outside.writer.rotate(STORAGE_SYM)
        await until(b"state: stale since")
        keys.store.mend()
        outside.writer.rotate(STORAGE_SYM)
        await until(b"state: fresh")
        nursery.cancel_scope.cancel()
    assert keys.secret(STORAGE_SYM) == outside.secret(STORAGE_SYM)
