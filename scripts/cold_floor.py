"""The least that pyfuse3 costs: every name leads to the same 32 bytes, and nothing else is done.

Told its mountpoint as its argument; serves until it is unmounted.
"""

import errno
import stat
import sys

import pyfuse3
import trio

KEPT_S = 60.0
FILE = b"current"
BYTES = b"x" * 32


class Floor(pyfuse3.Operations):
    """Answers from memory; the kernel may keep names and attributes, and asks for each once."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[tuple[int, bytes], int] = {}

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Everything is there."""
        number = self._numbers.setdefault((parent_inode, name), len(self._numbers) + pyfuse3.ROOT_INODE + 1)
        return attributes(number, is_file=name == FILE)

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Only the root is asked for: of all others the kernel knows it already."""
        return attributes(inode, is_file=False)

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Every read comes here, as with keyfs."""
        return pyfuse3.FileInfo(fh=1, direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """The same bytes for all."""
        return BYTES[off : off + size]

    async def flush(self, fh: int) -> None:
        """The kernel asks no more."""
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def release(self, fh: int) -> None:
        """Nothing is held."""


def attributes(inode: int, *, is_file: bool) -> pyfuse3.EntryAttributes:
    """Of a file, or of a directory."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode
    entry.st_mode = (stat.S_IFREG | 0o400) if is_file else (stat.S_IFDIR | 0o500)
    entry.st_size = len(BYTES) if is_file else 0
    entry.entry_timeout = entry.attr_timeout = KEPT_S
    return entry


def main() -> None:
    """Mounts and serves."""
    pyfuse3.init(Floor(), sys.argv[1], {"fsname=floor", "ro"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
