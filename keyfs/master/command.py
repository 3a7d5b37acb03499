"""`command:/PROGRAM ARGUMENT…`: the master key on the standard output of a program, such as a TPM's tools."""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Final

from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode
from keyfs.master.file import check_size, read_text

WITHIN_S: Final = 30.0
"""How long the program may take."""

_END_WITHIN_S: Final = 1.0
_BY_HAND: Final = "run the same command by hand to see why"

PASSED_ON: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "XDG_RUNTIME_DIR", "GNUPGHOME",
    "TPM2TOOLS_TCTI", "SOFTHSM2_CONF",
)  # fmt: skip
"""The environment variables that the program sees: none of them holds a secret."""


class CommandMasterKey:
    """Takes the base64 text that ACRA_MASTER_KEY would hold from a program, started anew at each fetch.

    The words are split as a shell does it, but no shell is started: nothing is expanded, and quotes only
    keep words together. The program gets nothing on standard input and `PASSED_ON` of the environment;
    `command:/usr/bin/env NAME=VALUE /PROGRAM …` gives it more. What it says on standard error could be the
    key, so nobody sees it: the errors tell to run the program by hand.
    """

    def __init__(self, line: str, layout: str) -> None:
        try:
            self._words = shlex.split(line)
        except ValueError:
            self._words = []
        if not self._words or not self._words[0].startswith("/") or "\0" in line:
            raise InvalidSettings(
                "'command:' needs the absolute path of a program, and its arguments behind it, such as "
                "command:/usr/bin/tpm2_unseal -c 0x81000001; quotes must be closed"
            )
        self._program = shlex.quote(self._words[0])
        self._layout = layout

    def fetch(self) -> MasterKey:
        """The key in what the program prints.

        Raises:
            MasterKeyUnavailable: the program cannot be started, does not end in time, fails, prints nothing
                or more than 64 KiB, or what it prints does not decode.
        """
        with self._output() as text:
            return decode(text.view(), self._layout, f"what {self._program} printed")

    def describe(self) -> str:
        """`command:` and the program. An argument may be a secret."""
        return f"command:{self._program}"

    def _output(self) -> Secret:
        deadline = time.monotonic() + WITHIN_S
        with self._started() as process:
            assert process.stdout is not None  # noqa: S101 - _started told Popen to make it
            try:
                text = read_text(process.stdout.fileno(), WITHIN_S)
                check_size(text, f"what {self._program} printed")
                _wait_for_end(process, deadline)
            except TimeoutError:
                raise MasterKeyUnavailable(
                    f"{self._program} did not end within {WITHIN_S:g} s and was killed; {_BY_HAND}"
                ) from None
        self._check(process.returncode, text)
        return text

    @contextlib.contextmanager
    def _started(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The program. At the end it and all it started are killed, but what went into another session."""
        try:
            process = subprocess.Popen(  # noqa: S603 - starting what the operator named is the purpose
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                start_new_session=True,
            )
        except OSError as exc:
            raise MasterKeyUnavailable(
                f"{self._program} cannot be started ({exc.strerror}); name a program that this user may run"
            ) from exc
        try:
            yield process
        finally:
            _end(process)

    def _check(self, code: int, text: Secret) -> None:
        if code < 0:
            raise MasterKeyUnavailable(f"{self._program} was ended by signal {-code}; {_BY_HAND}")
        if code > 0:
            raise MasterKeyUnavailable(f"{self._program} failed with exit status {code}; {_BY_HAND}")
        if not len(text):
            raise MasterKeyUnavailable(f"{self._program} printed nothing; {_BY_HAND}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(PermissionError):  # it is another user's by now, as sudo is
        # Not waited for yet, so its number and its group's are still its own.
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_WITHIN_S)


def _wait_for_end(process: "subprocess.Popen[bytes]", deadline: float) -> None:
    """Return when the program has ended, and leave it to be waited for.

    Raises:
        TimeoutError: it is *deadline*.
    """
    end = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise TimeoutError
    finally:
        os.close(end)
