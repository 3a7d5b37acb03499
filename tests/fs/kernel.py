"""A stand-in for the kernel: requests to the handlers as pyfuse3 makes them, without a mount."""

import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pyfuse3
import pytest

from keyfs.core.policy import Ownership, Policy
from keyfs.fs.operations import KeyfsOperations
from keyfs.testing.builders import Keys, broker_on

OWNER_UID, OWNER_GID, OTHER = 4201, 4202, 4203


@dataclass(frozen=True, slots=True)
class Caller:
    """A `pyfuse3.RequestContext`; the real one cannot be filled in."""

    uid: int = OWNER_UID
    gid: int = OWNER_GID
    pid: int = os.getpid()
    umask: int = 0o022


@dataclass(frozen=True, slots=True)
class Fields:
    """A `pyfuse3.SetattrFields`; the real one cannot be filled in."""

    update_size: bool = False
    update_mode: bool = False
    update_uid: bool = False
    update_gid: bool = False
    update_mtime: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a listing, and where the listing goes on after it."""

    name: str
    inode: int
    next_id: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """Walks paths and makes requests; every lookup counts, as in the real kernel."""

    operations: KeyfsOperations
    caller: Caller = Caller()

    @property
    def ctx(self) -> pyfuse3.RequestContext:
        """Who asks."""
        return cast("pyfuse3.RequestContext", self.caller)

    def called_by(self, **facts: int) -> "Kernel":
        """The same mount, asked by somebody else."""
        return Kernel(self.operations, Caller(**facts))

    async def lookup(self, path: str) -> pyfuse3.EntryAttributes:
        """The attributes that a walk along *path* ends with."""
        inode = pyfuse3.ROOT_INODE
        attr = await self.operations.getattr(inode, self.ctx)
        for part in filter(None, path.split("/")):
            attr = await self.operations.lookup(inode, os.fsencode(part), self.ctx)
            inode = attr.st_ino
        return attr

    async def inode(self, path: str) -> int:
        """The inode number of *path*, with one more reference."""
        return (await self.lookup(path)).st_ino

    @asynccontextmanager
    async def opened(self, path: str, flags: int = os.O_RDONLY) -> AsyncIterator[int]:
        """An open file, flushed and released at the end as close(2) does."""
        info = await self.operations.open(await self.inode(path), flags, self.ctx)
        yield info.fh
        await self.operations.flush(info.fh)
        await self.operations.release(info.fh)

    async def read(self, path: str) -> bytes:
        """What `cat` shows."""
        async with self.opened(path) as fh:
            return await self.operations.read(fh, 0, 1 << 20)

    async def write(self, path: str, data: bytes) -> None:
        """What `echo > path` does."""
        async with self.opened(path, os.O_WRONLY | os.O_TRUNC) as fh:
            await self.operations.write(fh, 0, data)

    async def readdir(self, fh: int, start_id: int = 0, room: int = 1 << 30) -> list[Entry]:
        """What one request for a listing is answered, with room for so many entries."""
        entries: list[Entry] = []

        def reply(_: object, name: bytes, attr: pyfuse3.EntryAttributes, next_id: int) -> bool:
            if len(entries) < room:
                entries.append(Entry(os.fsdecode(name), attr.st_ino, next_id, attr.st_mtime_ns))
                return True
            return False

        with pytest.MonkeyPatch.context() as patch:
            # The real one fills a buffer that comes with a request of the real kernel.
            patch.setattr(pyfuse3, "readdir_reply", reply)
            await self.operations.readdir(fh, start_id, cast("Any", None))
        return entries

    async def names(self, path: str) -> list[str]:
        """What `ls -a` shows."""
        fh = await self.operations.opendir(await self.inode(path), self.ctx)
        entries: list[Entry] = []
        self.operations.between_requests()
        while more := await self.readdir(fh, entries[-1].next_id if entries else 0):
            entries += more
            self.operations.between_requests()
        await self.operations.releasedir(fh)
        return [entry.name for entry in entries]

    async def setattr(self, inode: int, fh: int | None = None, **values: int) -> pyfuse3.EntryAttributes:
        """Change the attributes named: `size`, `mode`, `uid`, `gid`, `mtime_ns`."""
        attr = pyfuse3.EntryAttributes()
        attr.st_mode = stat.S_IFREG
        for name, value in values.items():
            setattr(attr, f"st_{name}", value | stat.S_IFREG if name == "mode" else value)
        given = Fields(**{f"update_{name.removesuffix('_ns')}": True for name in values})
        return await self.operations.setattr(inode, attr, cast("Any", given), fh, self.ctx)


def kernel_on(keys: Keys, *, is_writable: bool = True, policy: Policy | None = None) -> Kernel:
    """A mount of *keys*, with nobody between the caller and the handlers."""
    broker = broker_on(keys.keys, keys.writer, is_writable=is_writable, policy=policy)
    return Kernel(KeyfsOperations(broker, Ownership(OWNER_UID, OWNER_GID)))


@contextmanager
def refused(answer: str) -> Iterator[None]:
    """The request inside is answered with this errno."""
    with pytest.raises(pyfuse3.FUSEError) as caught:
        yield
    assert caught.value.errno == getattr(errno, answer), caught.value
