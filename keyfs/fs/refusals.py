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
    """The handlers that only refuse. Keys are made by `keyfs generate` and destroyed by `keyfs destroy`.

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
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Removing a name never destroys a key."""
        raise OperationRefused("rm destroys no key: use keyfs destroy PURPOSE/CLIENT/VERSION")

    @replies(METADATA_WITHIN_S)
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Directories follow the keys."""
        raise OperationRefused("directories follow the keys in them")

    @replies(METADATA_WITHIN_S)
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Directories follow the keys."""
        raise OperationRefused("make a key with keyfs generate PURPOSE/CLIENT")

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
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Names of keys are fixed."""
        raise OperationRefused("names of keys are fixed")

    @replies(METADATA_WITHIN_S)
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        """ENOTSUP: `cp -p` and `install` accept that."""
        raise FUSEError(ENOTSUP)

    @replies(METADATA_WITHIN_S)
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """No extended attributes."""
        raise FUSEError(ENOATTR)
