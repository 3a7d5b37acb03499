"""Opening a file to make one call on it; what close(2) answers counts, too."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

KEY: Final = b"K" * 32
HUGE: Final = 1 << 62
Call = Callable[[str], object]


@contextmanager
def opened(name: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """An open file; what close(2) answers counts, too."""
    fd = os.open(name, flags, 0o600)
    try:
        yield fd
    except BaseException:
        with_error(lambda: os.close(fd))
        raise
    os.close(fd)


def with_error(call: Callable[..., object], *arguments: object) -> str:
    """The errno of a call, or `ok`."""
    try:
        call(*arguments)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return "ok"


def opening(flags: int) -> Call:
    def call(name: str) -> None:
        with opened(name, flags):
            pass

    return call


def on(flags: int, do: Callable[[int], object]) -> Call:
    """Open the file, do something with it, close it."""

    def call(name: str) -> object:
        with opened(name, flags) as fd:
            return do(fd)

    return call


def reading(do: Callable[[int], object]) -> Call:
    return on(os.O_RDONLY, do)


def writing(do: Callable[[int], object]) -> Call:
    return on(os.O_WRONLY, do)


def editing(do: Callable[[int], object]) -> Call:
    return on(os.O_RDWR, do)


def how_much(fd: int, count: int) -> str:
    """A number of bytes, beside what fstat(2) says."""
    size = os.fstat(fd).st_size
    return "all" if count == size and count else "none" if count == 0 else f"{count} of {size}"
