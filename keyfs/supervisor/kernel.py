"""The few words of the kernel's FUSE protocol that the supervisor itself speaks (linux/fuse.h)."""

import contextlib
import errno
import os
import select
import struct
from typing import Final

# len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding
_IN_HEADER: Final = struct.Struct("<IIQQIIIHH")
_OUT_HEADER: Final = struct.Struct("<IiQ")  # len, error, unique
_INIT: Final = 26
_NO_ANSWER: Final = frozenset({2, 36, 42})  # FORGET, INTERRUPT, BATCH_FORGET
_NOTIFY_RESEND: Final = 7
# As much as the largest request with the limits that libfuse sets; the kernel refuses to read into less.
_REQUEST_MAX: Final = (1 << 20) + (1 << 16)
_INIT_WITHIN_S: Final = 10.0


class NoInitError(Exception):
    """The kernel did not begin as it should."""


def read_init(device: int) -> bytes:
    """The kernel's first request, which comes only once, and to which nobody has answered yet.

    Raises:
        NoInitError: something else came, or nothing.
    """
    if not select.select([device], [], [], _INIT_WITHIN_S)[0]:
        raise NoInitError(f"the kernel sent nothing within {_INIT_WITHIN_S:.0f} s")
    try:
        request = os.read(device, _REQUEST_MAX)
    except OSError as exc:
        raise NoInitError(f"the kernel's first request: {exc.strerror}") from exc
    if _IN_HEADER.unpack_from(request)[1] != _INIT:
        raise NoInitError("the kernel's first request is no INIT")
    return request


def is_gone(device: int) -> bool:
    """Whether the mount has ended, or was aborted."""
    poll = select.poll()
    poll.register(device, 0)
    return bool(poll.poll(0))


def resend(device: int) -> None:
    """Have the kernel queue again what was taken and not answered. Before Linux 6.9 nothing happens."""
    with contextlib.suppress(OSError):
        os.write(device, _OUT_HEADER.pack(_OUT_HEADER.size, _NOTIFY_RESEND, 0))


def refuse_all(device: int) -> None:
    """Answer every request that waits with EIO: nobody else will, and callers must not hang for ever."""
    os.set_blocking(device, False)
    try:
        while (request := _next(device)) is not None:
            _refuse(device, request)
    finally:
        os.set_blocking(device, True)  # workers share this setting


def _refuse(device: int, request: bytes) -> None:
    _, opcode, unique, *_ = _IN_HEADER.unpack_from(request)
    if opcode not in _NO_ANSWER:
        with contextlib.suppress(OSError):  # its caller gave up meanwhile
            os.write(device, _OUT_HEADER.pack(_OUT_HEADER.size, -errno.EIO, unique))


def _next(device: int) -> bytes | None:
    while True:
        try:
            return os.read(device, _REQUEST_MAX)
        except OSError as exc:
            if exc.errno not in (errno.EINTR, errno.ENOENT):
                return None
