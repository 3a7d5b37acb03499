"""What a key store mounted as files does not do, each with one honest errno from memory."""

import pyfuse3

from keyfs.broker.broker import KeyBroker
from keyfs.core.policy import Ownership
from keyfs.errors import OperationRefused
from keyfs.fs.handles import DirectoryHandle
from keyfs.fs.replies import METADATA_WITHIN_S, replies
from keyfs.fs.scene import Scene


class Refusals(pyfuse3.Operations):
    """The handlers that only refuse, and what all others have: the `Scene`.

    Args:
        broker: what answers.
        owner: who owns every file of which no rule says who does.
        ttl_s: how long the kernel may keep plaintext that nobody opens; 0 for never.
    """

    enable_writeback_cache = False
    supports_dot_lookup = False

    def __init__(self, broker: KeyBroker, owner: Ownership, ttl_s: float = 0.0) -> None:
        super().__init__()
        self.broker = broker
        self._scene = Scene(broker, owner, ttl_s)
        self._asked_next: tuple[DirectoryHandle, int] | None = None  # a listing, and where it goes on

    @property
    def scene(self) -> Scene:
        """What all handlers share."""
        return self._scene

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
