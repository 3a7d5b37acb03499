"""From a node's facts to what the kernel wants to know."""

import stat
from typing import Final

import pyfuse3

from keyfs.core.policy import Ownership
from keyfs.core.tree import Facts, Kind, Node

BLOCK_SIZE: Final = 512
# Keys may change at any moment by other hands, so the kernel keeps neither their names nor their sizes.
# What is above them is the same as long as the mount lives.
CHANGING_S: Final = 0.0
FIXED_S: Final = 3600.0
_FIXED: Final = frozenset({Kind.ROOT, Kind.PURPOSE, Kind.CONTROL_DIRECTORY})


def entry_attributes(node: Node, facts: Facts, inode: int, owner: Ownership) -> pyfuse3.EntryAttributes:
    """The attributes of one node. The generation is always 0: a number means one path for ever.

    *owner* is the node's own.
    """
    attr = pyfuse3.EntryAttributes()
    attr.st_ino = inode
    attr.generation = 0
    attr.entry_timeout = attr.attr_timeout = FIXED_S if node.kind in _FIXED else CHANGING_S
    attr.st_mode = facts.mode | (stat.S_IFDIR if node.kind.is_directory else stat.S_IFREG)
    attr.st_nlink = facts.nlink
    attr.st_uid = owner.uid
    attr.st_gid = owner.gid
    attr.st_size = facts.size
    attr.st_blksize = 4096
    attr.st_blocks = -(-facts.size // BLOCK_SIZE)
    attr.st_atime_ns = attr.st_ctime_ns = attr.st_mtime_ns = facts.mtime_ns
    return attr
