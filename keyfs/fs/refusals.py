"""What a key store mounted as files does not do, each with one honest errno from memory."""

from errno import ENOTSUP

import pyfuse3
from pyfuse3 import ENOATTR, FUSEError

from keyfs.broker.broker import KeyBroker
from keyfs.core.policy import Ownership
from keyfs.errors import OperationRefused
from keyfs.fs.replies import METADATA_WITHIN_S, replies
from keyfs.fs.scene import Scene


class Refusals(pyfuse3.Operations):
    """The handlers that only refuse, and what all others have: the `Scene`.

    Args:
        broker: what answers.
        owner: who owns every file.
    """

    enable_writeback_cache = False
    supports_dot_lookup = False

    def __init__(self, broker: KeyBroker, owner: Ownership) -> None:
        super().__init__()
        self._scene = Scene(broker, owner)

    @replies(METADATA_WITHIN_S)
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """No devices, FIFOs or sockets."""
        raise OperationRefused("a key store holds only keys")

    @replies(METADATA_WITHIN_S)
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """No symbolic links."""
        raise OperationRefused("a key store holds only keys")

    @replies(METADATA_WITHIN_S)
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """No hard links."""
        raise OperationRefused("a key store holds only keys")

    @replies(METADATA_WITHIN_S)
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """ENOTSUP: `cp -p` and `install` accept that."""
        raise FUSEError(ENOTSUP)

    @replies(METADATA_WITHIN_S)
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """No extended attributes."""
        raise FUSEError(ENOATTR)
