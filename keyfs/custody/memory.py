"""Memory of its own for keys: in no core dump, not in swap where that can be had, in no forked child."""

import contextlib
import ctypes
import functools
import mmap
import os
import resource
import weakref
from typing import Final, Literal

from keyfs.core.secret import Secret

KeyMemory = Literal["memfd_secret", "mlock", "undumped", "ordinary"]
"""How well memory is kept, the best first.

memfd_secret(2): nobody but this process reaches it, not even root with a debugger, nor does it ever go to
swap. mlock(2): it does not go to swap, and no core dump contains it. Undumped: no core dump contains it.
"""

_MEMFD_SECRET: Final = 447  # the same number on every architecture that has the call
MADV_DONTFORK: Final = 10  # madvise(2); Python's mmap has its own constants, but no address
MADV_DONTDUMP: Final = 16
_MCL_CURRENT: Final = 1  # mlockall(2)
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_FAILED: Final = ctypes.c_void_p(-1).value
_PLACE: Final = (ctypes.c_void_p, ctypes.c_size_t)
_ZEROS: Final = "/dev/zero"


def held(material: bytes | bytearray | memoryview) -> Secret:
    """A copy of *material* in the best memory there is. Never raises.

    It is wiped and given back when the last view of it is gone. A process forked meanwhile has none of it,
    and ends with SIGSEGV if it looks.
    """
    room = allocate(len(material))
    room[:] = material
    return Secret.adopt(room)


def allocate(size: int) -> memoryview:
    """*size* writable zero bytes for `Secret.adopt`, in memory as `held` has it. Never raises."""
    for kind in ("memfd_secret", "mlock", "undumped"):
        room = _room(max(size, 1), kind)
        if room is not None:
            return room[:size]
    return memoryview(bytearray(size))


def key_memory() -> KeyMemory:
    """Where `held` puts a key now; later the limit for locked memory may be reached. Never raises."""
    kinds: tuple[KeyMemory, ...] = ("memfd_secret", "mlock", "undumped")
    return next((kind for kind in kinds if _room(1, kind) is not None), "ordinary")


def lock_memory() -> bool:
    """Keep all memory of this process, now and later, out of swap; whether that holds. Never raises.

    Only where no limit applies, by CAP_IPC_LOCK or RLIMIT_MEMLOCK: with a finite limit the lock could succeed
    now and make an allocation fail later.
    """
    libc = c_library()
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_free = hard == resource.RLIM_INFINITY
    try:
        # Under a limit of 0 it succeeds for the capability alone. That of a user namespace does not count.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard if is_free else 0, hard))
    except (OSError, ValueError):
        return False
    try:
        return libc is not None and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0
    finally:
        if not is_free:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))


def _room(size: int, kind: str) -> memoryview | None:
    libc = c_library()
    if libc is None:
        return None
    address = _map_secret(libc, size) if kind == "memfd_secret" else _map_private(libc, size, kind)
    if address is None:
        return None
    pages = (ctypes.c_ubyte * size).from_address(address)
    # Every view keeps *pages* alive. At exit nothing is done: a thread may still read.
    weakref.finalize(pages, _give_back, libc, address, size, os.getpid()).atexit = False
    room = memoryview(pages).cast("B")
    return room if _is_backed(room) else None


def _map_secret(libc: ctypes.CDLL, size: int) -> int | None:
    descriptor = secret_descriptor(libc)
    if descriptor is None:
        return None
    try:
        os.ftruncate(descriptor, size)
        address = map_pages(libc, size, mmap.MAP_SHARED, descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if address is not None:
        libc.madvise(address, size, MADV_DONTFORK)
    return address


def _map_private(libc: ctypes.CDLL, size: int, kind: str) -> int | None:
    address = map_pages(libc, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
    if address is None:
        return None
    is_kept = libc.madvise(address, size, MADV_DONTDUMP) == 0
    is_locked = kind == "undumped" or libc.mlock(address, size) == 0
    if is_kept and is_locked and libc.madvise(address, size, MADV_DONTFORK) == 0:
        return address
    libc.munmap(address, size)
    return None


def secret_descriptor(libc: ctypes.CDLL) -> int | None:
    """A descriptor of memfd_secret(2); None where there is no such call."""
    descriptor = libc.syscall(ctypes.c_long(_MEMFD_SECRET), ctypes.c_ulong(os.O_CLOEXEC))
    return None if descriptor < 0 else int(descriptor)


def map_pages(libc: ctypes.CDLL, size: int, flags: int, descriptor: int) -> int | None:
    """The address of mmap(2), readable and writable; None for a refusal."""
    address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, 0)
    return None if address in (None, _FAILED) else int(address)


def _is_backed(room: memoryview) -> bool:
    """Whether there are pages behind *room*, asked so that the answer is an error, not SIGBUS."""
    try:
        zeros = os.open(_ZEROS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.readv(zeros, [room]) == len(room)
        finally:
            os.close(zeros)
    except OSError:
        return False


def _give_back(libc: ctypes.CDLL, address: int, size: int, owner: int) -> None:
    if os.getpid() == owner:  # in a forked child nothing of ours is at that address
        ctypes.memset(address, 0, size)
        libc.munmap(address, size)


@functools.cache
def c_library() -> ctypes.CDLL | None:
    """The C library; None where it is not that of Linux."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (*_PLACE, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
        libc.munmap.argtypes = libc.mlock.argtypes = _PLACE
        libc.madvise.argtypes = (*_PLACE, ctypes.c_int)
        libc.mlockall.argtypes = (ctypes.c_int,)
        libc.syscall.restype = ctypes.c_long
    except (OSError, AttributeError):
        return None
    return libc
