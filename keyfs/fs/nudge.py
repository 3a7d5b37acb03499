"""Waking inotify watchers after a change that did not come through an open file of this mount.

Neither a change behind the mount nor any FUSE notification makes an inotify event. A write through the
mount does: a worker thread opens the file, writes one byte and closes; the handler knows the thread and
discards the byte. Watchers see OPEN, MODIFY, CLOSE_WRITE, as after an editor's save. A directory in which
names came or went has its times touched: watchers see ATTRIB.

On a read-only mount the kernel refuses all of that, and watchers are not woken: open the file again, or poll.
"""

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import trio

from keyfs.core.names import CURRENT
from keyfs.core.tree import Node, parent_of


class Nudger:
    """Touches files of our own mount.

    Args:
        mountpoint: where it is.
        is_known: whether the kernel refers to a node; nobody can watch what it does not.
    """

    def __init__(self, mountpoint: str, is_known: Callable[[Node], bool]) -> None:
        self._mountpoint = Path(mountpoint)
        self._is_known = is_known
        self._threads: set[int] = set()

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
        """Whether a request comes from a nudging thread (FUSE names the thread, not the process)."""
        return pid in self._threads

    def _touch(self, files: list[Node], directories: list[Node]) -> None:
        thread = threading.get_native_id()
        self._threads.add(thread)
        try:
            for node in files:
                with suppress(OSError):  # gone meanwhile, or a read-only mount: nothing to wake
                    _write_one_byte(self._mountpoint / str(node))
            for node in directories:
                with suppress(OSError):
                    os.utime(self._mountpoint / str(node))
        finally:
            self._threads.discard(thread)


def _write_one_byte(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, b"\0")
    finally:
        os.close(fd)
