"""Memory that several processes share by a descriptor, kept as well as `held` keeps a key."""

import contextlib
import ctypes
import mmap
import os

from keyfs.custody.memory import (
    MADV_DONTDUMP,
    MADV_DONTFORK,
    c_library,
    map_pages,
    secret_descriptor,
)


def create_area(size_bytes: int) -> tuple[int, memoryview]:
    """A descriptor for `map_area`, and its memory, all zeros: memfd_secret(2) where it works, else a memfd.

    The memory is there as long as any process has the descriptor.

    Raises:
        OSError: neither can be had.
    """
    library = c_library()
    descriptor = None if library is None else secret_descriptor(library)
    if descriptor is not None:
        with contextlib.suppress(OSError):  # more than may be locked
            os.ftruncate(descriptor, size_bytes)
            return descriptor, map_area(descriptor)
        os.close(descriptor)
    descriptor = os.memfd_create("keyfs", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size_bytes)
    return descriptor, map_area(descriptor)


def map_area(descriptor: int) -> memoryview:
    """The memory itself, for as long as this process lives; a forked child has none of it.

    Raises:
        OSError: the kernel refuses.
    """
    library = c_library()
    size = os.fstat(descriptor).st_size
    address = None if library is None else map_pages(library, size, mmap.MAP_SHARED, descriptor)
    if library is None or address is None:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    library.madvise(address, size, MADV_DONTFORK)
    library.madvise(address, size, MADV_DONTDUMP)
    library.mlock(address, size)  # as far as it is allowed
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")
