"""System calls that Python has no function for, by way of the C library; failures are `OSError`."""

import ctypes
import os
from typing import Final

AT_FDCWD: Final = -100
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc.readahead.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_size_t]
_libc.opendir.restype = ctypes.c_void_p
_libc.readdir64.restype = ctypes.c_void_p
_libc.telldir.restype = ctypes.c_long
for _name in ("readdir64", "telldir", "closedir", "rewinddir"):
    getattr(_libc, _name).argtypes = [ctypes.c_void_p]
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renameat2(source: str, target: str, flags: int) -> None:
    checked(_libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    checked(_libc.fallocate(fd, mode, offset, length))


def sync_file_range(fd: int) -> None:
    checked(_libc.sync_file_range(fd, 0, 0, 7))


def readahead(fd: int) -> None:
    checked(_libc.readahead(fd, 0, 4096))


def syncfs(fd: int) -> None:
    checked(_libc.syncfs(fd))


def statx_size(path: str) -> int:
    """The size that statx(2) tells, asked with all flags for a forced sync."""
    buffer = ctypes.create_string_buffer(256)
    checked(_libc.statx(AT_FDCWD, os.fsencode(path), 0x2000, 0xFFF, buffer))
    return int.from_bytes(buffer.raw[40:48], "little")


def eaccess(path: str, mode: int) -> None:
    """faccessat2(2) with the effective user."""
    checked(_libc.faccessat(AT_FDCWD, os.fsencode(path), mode, 0x200))


def name_to_handle(path: str) -> None:
    buffer = ctypes.create_string_buffer((128).to_bytes(4, "little"), 256)
    mount_id = ctypes.c_int()
    checked(_libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), buffer, ctypes.byref(mount_id), 0))


def inotify_watch(path: str) -> None:
    fd = checked(_libc.inotify_init1(0))
    checked(_libc.inotify_add_watch(fd, os.fsencode(path), 0xFFF))


def fanotify_mark(path: str) -> None:
    fd = checked(_libc.fanotify_init(0, 0))
    mask = ctypes.c_uint64(0x0000003B)
    checked(_libc.fanotify_mark(fd, 1, mask, AT_FDCWD, os.fsencode(path)))


def walk_back_and_forth(path: str) -> bool:
    """Whether the same names stand at each place that telldir(3) gave out when one goes back there."""
    directory = _libc.opendir(os.fsencode(path))
    if not directory:
        checked(-1)
    places, names = [], []
    while True:
        place, entry = _libc.telldir(directory), _libc.readdir64(directory)
        if not entry:
            break
        places.append(place)
        names.append(_name_of(entry))
    again = []
    for place in reversed(places):
        _libc.seekdir(directory, place)
        again.append(_name_of(_libc.readdir64(directory)))
    _libc.seekdir(directory, 1 << 40)  # far beyond the last one
    is_at_end = not _libc.readdir64(directory)
    _libc.closedir(directory)
    return is_at_end and again == names[::-1] and len(set(names)) == len(names)


def _name_of(entry: int) -> bytes:
    return ctypes.string_at(entry + 19)
