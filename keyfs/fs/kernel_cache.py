"""What the kernel keeps of a mount, and how it is made to forget it.

1. An open is answered after the kernel has forgotten the attributes of every version before the one opened.
2. A change is acknowledged after the kernel has forgotten what it kept of the file.

Nothing is forgotten from the event loop: that may wait for a read that only the loop can answer.
"""

import errno
from collections.abc import Callable, Iterable
from typing import Final

import trio

from keyfs.core.tree import Facts, Kind, Node, Path
from keyfs.fs.inodes import Inodes
from keyfs.fs.pages import Pages

KEPT_S: Final = 10.0
"""How long names and attributes of keys are kept. Changes are told, so this only bounds what got lost."""
FIXED_S: Final = 3600.0
"""The same for what is above the keys, and stays as long as the mount lives."""
BARE_S: Final = 5.0
SETTLED_WITHIN_S: Final = 1.0
PLAINTEXT_TTL_S: Final = 30.0
_FIXED: Final = frozenset({Kind.ROOT, Kind.PURPOSE, Kind.CONTROL_DIRECTORY})
_TOLD: Final = frozenset({Kind.CLIENT, Kind.KEY, Kind.VIEW, Kind.ROTATE})

Invalidate = Callable[[int], None]


class KernelCache:
    """Says what the kernel may keep, and takes it away.

    Args:
        inodes: knows which files the kernel refers to; asked each time, because a worker exchanges it.
        ttl_s: how long pages stay that nobody opens; 0 for no pages, names or attributes at all.
    """

    def __init__(self, inodes: Callable[[], Inodes], ttl_s: float) -> None:
        self._inodes = inodes
        self._ttl_s = ttl_s
        self.pages = Pages(is_on=ttl_s > 0)
        self._bare: dict[Path, float] = {}
        self._due: set[int] = set()  # to be forgotten
        self._going: frozenset[int] = frozenset()  # being forgotten
        # The kernel did not know them when it was told: an answer with attributes may have been on its way.
        self._unsure: set[int] = set()
        self._arrived = trio.Event()
        self._settled = trio.Event()
        self._is_running = False

    @property
    def is_on(self) -> bool:
        """Whether the kernel keeps anything of keys."""
        return self.pages.is_on

    def shown(self, node: Node, inode: int, facts: Facts) -> tuple[Facts, float]:
        """What `stat` shows of a node that is as *facts* say, and for how long that is kept."""
        if node.kind in _FIXED:
            return facts, FIXED_S
        if not self.is_on or node.kind not in _TOLD:
            return facts, 0.0
        facts, may_keep = self.pages.length(inode, facts)
        return facts, KEPT_S if may_keep and not self._is_bare(node.path) else 0.0

    def bare(self, path: Path) -> bool:
        """For some seconds no name and no attribute of this path is kept; whether that was so already."""
        if not self.is_on:
            return True
        now = trio.current_time()
        was = self._is_bare(path)
        self._bare = {other: until for other, until in self._bare.items() if until > now}
        self._bare[path] = now + BARE_S
        return was

    def stale(self, nodes: Iterable[Node]) -> None:
        """These have changed: `settled` tells when the kernel has forgotten them."""
        if not self.is_on:
            return
        for inode in map(self._inodes().known_number, nodes):
            if inode is not None:
                self.forget(inode)

    def stale_everywhere(self) -> None:
        """Everything may have changed."""
        if self.is_on:
            for inode in self._inodes().numbers():
                self.forget(inode)

    def unsure(self, inode: int) -> None:
        """The kernel may keep attributes that an earlier process gave out."""
        if self.is_on:
            self._unsure.add(inode)

    def forgotten(self, inode: int) -> None:
        """The kernel does not refer to this file any more, and keeps nothing of it."""
        self.pages.forgotten(inode)
        self._unsure.discard(inode)

    def is_settled(self, inode: int) -> bool:
        """Whether the kernel keeps nothing of the file that is older than what we know."""
        return not (inode in self._due or inode in self._going or inode in self._unsure)

    async def settle(self, inode: int) -> None:
        """Return when `is_settled`, or when that takes too long."""
        if inode in self._unsure:
            self._unsure.discard(inode)
            self.forget(inode)
        await self.settled()

    async def settled(self) -> None:
        """Return when the kernel has forgotten all that is stale by now, or when that takes too long."""
        with trio.move_on_after(SETTLED_WITHIN_S):
            while self._is_running and (self._due or self._going):
                await self._settled.wait()

    async def run(self, invalidate: Invalidate, left: Callable[[], Iterable[int]] = tuple) -> None:
        """Have the kernel forget, for ever.

        Args:
            invalidate: makes the kernel forget one file; raises OSError with ENOENT for one it does not know.
            left: files of which an earlier process may have left something.
        """
        if not self.is_on:
            return
        self._is_running = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            nursery.start_soon(_sweep, invalidate, left)
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                self._going, self._due = frozenset(self._due), set()
                unknown = await trio.to_thread.run_sync(
                    _each, invalidate, self._going, abandon_on_cancel=True
                )
                self._unsure.update(filter(self._inodes().is_number, unknown))
                self._going = frozenset()
                self._settled.set()
                self._settled = trio.Event()

    async def _expire(self) -> None:
        while True:
            await trio.sleep(self._ttl_s / 4)
            before = trio.current_time() - self._ttl_s
            for inode in self.pages.unused_since(before):
                self.forget(inode)

    def forget(self, inode: int) -> None:
        """Have the kernel forget one file; `settled` tells when."""
        self.pages.drop(inode)
        self._due.add(inode)
        self._arrived.set()

    def _is_bare(self, path: Path) -> bool:
        return bool(self._bare) and self._bare.get(path, 0.0) > trio.current_time()


def _each(invalidate: Invalidate, inodes: Iterable[int]) -> list[int]:
    """In a thread: have the kernel forget each; returns those that it does not know."""
    unknown = []
    for inode in inodes:
        try:
            invalidate(inode)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                unknown.append(inode)
    return unknown


async def _sweep(invalidate: Invalidate, left: Callable[[], Iterable[int]]) -> None:
    await trio.to_thread.run_sync(lambda: _each(invalidate, left()), abandon_on_cancel=True)
