"""From a node's facts to what the kernel wants to know."""

import stat
from typing import Final

import pyfuse3

from keyfs.core.policy import Ownership
from keyfs.core.tree import Facts, Kind, Node

BLOCK_SIZE: Final = 512
_TYPE: Final = {kind: stat.S_IFDIR if kind.is_directory else stat.S_IFREG for kind in Kind}


def entry_attributes(
    node: Node, facts: Facts, inode: int, owner: Ownership, kept_s: float
) -> pyfuse3.EntryAttributes:
    """The attributes of one node. The generation is always 0: a number means one path for ever.

    *owner* is who owns it if *facts* do not say who does; the kernel keeps all of it for *kept_s* seconds.
    """
    mode, size, mtime_ns, nlink, uid, gid = facts
    attr = pyfuse3.EntryAttributes()
    attr.st_ino = inode
    attr.entry_timeout = attr.attr_timeout = kept_s
    attr.st_mode = mode | _TYPE[node.kind]
    attr.st_nlink = nlink
    attr.st_uid = owner.uid if uid is None else uid
    attr.st_gid = owner.gid if gid is None else gid
    attr.st_size = size
    attr.st_blocks = -(-size // BLOCK_SIZE)
    attr.st_atime_ns = attr.st_ctime_ns = attr.st_mtime_ns = mtime_ns
    return attr


def dot_attributes(inode: int) -> pyfuse3.EntryAttributes:
    """Those of `.` and `..` in a listing, of which the kernel takes number and type."""
    attr = pyfuse3.EntryAttributes()
    attr.st_ino = inode
    attr.st_mode = stat.S_IFDIR
    return attr
