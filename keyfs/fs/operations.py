"""The pyfuse3 handlers. Each translates a request for the broker and its answer for the kernel."""

from typing import Final

import trio

from keyfs.fs.attribute_handlers import AttributeHandlers
from keyfs.fs.directory_handlers import DirectoryHandlers
from keyfs.fs.file_handlers import FileHandlers
from keyfs.fs.name_handlers import NameHandlers
from keyfs.fs.nudge import Nudger
from keyfs.fs.outsider import Outsider

EXPIRE_EVERY_S: Final = 30.0


class KeyfsOperations(FileHandlers, NameHandlers, DirectoryHandlers, AttributeHandlers):
    """The file system: all handlers on one `Scene`."""

    def wake_watchers(self, mountpoint: str, outsider: Outsider) -> None:
        """From now on wake inotify watchers under *mountpoint* when keys change by other hands."""
        self._scene.nudger = Nudger(mountpoint, outsider, self._scene.inodes.is_known)
        self._scene.broker.on_change(self._scene.nudger.tell)

    async def expire_scratches(self) -> None:
        """Remove scratch files that nobody uses any more; for ever."""
        while True:
            await trio.sleep(EXPIRE_EVERY_S)
            self._scene.scratches.expire(trio.current_time())
