"""What a program can do with the content of a file: every call that the conformance table has a row for.

Each gets a name in the working directory. What it returns is compared with the table, as text; an `OSError`
is its errno.
"""

import fcntl
import mmap
import os
import select
import struct
from collections.abc import Callable
from functools import partial

import libc_calls as libc
from opened_files import HUGE, KEY, Call, editing, how_much, on, opened, opening, reading, writing


def read_by(do: Callable[[int], bytes]) -> Call:
    return reading(lambda fd: how_much(fd, len(do(fd))))


def readv(fd: int) -> str:
    buffers = [bytearray(7), bytearray(0), bytearray(4000)]
    return how_much(fd, os.readv(fd, buffers))


def in_pieces(fd: int) -> str:
    count = 0
    while os.read(fd, 1):
        count += 1
    return how_much(fd, count)


def direct_read(name: str) -> str:
    with opened(name, os.O_RDONLY | os.O_DIRECT) as fd, mmap.mmap(-1, 1 << 16) as page:
        return how_much(fd, os.readv(fd, [page]))


def mapped(flags: int, share: int, protection: int, touch: Callable[[mmap.mmap], object]) -> Call:
    def call(name: str) -> object:
        with opened(name, flags) as fd, mmap.mmap(fd, 0, share, protection) as view:
            return touch(view)

    return call


def is_as_read(share: int, name: str) -> str:
    with opened(name) as fd, mmap.mmap(fd, 0, share, mmap.PROT_READ) as view:
        return "all" if view[:] == os.pread(fd, 1 << 20, 0) else "other bytes"


def poke(view: mmap.mmap) -> None:
    view[0] = 0x4B


def sent(name: str) -> str:
    with opened(name) as fd:
        target = os.memfd_create("target")
        return how_much(fd, os.sendfile(target, fd, 0, 1 << 20))


def sent_into(name: str) -> int:
    source = os.memfd_create("source")
    os.write(source, KEY)
    with opened(name, os.O_WRONLY | os.O_TRUNC) as fd:
        return os.sendfile(fd, source, 0, 100)


def spliced(name: str) -> str:
    _reader, writer = os.pipe()
    with opened(name) as fd:
        return how_much(fd, os.splice(fd, writer, 1 << 15))


def spliced_into(name: str) -> int:
    reader, writer = os.pipe()
    os.write(writer, KEY)
    with opened(name, os.O_WRONLY | os.O_TRUNC) as fd:
        return os.splice(reader, fd, len(KEY))


def copied_out(name: str) -> int:
    with opened(name) as fd:
        return os.copy_file_range(fd, os.memfd_create("target"), 100)


def copied_in(name: str) -> int:
    source = os.memfd_create("source")
    os.write(source, KEY)
    with opened(name, os.O_WRONLY | os.O_TRUNC) as fd:
        return os.copy_file_range(source, fd, 100)


def copied_beside(name: str) -> str:
    with opened(name) as fd, opened("copy", os.O_RDWR | os.O_CREAT) as target:
        return how_much(fd, os.copy_file_range(fd, target, 1 << 16))


def copied_from_beside(name: str) -> int:
    with opened("copy", os.O_RDWR | os.O_CREAT) as source:
        os.write(source, KEY)
        with opened(name, os.O_WRONLY | os.O_TRUNC) as fd:
            return os.copy_file_range(source, fd, 100, 0)


def ftruncated(size: int) -> Call:
    return editing(lambda fd: os.ftruncate(fd, size))


def truncated(size: int) -> Call:
    return lambda name: os.truncate(name, size)


def end(fd: int) -> str:
    return how_much(fd, os.lseek(fd, 0, os.SEEK_END))


def beyond(fd: int) -> str:
    os.lseek(fd, HUGE, os.SEEK_SET)
    return how_much(fd, len(os.read(fd, 100)))


def polled(name: str) -> str:
    with opened(name) as fd:
        poller = select.poll()
        poller.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
        return "+".join(
            word
            for word in ("IN", "OUT", "PRI", "ERR")
            if dict(poller.poll(0)).get(fd, 0) & getattr(select, f"POLL{word}")
        )


def selected(name: str) -> str:
    with opened(name) as fd:
        return "/".join(str(len(ready)) for ready in select.select([fd], [fd], [fd], 0))


def epolled(name: str) -> int:
    with opened(name) as fd, select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        return len(epoll.poll(0))


def locked(fd: int, command: int, kind: int) -> None:
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))


R, W, RW, T, A = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_APPEND
PRIVATE, SHARED = mmap.MAP_PRIVATE, mmap.MAP_SHARED
WRITABLE = mmap.PROT_READ | mmap.PROT_WRITE

CALLS: dict[str, Call] = {
    "open RDONLY": opening(R),
    "open WRONLY": opening(W),
    "open RDWR": opening(RW),
    "open RDONLY|TRUNC": opening(R | T),
    "open WRONLY|TRUNC": opening(W | T),
    "open WRONLY|APPEND": opening(W | A),
    "open WRONLY|CREAT": opening(W | os.O_CREAT),
    "open WRONLY|CREAT|EXCL": opening(W | os.O_CREAT | os.O_EXCL),
    "open RDONLY|CREAT": opening(R | os.O_CREAT),
    "open RDWR|SYNC": opening(RW | os.O_SYNC),
    "open DIRECT": opening(R | os.O_DIRECT),
    "open DIRECTORY": opening(R | os.O_DIRECTORY),
    "open NOFOLLOW": opening(R | os.O_NOFOLLOW),
    "open NOATIME": opening(R | os.O_NOATIME),
    "open NONBLOCK": opening(R | os.O_NONBLOCK),
    "open PATH": opening(os.O_PATH),
    "open TMPFILE": opening(RW | os.O_TMPFILE),
    "read": read_by(lambda fd: os.read(fd, 1 << 20)),
    "read in bytes": reading(in_pieces),
    "readv": reading(readv),
    "read DIRECT": direct_read,
    "read nothing": read_by(lambda fd: os.read(fd, 0)),
    "pread beyond the end": read_by(lambda fd: os.pread(fd, 100, 1 << 20)),
    "pread at 2**62": read_by(lambda fd: os.pread(fd, 100, HUGE)),
    "pread at -1": read_by(lambda fd: os.pread(fd, 100, -1)),
    "read what is open to write": writing(lambda fd: os.read(fd, 1)),
    "write what is open to read": reading(lambda fd: os.write(fd, KEY)),
    "write a key": on(W | T, lambda fd: os.write(fd, KEY)),
    "write a key in place": editing(lambda fd: os.write(fd, KEY[::-1])),
    "writev a key": on(W | T, lambda fd: os.writev(fd, [KEY[:5], b"", KEY[5:]])),
    "write nothing": on(W | T, lambda fd: os.write(fd, b"")),
    "write one byte": on(W | T, lambda fd: os.write(fd, b"K")),
    "write 1 MiB": on(W | T, lambda fd: os.write(fd, bytes(1 << 20))),
    "write 2 MiB": on(W | T, lambda fd: [os.write(fd, bytes(1 << 20)), os.write(fd, bytes(1 << 20))][0]),
    "append one byte": on(W | A, lambda fd: os.write(fd, b"K")),
    "pwrite at 2**62": writing(lambda fd: os.pwrite(fd, b"K", HUGE)),
    "pwrite at -1": writing(lambda fd: os.pwrite(fd, b"K", -1)),
    "truncate to 0": truncated(0),
    "truncate to 10": truncated(10),
    "truncate to 1000": truncated(1000),
    "truncate to -1": truncated(-1),
    "truncate to 2**62": truncated(HUGE),
    "ftruncate to 0": ftruncated(0),
    "ftruncate to 10": ftruncated(10),
    "ftruncate to 1000": ftruncated(1000),
    "ftruncate to -1": ftruncated(-1),
    "ftruncate to 2**62": ftruncated(HUGE),
    "ftruncate what is open to read": reading(lambda fd: os.ftruncate(fd, 0)),
    "fsync": reading(os.fsync),
    "fsync what is open to write": writing(os.fsync),
    "fdatasync": reading(os.fdatasync),
    "syncfs": reading(libc.syncfs),
    "sync_file_range": reading(libc.sync_file_range),
    "lseek to the end": reading(end),
    "lseek beyond, and read": reading(beyond),
    "lseek to -1": reading(lambda fd: os.lseek(fd, -1, os.SEEK_SET)),
    "lseek DATA": reading(lambda fd: os.lseek(fd, 0, os.SEEK_DATA)),
    "lseek DATA beyond": reading(lambda fd: os.lseek(fd, 1 << 20, os.SEEK_DATA)),
    "lseek HOLE": reading(lambda fd: how_much(fd, os.lseek(fd, 0, os.SEEK_HOLE))),
    "mmap private": partial(is_as_read, PRIVATE),
    "mmap private, write": mapped(R, PRIVATE, WRITABLE, poke),
    "mmap shared": partial(is_as_read, SHARED),
    "mmap shared, write": mapped(RW, SHARED, WRITABLE, poke),
    "sendfile from it": sent,
    "sendfile into it": sent_into,
    "splice from it": spliced,
    "splice into it": spliced_into,
    "copy_file_range to elsewhere": copied_out,
    "copy_file_range from elsewhere": copied_in,
    "copy_file_range to beside": copied_beside,
    "copy_file_range from beside": copied_from_beside,
    "fallocate": writing(lambda fd: libc.fallocate(fd, 0, 0, 100)),
    "fallocate PUNCH_HOLE": writing(lambda fd: libc.fallocate(fd, 3, 0, 10)),
    "fallocate ZERO_RANGE": writing(lambda fd: libc.fallocate(fd, 0x10, 0, 10)),
    "posix_fadvise": reading(lambda fd: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)),
    "readahead": reading(libc.readahead),
    "flock SH": reading(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH)),
    "flock EX": reading(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
    "fcntl lock to read": reading(lambda fd: locked(fd, fcntl.F_SETLK, fcntl.F_RDLCK)),
    "fcntl lock to write": editing(lambda fd: locked(fd, fcntl.F_SETLK, fcntl.F_WRLCK)),
    "fcntl OFD lock": reading(lambda fd: locked(fd, fcntl.F_OFD_SETLK, fcntl.F_RDLCK)),
    "fcntl SETLEASE": reading(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
    "ioctl, unknown": reading(lambda fd: fcntl.ioctl(fd, 0x12345678)),
    "ioctl TCGETS": reading(lambda fd: fcntl.ioctl(fd, 0x5401, bytes(64))),
    "ioctl GETFLAGS": reading(lambda fd: fcntl.ioctl(fd, 0x80086601, bytes(8))),
    "ioctl FICLONE": writing(lambda fd: fcntl.ioctl(fd, 0x40049409, os.memfd_create("x"))),
    "poll": polled,
    "select": selected,
    "epoll": epolled,
}
