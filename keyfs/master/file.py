"""`file:PATH`: the master key in a file that only its owner can read."""

import os
import shlex
import stat
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import allocate
from keyfs.errors import InsecurePermissions, InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode

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
            MasterKeyUnavailable: the file is absent, unreadable, no regular file, longer than 64 KiB, or its
                content does not decode.
            InsecurePermissions: group or others have any right on it.
        """
        try:
            text = self._read()
        except OSError as exc:
            raise MasterKeyUnavailable(
                f"master key file {self._path} cannot be read ({exc.strerror}); mend that, or name another "
                f"place with --master-key"
            ) from exc
        with text:
            return decode(text.view(), self._layout, f"master key file {self._path}")

    def describe(self) -> str:
        """`file:` and the absolute path."""
        return f"file:{self._path}"

    def _read(self) -> Secret:
        # O_NONBLOCK: opening a FIFO nobody writes to must not hang before the check below sees what it is.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            self._check(os.fstat(descriptor))
            text = read_text(descriptor)
        finally:
            os.close(descriptor)
        if len(text) > SIZE_LIMIT:
            raise MasterKeyUnavailable(
                f"master key file {self._path} is longer than {SIZE_LIMIT} bytes: no master key is; name "
                f"the right file with --master-key"
            )
        return text

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise MasterKeyUnavailable(
                f"{self._path} is not a regular file; name the one with the master key with --master-key"
            )
        if status.st_mode & 0o077:
            raise InsecurePermissions(
                f"master key file {self._path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"run: chmod 600 {shlex.quote(self._path)}"
            )


def read_text(descriptor: int) -> Secret:
    """What *descriptor* gives to its end, in memory of its own.

    Of more than `SIZE_LIMIT` bytes it is one byte more than that.

    Raises:
        OSError: it cannot be read.
    """
    room = allocate(SIZE_LIMIT + 1)
    size = 0
    while size < len(room) and (count := os.readv(descriptor, [room[size:]])):
        size += count
    return Secret.adopt(room[:size])
