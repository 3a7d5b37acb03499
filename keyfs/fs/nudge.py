"""Waking inotify watchers after a change that did not come through an open file of this mount.

Neither a change behind the mount nor any FUSE notification makes an inotify event. A write through the
mount does: a process of ours (see `outsider`) opens the file, writes one byte and closes; the handler
knows the process and discards the byte. Watchers see OPEN, MODIFY, CLOSE_WRITE, as after an editor's save.
A directory in which names came or went has its times touched: watchers see ATTRIB.

On a read-only mount the kernel refuses all of that, and watchers are not woken: open the file again, or poll.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import trio

from keyfs.core.names import CURRENT
from keyfs.core.tree import Node, parent_of
from keyfs.fs.outsider import Outsider


class Nudger:
    """Touches files of our own mount.

    Args:
        mountpoint: where it is.
        outsider: who touches them.
        is_known: whether the kernel refers to a node; nobody can watch what it does not.
    """

    def __init__(self, mountpoint: str, outsider: Outsider, is_known: Callable[[Node], bool]) -> None:
        self._mountpoint = Path(mountpoint)
        self._outsider = outsider
        self._is_known = is_known

    async def tell(self, nodes: Collection[Node]) -> None:
        """Wake the watchers of these key files, as far as they are current, and of the directories above."""
        clients = {parent_of(node) for node in nodes}
        directories = clients | {parent_of(client) for client in clients}
        files = [node for node in nodes if node.version == CURRENT]
        await trio.to_thread.run_sync(
            self._touch,
            list(filter(self._is_known, files)),
            list(filter(self._is_known, directories)),
            abandon_on_cancel=True,
        )

    def is_own(self, pid: int) -> bool:
        """Whether a request is one of ours."""
        return self._outsider.is_pid(pid)

    def _touch(self, files: list[Node], directories: list[Node]) -> None:
        """What fails is gone meanwhile: nothing to wake."""
        for node in files:
            self._outsider.ask("w", self._mountpoint / str(node))
        for node in directories:
            self._outsider.ask("t", self._mountpoint / str(node))
