"""The floor for a file system on pyfuse3 and trio: what empty_daemon.c is, and serves, in Python.

python empty_program.py [--direct-io] MOUNTPOINT
"""

import argparse
import errno
import os
import stat
from typing import Final

import pyfuse3
import trio

KEPT_S: Final = 3600.0
NAME_BELOW: Final = {pyfuse3.ROOT_INODE: b"storage-sym", 2: b"alice1", 3: b"current"}
NAMES: Final = {(parent, name): parent + 1 for parent, name in NAME_BELOW.items()}
FILE_INODE: Final = 4
BYTES: Final = b"these are 32 bytes, as a key has"


def attributes_of(inode: int) -> pyfuse3.EntryAttributes:
    """One node's."""
    found = pyfuse3.EntryAttributes()
    found.st_ino = pyfuse3.InodeT(inode)
    found.attr_timeout = found.entry_timeout = KEPT_S
    is_file = inode == FILE_INODE
    found.st_mode = pyfuse3.ModeT(stat.S_IFREG | 0o400 if is_file else stat.S_IFDIR | 0o555)
    found.st_nlink = 1 if is_file else 2
    found.st_size = len(BYTES) if is_file else 0
    return found


class EmptyOperations(pyfuse3.Operations):
    """The handlers that a read needs, and nothing in them."""

    def __init__(self, *, direct_io: bool) -> None:
        super().__init__()
        self._opened = pyfuse3.FileInfo(
            fh=pyfuse3.FileHandleT(0), direct_io=direct_io, keep_cache=not direct_io
        )

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """A name's node."""
        if (inode := NAMES.get((parent_inode, name))) is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return attributes_of(inode)

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext | None = None
    ) -> pyfuse3.EntryAttributes:
        """A node's attributes."""
        return attributes_of(inode)

    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        """A directory is its own handle."""
        return pyfuse3.FileHandleT(inode)

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Each has one entry."""
        if start_id == 0:
            pyfuse3.readdir_reply(token, NAME_BELOW[fh], attributes_of(fh + 1), 1)

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        """Nothing to forget."""

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        """Always the same answer."""
        return self._opened

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """Always the same bytes."""
        return BYTES[off : off + size]

    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        """Never asked for again."""
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        """Nothing to forget."""


def main() -> None:
    """Mounts, and answers until unmounted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--direct-io", action="store_true")
    parser.add_argument("mountpoint")
    given = parser.parse_args()
    operations = EmptyOperations(direct_io=given.direct_io)
    pyfuse3.init(operations, os.fspath(given.mountpoint), {"fsname=empty", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
