"""Waking inotify watchers after a change that did not come through an open file of this mount.

Neither a change behind the mount nor any FUSE notification makes an inotify event. A write through the
mount does: a worker thread opens the file, writes one byte and closes; the handler knows the thread and
discards the byte. Watchers see OPEN, MODIFY, CLOSE_WRITE, as after an editor's save. A directory in which
names came or went has its times touched: watchers see ATTRIB.
"""

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import trio

from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.tree import Node, client_node, purpose_node


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

    async def tell(self, refs: Collection[KeyRef]) -> None:
        """Wake the watchers of these keys' files and directories."""
        nodes = [client_node(ref) for ref in refs]
        files = [node for node in nodes if self._is_known(node)]
        directories = {purpose_node(ref.purpose) for ref in refs}
        await trio.to_thread.run_sync(
            self._touch, files, [node for node in directories if self._is_known(node)], abandon_on_cancel=True
        )

    def is_own(self, pid: int) -> bool:
        """Whether a request comes from a nudging thread (FUSE names the thread, not the process)."""
        return pid in self._threads

    def _touch(self, clients: list[Node], purposes: list[Node]) -> None:
        thread = threading.get_native_id()
        self._threads.add(thread)
        try:
            for node in clients:
                with suppress(OSError):  # gone meanwhile, or a read-only mount: nothing to wake
                    _write_one_byte(self._mountpoint / str(node) / CURRENT)
            for node in (*clients, *purposes):
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
