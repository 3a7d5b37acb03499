"""The least that keyfs's requests cost on pyfuse3 and trio: the same tree and requests, nothing of keyfs.

    python -m benchmarking.floor_program [OPTION...] MOUNTPOINT

Every client has one file, `current`, that reads as the same 32 bytes. It waits for requests as keyfs does
(`keyfs/fs/turns.py`), which takes less than pyfuse3 takes by itself. With --rotates, who writes `current` and
closes it has made the steps of the plain script (`plain_rotation.py`) in that folder, in a thread. With
--reads, each open fetches and opens the client's key (`plain_get.py`), on the spot. With --strict the kernel
keeps nothing of the file, and asks at every close(2), as with `keyfs mount --direct-io`. With --untaught it
waits for requests as pyfuse3 does by itself.
"""

import argparse
import base64
import errno
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from benchmarking.plain_get import reading_from
from benchmarking.plain_rotation import rotate_file
from keyfs.core.secret import Secret
from keyfs.fs import turns
from keyfs.seal.base import Sealer
from keyfs.seal.registry import open_sealer

KEPT_S: Final = 3600.0
PURPOSE_INODE: Final = 2
CLIENTS: Final = 4  # inodes: a client's is a multiple of this, its file's comes next
PURPOSE, FILE, ONE_CLIENT = b"storage-sym", b"current", "alice1"
BYTES: Final = b"these are 32 bytes, as a key has"


class Floor(pyfuse3.Operations):
    """Answers from nothing; the kernel may keep names and attributes, and asks for each once.

    Args:
        clients: that a listing shows; any name leads to one.
        rotate: is given what was written, in a thread.
        read: gives the key of a client; None where all have the same.
        is_strict: see above.
    """

    def __init__(
        self,
        clients: int,
        rotate: Callable[[bytes], object] | None = None,
        read: Callable[[str], bytes] | None = None,
        *,
        is_strict: bool = False,
    ) -> None:
        super().__init__()
        self._names = [f"client-{number:07}".encode() for number in range(clients)]
        self._numbers: dict[bytes, int] = {}
        self._clients: list[bytes] = []
        self._rotate = rotate
        self._read = read
        self._key = BYTES
        self._written = b""
        self._is_strict = is_strict
        self._entry = pyfuse3.EntryAttributes()

    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Everything is there."""
        if parent_inode == pyfuse3.ROOT_INODE:
            return self._attributes(PURPOSE_INODE)
        if parent_inode != PURPOSE_INODE:
            return self._attributes(parent_inode + 1)
        return self._attributes(self._number(name))

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """What the kernel does not know from an answer before."""
        return self._attributes(inode)

    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Who opens to write cuts first."""
        return self._attributes(inode)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A directory is its own handle."""
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """All clients, or a client's file."""
        names = self._names if fh == PURPOSE_INODE else [FILE]
        for index in range(start_id, len(names)):
            inode = self._number(names[index]) if fh == PURPOSE_INODE else fh + 1
            if not pyfuse3.readdir_reply(token, names[index], self._attributes(inode), index + 1):
                return

    async def releasedir(self, fh: int) -> None:
        """Nothing is held."""

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Every read and write comes here, as with a key that was never read."""
        if self._read is not None:
            self._key = self._read(self._clients[inode // CLIENTS - 1].decode())
        return pyfuse3.FileInfo(fh=1, direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        """What was opened last; nobody compares."""
        return self._key[off : off + size]

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Kept until the file is closed."""
        self._written = bytes(buf)
        return len(buf)

    async def flush(self, fh: int) -> None:
        """close(2) is answered when the next version is there; on a read-only mount it is asked once."""
        if self._rotate is None and not self._is_strict:
            raise pyfuse3.FUSEError(errno.ENOSYS)
        if self._rotate is not None and self._written:
            await trio.to_thread.run_sync(self._rotate, self._written)

    async def release(self, fh: int) -> None:
        """Nothing is held."""

    def _number(self, name: bytes) -> int:
        number = self._numbers.get(name)
        if number is None:
            self._clients.append(name)
            number = self._numbers[name] = CLIENTS * len(self._clients)
        return number

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        is_file = inode % CLIENTS == 1 and inode != pyfuse3.ROOT_INODE
        entry = self._entry
        entry.st_ino = inode
        is_kept = not (is_file and self._is_strict)
        entry.entry_timeout = entry.attr_timeout = KEPT_S if is_kept else 0.0
        entry.st_mode = (stat.S_IFREG | 0o600) if is_file else (stat.S_IFDIR | 0o700)
        entry.st_size = len(BYTES) if is_file else 0
        return entry


def sealer_under(master_key: Path) -> Sealer:
    """Opens and seals what is under the master key in this file."""
    return open_sealer(Secret(base64.b64decode(master_key.read_text())))


def rotation_in(folder: Path, sealer: Sealer) -> Callable[[bytes], object]:
    """The plain script's, of one key."""
    return partial(rotate_file, folder / f"{ONE_CLIENT}_storage_sym", ONE_CLIENT, sealer)


def main() -> None:
    """Mounts, and answers until unmounted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--untaught", action="store_true")
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--rotates", type=Path)
    parser.add_argument("--reads")
    parser.add_argument("--master-key", type=Path)
    parser.add_argument("mountpoint")
    given = parser.parse_args()
    rotate = None if given.rotates is None else rotation_in(given.rotates, sealer_under(given.master_key))
    read = None if given.reads is None else reading_from(given.reads, sealer_under(given.master_key))
    options = {"fsname=floor", *(() if rotate or given.strict else ("ro",))}
    if not given.untaught:
        turns.take()
    pyfuse3.init(Floor(given.clients, rotate, read, is_strict=given.strict), given.mountpoint, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
