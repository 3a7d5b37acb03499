"""`News`: what changed, for those who watch files. Telling them never holds up anything else."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

import trio

from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.tree import Kind, Node, key_node, parent_of
from keyfs.layout.base import Slot

GATHER_S: Final = 0.002  # so that a writer is answered first
APART_S: Final = 0.02  # who rotates all the time is not slowed down by each single lot
Tell = Callable[[Collection[Node]], Awaitable[None]]
ViewsOf = Callable[[KeyRef, str, Half], Iterable[Node]]


async def _tell_nobody(_nodes: Collection[Node]) -> None:
    return


def _hear_nothing(_: object) -> None:
    return


class News:
    """Collects key files until somebody is told: what comes while one lot is told is one more lot.

    Args:
        views: of a half of a version. Those of `current` change with it; the kernel never tells of them.
    """

    def __init__(self, views: ViewsOf) -> None:
        self._views = views
        self.tell: Tell = _tell_nobody
        self.hear: Callable[[KeyRef], None] = _hear_nothing  # at once, of every change
        self.stale: Callable[[Collection[Node]], None] = _hear_nothing  # at once, of every node that changed
        self._nodes: set[Node] = set()
        self._arrived = trio.Event()

    def changed(self, slots: Collection[Slot]) -> None:
        """What others changed, came or went."""
        for ref in {slot.ref for slot in slots}:
            self.hear(ref)
        self._add(key_node(slot.ref, slot.stamp or CURRENT, slot.half) for slot in slots)

    def rotated(self, ref: KeyRef) -> None:
        """We made the next version, and `current` was not open for it."""
        self.hear(ref)
        self._add(key_node(ref, CURRENT, half) for half in Half)

    def written(self, ref: KeyRef) -> None:
        """`current` was written through this mount: the kernel told of that file, of no other."""
        self.hear(ref)
        self._stale([key_node(ref, CURRENT, Half.SECRET)])
        self._add([key_node(ref, CURRENT, Half.PUBLIC), *self._views(ref, CURRENT, Half.SECRET)])

    def gone(self, ref: KeyRef, version: str) -> None:
        """A retired version was removed through this mount: the kernel told of its file, of no other."""
        self._add([key_node(ref, version, Half.PUBLIC)])

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            await self._arrived.wait()
            await trio.sleep(GATHER_S)
            self._arrived = trio.Event()
            nodes, self._nodes = self._nodes, set()
            await self.tell(nodes)
            await trio.sleep(APART_S)

    def _add(self, nodes: Iterable[Node]) -> None:
        found = list(nodes)
        for node in list(found):
            if node.kind is Kind.KEY and node.ref is not None and node.version == CURRENT:
                found += self._views(node.ref, CURRENT, node.half)
        self._stale(found)
        self._nodes.update(found)
        if self._nodes:
            self._arrived.set()

    def _stale(self, nodes: Collection[Node]) -> None:
        self.stale({*nodes, *map(parent_of, nodes)})
