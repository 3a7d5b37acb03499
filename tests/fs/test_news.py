"""Who watches files is told what others changed, once, and without holding up anybody."""

from collections.abc import AsyncIterator, Collection, Iterable
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
from keyfs.core.names import CURRENT, Half, parse_key_ref
from keyfs.core.policy import Policy
from keyfs.core.secret import Secret
from keyfs.core.tree import Node, key_node, rotate_node
from keyfs.core.views import View
from keyfs.layout.v1 import LayoutV1
from keyfs.offload import Offload
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.base import Replacement
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore

MASTER_KEY = Secret(b"a master key thrown away at once")
ALICE = parse_key_ref("storage-sym/alice")
PAIR = parse_key_ref("storage/alice")


class WatchedStore(MemoryStore):
    """A store whose watch is looked at in the midst of each write."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        self.keys: KeyStore | None = None
        self.seen: list[object] = []

    def supersede(self, replacements: Iterable[Replacement]) -> None:
        super().supersede(replacements)
        if self.keys is not None:
            self.seen += self.keys.refresh()


@dataclass
class Scene:
    """A served key store, another program's way to it, and what watchers of files were told."""

    medium: Medium
    store: WatchedStore
    keys: KeyStore
    broker: KeyBroker
    others: RingWriter
    told: list[set[str]]
    may_tell: trio.Event

    async def tell(self, nodes: Collection[Node]) -> None:
        await self.may_tell.wait()
        self.told.append({str(node) for node in nodes})

    async def write(self, node: Node, data: bytes) -> None:
        staged = await self.broker.changes.stage(node, truncate=True)
        staged.write(0, data)
        await self.broker.changes.commit(node, staged)

    def lose_events(self) -> None:
        for watch in self.medium.watches:
            watch.note(None)


@pytest.fixture
async def scene(nursery: trio.Nursery) -> AsyncIterator[Scene]:
    medium = Medium()
    other = KeyStore(MemoryStore(medium), LayoutV1(), Protections.under(open_sealer(MASTER_KEY)))
    others = RingWriter(other)
    for ref in (ALICE, PAIR):
        others.generate(ref)
    store = WatchedStore(medium)
    keys = KeyStore(store, LayoutV1(), Protections.under(open_sealer(MASTER_KEY)))
    watch = keys.watch()
    tree = Tree(keys, {}, is_writable=True, started_ns=0)
    broker = KeyBroker(Tools(keys, RingWriter(keys), tree, Offload(), Freshness(keys), Outcomes()))
    scene = Scene(medium, store, keys, broker, others, [], trio.Event())
    scene.may_tell.set()
    broker.on_change(scene.tell)
    nursery.start_soon(broker.follow, watch)
    await trio.testing.wait_all_tasks_blocked()
    yield scene
    nursery.cancel_scope.cancel()


async def settled(scene: Scene) -> list[set[str]]:
    """What was told, once there is nothing more to tell."""
    with trio.fail_after(10):
        while scene.keys.has_changes():  # noqa: ASYNC110 - it is taken in by a thread
            await trio.sleep(0.005)
        await trio.testing.wait_all_tasks_blocked(0.05)
    return scene.told


async def test_a_rotation_elsewhere_is_told_half_by_half(scene: Scene) -> None:
    scene.others.rotate(PAIR)
    told = set().union(*await settled(scene))
    assert {"storage/alice/current", "storage/alice/current.pub"} <= told
    assert len(told) == 4  # and the two that retired


async def test_what_does_not_belong_to_the_layout_is_not_told(scene: Scene) -> None:
    scene.medium.put("README.md", b"hello")
    assert await settled(scene) == []


async def test_our_own_rotation_is_told_once_though_the_store_tells_of_it_too(scene: Scene) -> None:
    scene.store.keys = scene.keys
    await scene.write(rotate_node(ALICE), b"1")
    assert await settled(scene) == [{"storage-sym/alice/current", "storage-sym/alice/current.pub"}]
    assert scene.store.seen == []


async def test_a_file_that_was_written_through_the_mount_is_not_told(scene: Scene) -> None:
    """The kernel did. The public half was written by nobody but us."""
    scene.store.keys = scene.keys
    await scene.write(key_node(ALICE, CURRENT, Half.SECRET), b"w" * 32)
    assert await settled(scene) == [{"storage-sym/alice/current.pub"}]
    assert scene.store.seen == []


@pytest.mark.parametrize("views", [{"fp"}, {"hex", "pem"}], ids=["fp", "hex and pem"])
async def test_the_views_of_what_is_current_are_told_with_it(scene: Scene, views: set[str]) -> None:
    scene.broker.tree.policy = Policy(views=frozenset(map(View, views)))
    scene.others.rotate(PAIR)
    told = set().union(*await settled(scene))
    forms = {"fp"} if views == {"fp"} else {"hex", "pem", "pub.hex", "pub.pem"}
    assert {f"storage/alice/current.{form}" for form in forms} <= told
    assert len(told) == 4 + len(forms)  # none of what retired


async def test_the_views_of_a_file_that_was_written_through_the_mount_are_told(scene: Scene) -> None:
    """The kernel told of that file alone."""
    scene.broker.tree.policy = Policy(views=frozenset(View))
    await scene.write(key_node(ALICE, CURRENT, Half.SECRET), b"w" * 32)
    told = set().union(*await settled(scene))
    assert {f"storage-sym/alice/current.{form}" for form in ("b64", "hex")} <= told
    assert "storage-sym/alice/current" not in told


async def test_one_that_is_slow_to_be_told_holds_up_no_change(scene: Scene) -> None:
    scene.may_tell = trio.Event()
    old = (await scene.broker.snapshot(key_node(ALICE, CURRENT, Half.SECRET))).content.reveal()
    scene.others.rotate(ALICE)
    await settled(scene)
    scene.others.rotate(ALICE)
    scene.others.rotate(PAIR)
    await settled(scene)
    assert len(scene.keys.ring(ALICE).versions) == 3
    assert (await scene.broker.snapshot(key_node(ALICE, CURRENT, Half.SECRET))).content.reveal() != old
    scene.may_tell.set()
    first, *rest = await settled(scene)
    assert "storage-sym/alice/current" in first
    assert "storage/alice/current" in set().union(*rest)


# --- after events were lost ---


async def read(scene: Scene) -> None:
    for ref in (ALICE, PAIR):
        for half in (Half.SECRET, *([Half.PUBLIC] if ref is PAIR else [])):
            await scene.broker.snapshot(key_node(ref, CURRENT, half))


async def test_what_is_as_it_was_is_not_told_after_a_new_listing(scene: Scene) -> None:
    await read(scene)
    for _ in range(3):
        scene.lose_events()
        assert await settled(scene) == []


async def test_bytes_that_were_replaced_unheard_are_told_after_a_new_listing(scene: Scene) -> None:
    await read(scene)
    watches, scene.medium.watches = scene.medium.watches, []
    scene.medium.put("alice_storage_sym", scene.medium.blobs["alice_storage_sym"].data[::-1])
    scene.medium.watches = watches
    scene.lose_events()
    assert await settled(scene) == [{"storage-sym/alice/current"}]


async def test_a_rotation_unheard_is_told_and_no_other_key(scene: Scene) -> None:
    watches, scene.medium.watches = scene.medium.watches, []
    scene.others.rotate(ALICE)
    scene.medium.watches = watches
    scene.lose_events()
    [told] = await settled(scene)
    assert "storage-sym/alice/current" in told
    assert not [path for path in told if path.startswith("storage/")]


async def test_a_key_that_went_unheard_is_told(scene: Scene) -> None:
    watches, scene.medium.watches = scene.medium.watches, []
    scene.medium.set("alice_storage_sym", None)
    scene.medium.watches = watches
    scene.lose_events()
    assert await settled(scene) == [{"storage-sym/alice/current"}]


async def test_warm_keys_are_warm_after_a_new_listing(scene: Scene) -> None:
    await read(scene)
    scene.lose_events()
    await settled(scene)
    assert scene.keys.reader.is_warm(scene.keys.ring(ALICE).version(CURRENT), Half.SECRET)
