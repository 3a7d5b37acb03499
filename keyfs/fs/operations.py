"""The pyfuse3 handlers. Each translates a request for the broker and its answer for the kernel."""

import logging

import trio

from keyfs.errors import KeyfsError
from keyfs.fs.attribute_handlers import AttributeHandlers
from keyfs.fs.directory_handlers import DirectoryHandlers
from keyfs.fs.file_handlers import FileHandlers
from keyfs.fs.name_handlers import NameHandlers
from keyfs.fs.nudge import Nudger
from keyfs.fs.outsider import Outsider
from keyfs.logs import event

_log = logging.getLogger(__name__)


class KeyfsOperations(FileHandlers, NameHandlers, DirectoryHandlers, AttributeHandlers):
    """The file system: all handlers on one `Scene`."""

    def wake_watchers(self, mountpoint: str, outsider: Outsider) -> None:
        """From now on wake inotify watchers under *mountpoint* when keys change by other hands."""
        self._scene.nudger = Nudger(mountpoint, outsider, self._scene.inodes.is_known)
        self._scene.broker.on_change(self._scene.nudger.tell)

    def between_requests(self) -> None:
        """What can wait until a caller has its answer. Never blocks, and raises nothing."""
        self._scene.broker.between_requests()
        try:
            self.make_ahead()
        except KeyfsError:
            pass  # who asks for it is told
        except Exception as exc:  # noqa: BLE001 - the boundary: anything raised here would end the mount
            event(_log, logging.ERROR, "request.bug", request="between", exc_info=exc)

    def expire_scratches(self) -> None:
        """Remove scratch files that nobody has used for long."""
        self._scene.scratches.expire(trio.current_time())
