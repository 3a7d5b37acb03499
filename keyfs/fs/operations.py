"""The pyfuse3 handlers. Each translates a request for the broker and its answer for the kernel."""

import trio

from keyfs.fs.attribute_handlers import AttributeHandlers
from keyfs.fs.directory_handlers import DirectoryHandlers
from keyfs.fs.file_handlers import FileHandlers
from keyfs.fs.name_handlers import NameHandlers
from keyfs.fs.nudge import Nudger
from keyfs.fs.outsider import Outsider


class KeyfsOperations(FileHandlers, NameHandlers, DirectoryHandlers, AttributeHandlers):
    """The file system: all handlers on one `Scene`."""

    def wake_watchers(self, mountpoint: str, outsider: Outsider) -> None:
        """From now on wake inotify watchers under *mountpoint* when keys change by other hands."""
        self._scene.nudger = Nudger(mountpoint, outsider, self._scene.inodes.is_known)
        self._scene.broker.on_change(self._scene.nudger.tell)

    def expire_scratches(self) -> None:
        """Remove scratch files that nobody has used for long."""
        self._scene.scratches.expire(trio.current_time())
