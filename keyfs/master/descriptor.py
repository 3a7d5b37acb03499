"""`fd:N`: the master key in a descriptor that was open when keyfs was started, such as a pipe's end."""

import os
import re
import threading
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody import held
from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode
from keyfs.master.file import check_size, read_text

WITHIN_S: Final = 10.0
"""How long the writer may take: it is started together with keyfs, and has nothing to wait for."""

_NUMBER = re.compile(r"0|[3-9]|[1-9][0-9]{1,6}", re.ASCII)

# By number: like the environment, there is one set of inherited descriptors for the process. A pipe cannot be
# read twice, but another provider of the same URI, or a later fetch, must find the same key.
_kept: Final[dict[int, tuple[int, Secret]]] = {}  # with the process that has it
_keeping: Final = threading.Lock()


class DescriptorMasterKey:
    """Reads the base64 text that ACRA_MASTER_KEY would hold to its end, once, and keeps it for later fetches.

    The descriptor is closed then, so that no child inherits it. A process forked afterwards has no copy of
    the text, and cannot fetch.
    """

    def __init__(self, number: str, layout: str) -> None:
        if _NUMBER.fullmatch(number) is None:
            raise InvalidSettings(
                "'fd:' needs the number of a descriptor that is open for reading: 0 or from 3 on, such as "
                "fd:3 with 3<FILE"
            )
        self._number = int(number)
        self._what = f"descriptor {number}"
        self._layout = layout

    def fetch(self) -> MasterKey:
        """The key in what the descriptor gave.

        Raises:
            MasterKeyUnavailable: the descriptor is not open, was not inherited, is a terminal, cannot be
                read, gives more than 64 KiB or does not end in time; or what it gave does not decode.
        """
        with _keeping:
            return decode(self._text().view(), self._layout, self._what)

    def describe(self) -> str:
        """`fd:` and the number."""
        return f"fd:{self._number}"

    def _text(self) -> Secret:
        owner, text = _kept.get(self._number, (0, None))
        if text is not None and owner == os.getpid():
            return text
        try:
            self._check(text)
            text = self._read()
        except TimeoutError:
            raise MasterKeyUnavailable(
                f"{self._what} did not end within {WITHIN_S:g} s; let its writer close it, and start again"
            ) from None
        except OSError as exc:
            raise MasterKeyUnavailable(
                f"{self._what} cannot be read ({exc.strerror}); pass it on open, as in: {self._number}<FILE"
            ) from exc
        _kept[self._number] = (os.getpid(), text)
        return text

    def _check(self, text_of_parent: Secret | None) -> None:
        """Refuse a descriptor that nobody meant.

        Raises:
            MasterKeyUnavailable: it is one that keyfs itself opened (those are closed in programs that it
                starts, inherited ones cannot be), or a terminal, or the process that forked us read it.
            OSError: it is not open.
        """
        if text_of_parent is not None:
            raise MasterKeyUnavailable(f"{self._what} was read before this process was forked")
        if self._number > 0 and not os.get_inheritable(self._number):
            raise MasterKeyUnavailable(
                f"{self._what} is none that keyfs was started with; pass it on open, as in: "
                f"{self._number}<FILE"
            )
        if os.isatty(self._number):
            raise MasterKeyUnavailable(
                f"{self._what} is a terminal; a key must not be typed: pass a pipe or a file"
            )

    def _read(self) -> Secret:
        try:
            with read_text(self._number, WITHIN_S) as text:
                check_size(text, self._what)
                return held(text.view())
        finally:
            self._close()

    def _close(self) -> None:
        if self._number > 0:
            os.close(self._number)
            return
        # A number that is free would be the next file's, and standard input is what others read and write.
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.close(nothing)
