"""Operating-system errors become keyfs errors here and nowhere else."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from keyfs.errors import (
    AccessDenied,
    InvalidName,
    KeyfsError,
    KeyNotFound,
    ReadOnly,
    StoreFull,
    StoreUnavailable,
)

_BY_ERRNO: Final[dict[int, type[KeyfsError]]] = {
    errno.ENOENT: KeyNotFound,
    errno.ENOTDIR: KeyNotFound,
    errno.ELOOP: KeyNotFound,  # a symbolic link lies where a blob would: never followed
    errno.ENAMETOOLONG: InvalidName,
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: ReadOnly,
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
}


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn an `OSError` inside the block into the keyfs error that says what the caller can do.

    Args:
        doing: what was tried, for the message: a verb and a path.

    Raises:
        KeyNotFound, InvalidName, AccessDenied, ReadOnly, StoreFull, StoreUnavailable: by errno.
    """
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise _BY_ERRNO.get(exc.errno or 0, StoreUnavailable)(f"cannot {doing}: {reason}") from exc


def attempt(action: Callable[[], None]) -> None:
    """Do what may fail with no harm."""
    with suppress(OSError):
        action()
