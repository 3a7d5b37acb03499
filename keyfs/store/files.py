"""Durable steps on single files: read whole, write new, link, move. Each is one promise."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Final

from keyfs.errors import KeyNotFound, MaterialCorrupt
from keyfs.store.base import Blob, BlobStat, Page, Pages
from keyfs.store.facts import DIGEST_SIZE, pack_digest

DIRECTORY_MODE: Final = 0o700
# What link(2) says where the medium has no hard links (FAT: EPERM, CIFS: EOPNOTSUPP, some FUSE file systems:
# ENOSYS), has no more of them, or where the system allows none of another user's file.
NO_LINKS: Final = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
# Far above any key file; a larger one is not a key and is not loaded into memory.
SIZE_LIMIT: Final = 1 << 20
_IDENTITY: Final = struct.Struct("<4Q")
_64_BITS: Final = (1 << 64) - 1
PAGE_FILES: Final = 1000  # in one part of a listing
_AT_FDCWD: Final = ctypes.c_int(-100)  # linux/fcntl.h
_RENAME_EXCHANGE: Final = 2  # linux/fs.h
_STATX_MNT_ID: Final = 0x1000  # linux/stat.h, as what follows: a struct statx begins with its mask
_STATX_SIZE: Final = 256
_STATX_MASK: Final = struct.Struct("=I")
_STATX_MOUNT: Final = struct.Struct("=Q")
_STATX_MOUNT_AT: Final = 144
_libc: Final = ctypes.CDLL(None, use_errno=True)
# What renameat2(2) says where the file system, or the kernel, exchanges no files.
_NO_EXCHANGE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is to own new files: the owner of the key store, when keyfs runs as root."""

    uid: int
    gid: int


def owner_to_give(root: Path) -> Owner | None:
    """The owner new files need so that Acra can go on reading them; None when it is ours anyway."""
    facts = root.stat()
    if os.geteuid() != 0 or (facts.st_uid, facts.st_gid) == (os.geteuid(), os.getegid()):
        return None
    return Owner(facts.st_uid, facts.st_gid)


def blob_stat(facts: os.stat_result) -> BlobStat:
    """The facts of a regular file. A hard link has the same identity, a rewritten file another.

    The identity is a hash of them, because the index keeps a million of these.
    """
    return BlobStat(facts.st_size, facts.st_mtime_ns, permissions(facts), _digest(facts).hex())


def _digest(facts: os.stat_result) -> bytes:
    # A time may be anything that touch(1) can say, which is more than 64 bits; these tell any two apart.
    packed = _IDENTITY.pack(facts.st_dev, facts.st_ino, facts.st_mtime_ns & _64_BITS, facts.st_size)
    return blake2b(packed, digest_size=DIGEST_SIZE).digest()


def permissions(facts: os.stat_result) -> int:
    """The nine permission bits, which are all that Acra looks at.

    A directory made below a set-group-ID directory inherits that bit; it opens nothing to anyone.
    """
    return facts.st_mode & 0o777


def read_file(path: Path) -> Blob:
    """As `read_whole`, with what a store tells about exactly those bytes."""
    data, facts = read_whole(path)
    return Blob(data, blob_stat(facts))


def read_whole(path: Path) -> tuple[bytes, os.stat_result]:
    """All bytes of a regular file and the facts about exactly those bytes.

    Raises:
        OSError: as open(2) and read(2); ELOOP for a symbolic link.
        KeyNotFound: it is no regular file.
        MaterialCorrupt: it is larger than any key file.
    """
    # O_NONBLOCK: a FIFO that someone put in a key's place must not hang us.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise KeyNotFound(f"{path.name} is not a regular file")
        if facts.st_size > SIZE_LIMIT:
            raise MaterialCorrupt(f"{path.name} is no key file: {facts.st_size} bytes are too many for one")
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
            return file.readall(), facts
    finally:
        os.close(fd)


def write_new(path: Path, data: bytes, mode: int, mtime_ns: int, owner: Owner | None) -> None:
    """Create *path*, which must not exist, with these bytes on the medium when the call returns.

    Raises:
        OSError: as open(2), write(2), fsync(2).
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        if owner is not None:
            os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime_ns, mtime_ns))
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: as open(2) and fsync(2).
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def directory_mark(path: Path) -> object:
    """Which directory it is, and when it last changed; None if there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_ctime_ns


def make_directory(path: Path, owner: Owner | None) -> bool:
    """Make sure that the directory exists, with mode 0700 and durable if it is new; whether it is.

    Raises:
        OSError: as mkdir(2).
    """
    try:
        path.mkdir(DIRECTORY_MODE)
    except FileExistsError:
        return False
    path.chmod(DIRECTORY_MODE)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)
    sync_directory(path.parent)
    return True


def link(path: Path, target: Path) -> bool:
    """Give the file a second name *target*; False when it already has that name.

    Raises:
        FileExistsError: *target* is another file.
        OSError: as link(2); with an errno in `NO_LINKS` where a copy has to do.
    """
    try:
        os.link(path, target, follow_symlinks=False)
    except FileExistsError:
        if not target.samefile(path):
            raise
        return False
    return True


def publish(new: Path, path: Path, data: bytes) -> None:
    """Let *path* name the finished file *new*, which holds *data*, in one step where there are hard links.

    Raises:
        FileExistsError: *path* is there; it is left as it is.
        OSError: as link(2), write(2).
    """
    try:
        os.link(new, path, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in NO_LINKS:
            raise
        facts = new.stat()
        write_new(path, data, stat.S_IMODE(facts.st_mode), facts.st_mtime_ns, None)


def exchange(path: Path, other: Path) -> bool:
    """Let two files change places, in one step (renameat2(2)); False where that cannot be done.

    Raises:
        OSError: as rename(2); ENOENT if one of them is not there.
    """
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return False
    names = _AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(other)
    if call(*names, ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def files_in(path: Path, directory: str, subdirectories: list[str] | None = None) -> Pages:
    """The regular files in a directory that is called *directory* in names, with their facts.

    What is neither file nor directory is a stray; directories go to *subdirectories*.

    Raises:
        OSError: as opendir(3) and stat(2).
    """
    before = f"{directory}/" if directory else ""
    with os.scandir(path) as entries:
        while some := list(islice(entries, PAGE_FILES)):
            yield _page(some, before, subdirectories)


def _page(entries: Iterable[os.DirEntry[str]], before: str, subdirectories: list[str] | None) -> Page:
    page = Page({}, {})
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # renamed since: the watch tells
                continue
            told = pack_digest(facts.st_size, facts.st_mtime_ns, permissions(facts), _digest(facts))
            page.blobs[before + entry.name] = told
        elif not entry.is_dir(follow_symlinks=False):
            page.strays[before + entry.name] = "not a regular file"
        elif subdirectories is not None:
            subdirectories.append(before + entry.name)
    return page


def has_copy(directory: Path, blob: Blob) -> bool:
    """Whether a file in the directory is a copy of *blob*, with the same time.

    Raises:
        OSError: as opendir(3) and open(2).
    """
    with os.scandir(directory) as entries:
        found = [(Path(entry.path), entry.stat(follow_symlinks=False)) for entry in entries]
    return any(
        (facts.st_size, facts.st_mtime_ns) == (len(blob.data), blob.stat.mtime_ns)
        and stat.S_ISREG(facts.st_mode)
        and read_file(path).data == blob.data
        for path, facts in found
    )


def move_copy(path: Path, target: Path, owner: Owner | None) -> None:
    """Move a file where rename(2) cannot: its bytes are durable at *target* before it is removed here.

    Raises:
        FileExistsError: *target* exists.
        OSError: as open(2), write(2), unlink(2).
    """
    blob = read_file(path)
    write_new(target, blob.data, blob.stat.mode, blob.stat.mtime_ns or 0, owner)
    sync_directory(target.parent)
    path.unlink()


def mount_id(path: Path) -> int | None:
    """A number that two paths share exactly when rename(2) between them can work; None where nobody says it.

    Source: stx_mnt_id of statx(2), which Linux has since 5.8.

    Raises:
        OSError: as stat(2).
    """
    call = getattr(_libc, "statx", None)
    if call is None:
        return None
    facts = ctypes.create_string_buffer(_STATX_SIZE)
    if call(_AT_FDCWD, os.fsencode(path), 0, _STATX_MNT_ID, facts) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    (mask,) = _STATX_MASK.unpack_from(facts)
    (number,) = _STATX_MOUNT.unpack_from(facts, _STATX_MOUNT_AT)
    return int(number) if mask & _STATX_MNT_ID else None
