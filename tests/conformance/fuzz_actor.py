"""A process that does to a mount what the fuzz test tells it; it keeps files open between two commands.

A line of standard input is `[command, arguments…]` in JSON, the answer `["ok", result]` or
`["error", errno]`. Bytes travel as hexadecimal digits.
"""

import errno
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import libc_calls

KEPT: Final = 1 << 17


def put(path: str, flags: int, data: str) -> None:
    """Open, write, close; of several errors the first one."""
    fd = os.open(path, flags, 0o600)
    try:
        if data:
            os.write(fd, bytes.fromhex(data))
    except OSError:
        with suppress(OSError):
            os.close(fd)
        raise
    os.close(fd)


def replace(path: str, data: str) -> None:
    """As `cp --remove-destination`."""
    os.unlink(path)
    if os.path.lexists(path):
        raise OSError(errno.ENOTRECOVERABLE, "a removed name is still there")
    put(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, data)


def whole(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        size, content = os.fstat(file.fileno()).st_size, file.read(KEPT)
    if size != len(content):
        raise OSError(errno.EBADE, "stat and read differ")
    return content.hex()


def in_a_child(command: str, *arguments: object) -> object:
    """Done by a process of its own, so that what keyfs remembers of it is soon forgotten."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(answer(command, *arguments)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        how, result = json.loads(said.read())
    os.waitpid(child, 0)
    if how == "error":
        raise OSError(getattr(errno, result), result)
    return result


COMMANDS: dict[str, Callable[..., object]] = {
    "open": lambda path, flags: os.open(path, flags, 0o600),
    "close": os.close,
    "pread": lambda fd, size, offset: os.pread(fd, size, offset).hex(),
    "pwrite": lambda fd, data, offset: os.pwrite(fd, bytes.fromhex(data), offset),
    "ftruncate": os.ftruncate,
    "truncate": os.truncate,
    "fsync": os.fsync,
    "utime": os.utime,
    "put": put,
    "whole": whole,
    "listdir": lambda path: sorted(os.listdir(path)),
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "rename": libc_calls.renameat2,
    "replace": replace,
    "in_a_child": in_a_child,
}


def answer(command: str, *arguments: object) -> tuple[str, object]:
    try:
        return "ok", COMMANDS[command](*arguments)
    except OSError as exc:
        return "error", errno.errorcode[exc.errno or 0]


def main(directory: str) -> None:
    os.chdir(directory)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(*json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
