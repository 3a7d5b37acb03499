"""`file:PATH`: the master key in a file that only its owner can read."""

import os
import select
import shlex
import stat
import time
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import allocate
from keyfs.errors import InsecurePermissions, InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode

OTHERS: Final = 0o077
"""The mode bits of everybody but the owner."""

SIZE_LIMIT: Final = (
    64 * 1024
)  # guessed: a v2 key is some 200 characters; wrapping and long keys have ample room


class FileMasterKey:
    """Reads the base64 text that ACRA_MASTER_KEY would hold from a file, anew at each fetch."""

    def __init__(self, path: str, layout: str) -> None:
        if path.startswith("///"):
            path = path[2:]  # file:///etc/key, as URIs are usually written
        if not path or "\0" in path:
            raise InvalidSettings("'file:' needs the path of a file, such as file:/etc/keyfs/master.key")
        self._path = os.path.abspath(path)  # the daemon changes its directory before it fetches again
        self._layout = layout

    def fetch(self) -> MasterKey:
        """The key in the file's content.

        Raises:
            MasterKeyUnavailable: as `read_private`, or the content does not decode.
            InsecurePermissions: group or others have any right on it.
        """
        what = f"master key file {self._path}"
        with read_private(self._path, what, OTHERS, close_to_others(self._path)) as text:
            return decode(text.view(), self._layout, what)

    def describe(self) -> str:
        """`file:` and the absolute path."""
        return f"file:{self._path}"


def close_to_others(path: str) -> str:
    """What mends a file that is open to others, in words, for `read_private`."""
    return f"run: chmod 600 {shlex.quote(path)}"


def read_private(path: str, what: str, others: int, mend: str) -> Secret:
    """The content of a file that is closed to others, in memory of its own.

    Args:
        path: of a regular file, or a link to one.
        what: the file in words, for the errors.
        others: the mode bits that must not be set.
        mend: what to do if one is, in words.

    Raises:
        MasterKeyUnavailable: the file is absent, unreadable, no regular file or longer than 64 KiB.
        InsecurePermissions: a bit of *others* is set.
    """
    try:
        # O_NONBLOCK: opening a FIFO nobody writes to must not hang before the check below sees what it is.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _check(os.fstat(descriptor), what, others, mend)
            text = read_text(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise MasterKeyUnavailable(
            f"{what} cannot be read ({exc.strerror}); mend that, or name another place"
        ) from exc
    check_size(text, what)
    return text


def check_size(text: Secret, what: str) -> None:
    """Refuse what `read_text` did not read to its end.

    Raises:
        MasterKeyUnavailable: *text* has more than `SIZE_LIMIT` bytes.
    """
    if len(text) > SIZE_LIMIT:
        raise MasterKeyUnavailable(
            f"{what} is longer than {SIZE_LIMIT} bytes: no master key is; name the right one"
        )


def read_text(descriptor: int, within_s: float | None = None) -> Secret:
    """What *descriptor* gives to its end, in memory of its own.

    Of more than `SIZE_LIMIT` bytes it is one byte more than that.

    Args:
        descriptor: open for reading.
        within_s: how long to wait for the end; None where nothing has to be waited for.

    Raises:
        TimeoutError: the end did not come in time.
        OSError: it cannot be read.
    """
    deadline = None if within_s is None else time.monotonic() + within_s
    room = allocate(SIZE_LIMIT + 1)
    size = 0
    while size < len(room):
        if deadline is not None:
            wait_for(descriptor, deadline)
        count = os.readv(descriptor, [room[size:]])
        if not count:
            break
        size += count
    return Secret.adopt(room[:size])


def wait_for(descriptor: int, deadline: float) -> None:
    """Return when *descriptor* can be read, or is at its end.

    Raises:
        TimeoutError: it is *deadline*, on the clock of `time.monotonic`.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise TimeoutError


def _check(status: os.stat_result, what: str, others: int, mend: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise MasterKeyUnavailable(f"{what} is not a regular file; name the right one")
    if status.st_mode & others:
        raise InsecurePermissions(
            f"{what} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); {mend}"
        )
