"""What the kernel keeps of a mount, and how it is made to forget it.

1. An open is answered after the kernel has forgotten the attributes of every version before the one opened.
2. A change is acknowledged after the kernel has forgotten what it kept of the file.

To drop a page the kernel waits for whoever is just reading it. If a thread of ours waits there when we are
killed, nobody ever answers that read, our death never ends, and all who use the mount hang for good. So pages
are dropped only while nobody has the file open, when no read can be under way; who opens it waits meanwhile.
Of a file that is open the attributes alone are forgotten; its pages go when the last one closes. Attributes
alone are forgotten on the spot: for them the kernel waits for nobody.

To be given a page it waits likewise. So that is done, on the spot, only with the answer to the one open that
a file has, where no earlier process can have left a read unanswered.
"""

import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import trio

from keyfs.core.secret import Secret
from keyfs.core.tree import Facts, Kind, Node, Path
from keyfs.fs.inodes import Inodes
from keyfs.fs.pages import Admission, Pages

KEPT_S: Final = 10.0
"""How long names and attributes of keys are kept. Changes are told, so this only bounds what got lost."""
CLIENT_KEPT_S: Final = 60.0
"""The same for directories of clients: who lists very many comes to most of them late."""
FIXED_S: Final = 3600.0
"""The same for what is above the keys, and stays as long as the mount lives."""
BARE_S: Final = 5.0
SETTLED_WITHIN_S: Final = 1.0
SWEEP_LOT: Final = 200
AT_ONCE: Final = 16  # so many are forgotten on the spot; of more, others would notice
_FIXED: Final = frozenset({Kind.ROOT, Kind.PURPOSE, Kind.CONTROL_DIRECTORY})
_TOLD: Final = frozenset({Kind.CLIENT, Kind.KEY, Kind.VIEW, Kind.ROTATE})

PAGE: Final = 4096
Invalidate = Callable[[int, bool], None]  # a file, and whether its attributes alone are to be forgotten
Left = Callable[[], Iterable[int]]
Give = Callable[[int, int, bytes], None]  # a file, a place in it, and the bytes that are there


class _Given:
    """The times of files that were given out with attributes, for as long as the kernel may keep those."""

    def __init__(self) -> None:
        self._now: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._turn_s = 0.0

    def note(self, inode: int, mtime_ns: int) -> None:
        """It was given out now."""
        if trio.current_time() >= self._turn_s:
            self._now, self._before = {}, self._now
            self._turn_s = trio.current_time() + KEPT_S
        self._now[inode] = mtime_ns

    def agrees(self, inode: int, mtime_ns: int) -> bool:
        """Whether the kernel keeps no other time than this one."""
        known = self._now.get(inode)
        return mtime_ns == (self._before.get(inode, mtime_ns) if known is None else known)

    def drop(self, inode: int) -> None:
        """The kernel is told to forget it."""
        self._now.pop(inode, None)
        self._before.pop(inode, None)


class KernelCache:
    """Says what the kernel may keep, and takes it away.

    Args:
        inodes: knows which files the kernel refers to; asked each time, because a worker exchanges it.
        ttl_s: how long pages stay that nobody opens; 0 for no pages, names or attributes of keys.
    """

    def __init__(self, inodes: Callable[[], Inodes], ttl_s: float) -> None:
        self._inodes = inodes
        self._ttl_s = ttl_s
        self.pages = Pages(is_on=ttl_s > 0)
        self._bare: dict[Path, float] = {}
        self._given = _Given()
        self._due: dict[int, bool] = {}  # to be forgotten, and whether only attributes
        self._going: dict[int, bool] = {}  # being forgotten
        # The kernel did not know them when it was told: an answer with attributes may have been on its way.
        self._unsure: set[int] = set()
        self._arrived = trio.Event()
        self._settled = trio.Event()
        self._invalidate: Invalidate | None = None
        self._give: Give | None = None

    @property
    def keeps_keys(self) -> bool:
        """Whether the kernel keeps anything of keys. Their directories it keeps in any case."""
        return self.pages.is_on

    def shown(self, node: Node, inode: int, facts: Facts) -> tuple[Facts, float]:
        """What `stat` shows of a node that is as *facts* say, and for how long that is kept."""
        kind = node.kind
        if kind in _FIXED:
            return facts, FIXED_S
        # An own key changes its length, and who appends writes where the kernel believes the end to be.
        is_own = node.purpose is not None and node.purpose.own is not None
        if kind not in _TOLD or is_own:
            return facts, 0.0
        is_bare = bool(self._bare) and self._is_bare(node.path)
        if kind is Kind.CLIENT:  # no pages, and no version that an open could disagree with
            return facts, 0.0 if is_bare else CLIENT_KEPT_S
        if not self.keeps_keys:
            return facts, 0.0
        facts, may_keep = self.pages.length(inode, facts)
        if is_bare or not may_keep:
            return facts, 0.0
        self._given.note(inode, facts.mtime_ns)
        return facts, KEPT_S

    def bare(self, path: Path) -> bool:
        """For some seconds no name and no attribute of this path is kept; whether that was so already."""
        if not self.keeps_keys:
            return True
        now = trio.current_time()
        was = self._is_bare(path)
        self._bare = {other: until for other, until in self._bare.items() if until > now}
        self._bare[path] = now + BARE_S
        return was

    def stale(self, nodes: Iterable[Node]) -> None:
        """These have changed: `settled` tells when the kernel has forgotten them."""
        known = map(self._inodes().known_number, nodes)
        self._forget_all([inode for inode in known if inode is not None])

    def stale_everywhere(self) -> None:
        """Everything may have changed."""
        self._forget_all(list(self._inodes().numbers()))

    def unsure(self, inode: int) -> None:
        """The kernel may keep attributes that an earlier process gave out."""
        self._unsure.add(inode)

    def forgotten(self, inode: int) -> None:
        """The kernel does not refer to this file any more, and keeps nothing of it."""
        self.pages.forgotten(inode)
        self._unsure.discard(inode)
        self._given.drop(inode)

    def is_settled(self, inode: int, mtime_ns: int) -> bool:
        """Whether the kernel keeps nothing of the file but what belongs to the version of that time."""
        if not self.keeps_keys:
            return True
        if inode in self._due or inode in self._going or inode in self._unsure:
            return False
        # A change is in the index a moment before `stale` is told.
        return self._given.agrees(inode, mtime_ns)

    async def settle(self, inode: int, mtime_ns: int) -> None:
        """Return when `is_settled`, or when that takes too long."""
        if inode in self._unsure or not self._given.agrees(inode, mtime_ns):
            self._unsure.discard(inode)
            self.forget(inode)
        await self.settled()

    async def settled(self) -> None:
        """Return when the kernel has forgotten all that is stale by now, or when that takes too long."""
        with trio.move_on_after(SETTLED_WITHIN_S):
            while self._invalidate is not None and (self._due or self._going):
                await self._settled.wait()

    async def run(
        self,
        invalidate: Invalidate,
        left: Left | None = None,
        give: Give | None = None,
    ) -> None:
        """Have the kernel forget, for ever.

        Args:
            invalidate: makes the kernel forget a file; raises OSError with ENOENT for one it does not know.
            left: files of which an earlier process may have left something; None if there was none.
            give: puts bytes into the kernel's pages; raises OSError. None: it asks for all it needs, as it
                does after an earlier process: reads of that may still wait for us.
        """
        self._invalidate, self._give = invalidate, give if left is None else None
        async with trio.open_nursery() as nursery:
            if self.keeps_keys:
                nursery.start_soon(self._expire)
            if left is not None:
                nursery.start_soon(self._sweep, iter(left()))
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                self._going, self._due = self._due, {}
                self._are_unknown(
                    await trio.to_thread.run_sync(_each, invalidate, self._going, abandon_on_cancel=True)
                )
                self._going = {}
                self._settled.set()
                self._settled = trio.Event()

    def fill(self, inode: int, content: Secret, admission: Admission) -> Admission:
        """Give the kernel what an open that was just admitted will read, if that is safe; how it reads then.

        Like pages that are dropped, those that are given are waited for if a read of them is under way.
        """
        if self._give is None or len(content) > PAGE or not self.pages.may_fill(inode, admission):
            return admission
        try:
            self._give(inode, 0, content.reveal())
        except OSError:  # it will ask
            return admission
        self.pages.filled(inode)
        return admission._replace(keep=True)

    async def _expire(self) -> None:
        while True:
            await trio.sleep(self._ttl_s / 4)
            before = trio.current_time() - self._ttl_s
            for inode in self.pages.unused_since(before):
                self.forget(inode)

    def forget(self, inode: int) -> None:
        """Have the kernel forget one file; `settled` tells when."""
        self._forget_all((inode,))

    def closed(self, inode: int, admission: Admission) -> None:
        """An open for reading ended."""
        if self.pages.closed(inode, admission):
            self.forget(inode)

    def end_writing(self, inode: int) -> None:
        """A write handle was closed."""
        if self.pages.end_writing(inode):
            self.forget(inode)

    def _forget_all(self, inodes: Collection[int]) -> None:
        at_once = self._invalidate if len(inodes) <= AT_ONCE else None
        for inode in inodes:
            has_pages = self.pages.drop(inode)
            if has_pages or inode in self._due or at_once is None:
                self._forget(inode, has_pages=has_pages)
            else:
                self._given.drop(inode)
                self._are_unknown(_each(at_once, {inode: True}))

    def _are_unknown(self, inodes: Iterable[int]) -> None:
        self._unsure.update(filter(self._inodes().is_number, inodes))

    def _forget(self, inode: int, *, has_pages: bool) -> None:
        self._given.drop(inode)
        self._due[inode] = not has_pages and self._due.get(inode, True)
        self._arrived.set()

    async def _sweep(self, left: Iterator[int]) -> None:
        """Forget what an earlier process may have left: a lot at a time, so that no open waits for all."""
        while lot := await trio.to_thread.run_sync(
            lambda: list(islice(left, SWEEP_LOT)), abandon_on_cancel=True
        ):
            for inode in lot:
                self._forget(inode, has_pages=not self.pages.is_open(inode))
            await self.settled()

    def _is_bare(self, path: Path) -> bool:
        return self._bare.get(path, 0.0) > trio.current_time()


def _each(invalidate: Invalidate, inodes: Mapping[int, bool]) -> list[int]:
    """Have the kernel forget each; returns those that it does not know."""
    unknown = []
    for inode, is_attributes_only in inodes.items():
        try:
            invalidate(inode, is_attributes_only)
        except OSError as exc:
            if exc.errno == errno.ENOENT:
                unknown.append(inode)
    return unknown
