"""Cold reads: those of one key are one fetch, those of many keys few round trips; nobody waits for ever."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from keyfs.broker.broker import KeyBroker
from keyfs.broker.changes import Tools
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.outcomes import Outcomes
from keyfs.broker.tree import Tree
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.core.tree import key_node
from keyfs.errors import KeyfsError, MaterialCorrupt, StoreUnavailable
from keyfs.layout.v1 import LayoutV1
from keyfs.offload import Offload
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.base import Blob
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

MASTER_KEY = Secret(b"a master key thrown away at once")


class CountingStore(MemoryStore):
    """A store that notes its round trips, and can be slow or away."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        self.rounds: list[list[str]] = []
        self.single: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        self.error: KeyfsError | None = None

    def get(self, name: str) -> Blob:
        self.single.append(name)
        return super().get(name)

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        wanted = sorted(names)
        self.rounds.append(wanted)
        assert self.answers.wait(20)
        if self.error is not None:
            raise self.error
        return MemoryStore(self.medium).get_many(wanted)


@dataclass(frozen=True)
class Served:
    """A key store in memory, all of it cold, and the broker that serves it."""

    store: CountingStore
    broker: KeyBroker
    keys: dict[KeyRef, bytes]

    async def read(self, ref: KeyRef, half: Half = Half.SECRET) -> bytes:
        return (await self.broker.snapshot(key_node(ref, CURRENT, half))).content.reveal()

    async def wait_for_rounds(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.store.rounds) < count:  # noqa: ASYNC110 - it happens in a thread, not in a task
                await trio.sleep(0.005)


def serve(*labels: str) -> Served:
    medium = Medium()
    written = KeyStore(MemoryStore(medium), LayoutV1(), Protections.under(open_sealer(MASTER_KEY)))
    writer = RingWriter(written)
    refs = [parse_key_ref(label) for label in labels]
    for ref in refs:
        writer.generate(ref)
    keys = {ref: written.read(ref, CURRENT, Half.SECRET)[0].material.reveal() for ref in refs}
    store = CountingStore(medium)
    cold = KeyStore(store, LayoutV1(), Protections.under(open_sealer(MASTER_KEY)))
    cold.load()
    tree = Tree(cold, {}, is_writable=True, started_ns=0)
    return Served(
        store, KeyBroker(Tools(cold, RingWriter(cold), tree, Offload(), Freshness(cold), Outcomes())), keys
    )


@pytest.fixture
def one() -> Served:
    return serve("storage-sym/alice")


@pytest.fixture
def fifty() -> Served:
    return serve(*(f"storage-sym/client{number}" for number in range(50)))


async def read_all(served: Served, refs: Iterable[KeyRef]) -> list[bytes | KeyfsError]:
    """What each of the reads that begin together gives, in the order of *refs*."""
    answers: dict[int, bytes | KeyfsError] = {}

    async def read(position: int, ref: KeyRef) -> None:
        try:
            answers[position] = await served.read(ref)
        except KeyfsError as exc:
            answers[position] = exc

    async with trio.open_nursery() as nursery:
        for position, ref in enumerate(refs):
            nursery.start_soon(read, position, ref)
    return [answers[position] for position in sorted(answers)]


async def test_concurrent_cold_reads_of_one_key_are_one_fetch_of_one_name(one: Served) -> None:
    [(ref, key)] = one.keys.items()
    assert await read_all(one, [ref] * 40) == [key] * 40
    assert one.store.rounds == [["alice_storage_sym"]]
    assert not one.store.single


async def test_readers_that_come_while_it_is_fetched_do_not_fetch_it_again(one: Served) -> None:
    [(ref, key)] = one.keys.items()
    one.store.answers.clear()
    read: list[bytes] = []

    async def reader() -> None:
        read.append(await one.read(ref))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await one.wait_for_rounds(1)
        for _ in range(20):
            nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        one.store.answers.set()
    assert read == [key] * 21
    assert one.store.rounds == [["alice_storage_sym"]]


async def test_concurrent_cold_reads_of_fifty_keys_are_a_few_round_trips(fifty: Served) -> None:
    assert await read_all(fifty, fifty.keys) == list(fifty.keys.values())
    asked = [name for names in fifty.store.rounds for name in names]
    assert sorted(asked) == sorted(f"{ref.client}_storage_sym" for ref in fifty.keys)
    assert len(fifty.store.rounds) <= 2
    assert not fifty.store.single


async def test_keys_asked_for_during_a_round_trip_share_the_next_one(fifty: Served) -> None:
    first, *others = fifty.keys
    fifty.store.answers.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fifty.read, first)
        await fifty.wait_for_rounds(1)
        for ref in others:
            nursery.start_soon(fifty.read, ref)
        await trio.testing.wait_all_tasks_blocked()
        fifty.store.answers.set()
    assert [len(names) for names in fifty.store.rounds] == [1, 49]


async def test_a_warm_key_costs_no_round_trip(one: Served) -> None:
    [(ref, key)] = one.keys.items()
    await one.read(ref)
    one.store.error = StoreUnavailable("away")
    assert await one.read(ref) == key
    assert len(one.store.rounds) == 1


async def test_a_public_half_comes_together_with_the_private_half_that_proves_it() -> None:
    served = serve("storage/alice")
    [ref] = served.keys
    await served.read(ref, Half.PUBLIC)
    await served.read(ref)
    assert served.store.rounds == [["alice_storage", "alice_storage.pub"]]
    assert not served.store.single


async def test_one_that_gives_up_at_its_deadline_passes_the_turn_on(fifty: Served) -> None:
    """The round trip it began is abandoned; the next in line asks for all that are left."""
    first, second, *_ = fifty.keys
    fifty.store.answers.clear()
    read: list[bytes] = []

    async def patient() -> None:
        read.append(await fifty.read(second))

    with trio.CancelScope() as deadline:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fifty.read, first)
            await fifty.wait_for_rounds(1)
            deadline.cancel()
    assert deadline.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patient)
        await fifty.wait_for_rounds(2)
        fifty.store.answers.set()
    assert read == [fifty.keys[second]]
    assert fifty.store.rounds[1:] == [[f"{second.client}_storage_sym"]]


async def test_those_who_share_a_batch_with_one_that_gives_up_are_served(fifty: Served) -> None:
    first, second, third, *_ = fifty.keys
    fifty.store.answers.clear()
    read: dict[KeyRef, bytes] = {}
    deadlines = {ref: trio.CancelScope() for ref in (second, third)}

    async def reader(ref: KeyRef) -> None:
        with deadlines.get(ref, trio.CancelScope()):
            read[ref] = await fifty.read(ref)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader, first)
        await fifty.wait_for_rounds(1)
        for ref in (second, third):  # one batch, in this order
            nursery.start_soon(reader, ref)
            await trio.testing.wait_all_tasks_blocked()
        fifty.store.answers.set()
        await fifty.wait_for_rounds(2)
        deadlines[second].cancel()
    names = sorted(f"{ref.client}_storage_sym" for ref in (second, third))
    assert fifty.store.rounds[1] == names
    assert read[third] == fifty.keys[third]


async def test_bytes_that_came_after_the_index_looked_are_shown_with_their_own_facts(one: Served) -> None:
    """They were shown with the time of the version before, until a change was heard of."""
    [(ref, old)] = one.keys.items()
    name, new = "alice_storage_sym", b"n" * 32
    blob = open_sealer(MASTER_KEY).seal(Secret(new), b"alice")
    one.store.medium.put(name, blob, mtime_ns=1_900_000_000_000_000_000)
    shown = await one.broker.snapshot(key_node(ref, CURRENT, Half.SECRET))
    assert (shown.content.reveal(), shown.facts.mtime_ns) == (new, 1_900_000_000_000_000_000)
    assert new != old


async def test_an_error_reaches_everyone_in_the_batch_and_nobody_after_it(fifty: Served) -> None:
    fifty.store.error = StoreUnavailable("away")
    answers = await read_all(fifty, fifty.keys)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert len(fifty.store.rounds) <= 2
    assert not fifty.store.single
    fifty.store.error = None
    assert await read_all(fifty, fifty.keys) == list(fifty.keys.values())


async def test_a_blob_that_is_no_good_is_the_trouble_of_its_own_reader(fifty: Served) -> None:
    bad, gone, *good = fifty.keys
    medium = fifty.store.medium
    medium.blobs[f"{bad.client}_storage_sym"] = medium.blobs[f"{good[0].client}_storage_sym"]
    del medium.blobs[f"{gone.client}_storage_sym"]
    answers = await read_all(fifty, fifty.keys)
    assert answers[2:] == [fifty.keys[ref] for ref in good]
    assert all(isinstance(answer, KeyfsError) for answer in answers[:2])
    assert not any(isinstance(answer, (MaterialCorrupt, StoreUnavailable)) for answer in answers[:2])
