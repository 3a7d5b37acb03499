"""From a node's facts to what the kernel wants to know."""

import stat
from typing import Final

import pyfuse3

from keyfs.core.policy import Ownership
from keyfs.core.tree import Facts, Node

BLOCK_SIZE: Final = 512
_DIRECTORY: Final = stat.S_IFDIR
_FILE: Final = stat.S_IFREG


def entry_attributes(
    node: Node, facts: Facts, inode: int, owner: Ownership, kept_s: float
) -> pyfuse3.EntryAttributes:
    """The attributes of one node. The generation is always 0: a number means one path for ever.

    *owner* is the node's own; the kernel keeps all of it for *kept_s* seconds.
    """
    attr = pyfuse3.EntryAttributes()
    attr.st_ino = inode
    attr.generation = 0
    attr.entry_timeout = attr.attr_timeout = kept_s
    attr.st_mode = facts.mode | (_DIRECTORY if node.kind.is_directory else _FILE)
    attr.st_nlink = facts.nlink
    attr.st_uid = owner.uid
    attr.st_gid = owner.gid
    attr.st_size = facts.size
    attr.st_blksize = 4096
    attr.st_blocks = -(-facts.size // BLOCK_SIZE)
    attr.st_atime_ns = attr.st_ctime_ns = attr.st_mtime_ns = facts.mtime_ns
    return attr
