"""Fetching a master key in a process of its own, so that what an SDK keeps of it dies with that process.

HTTP bodies, JSON texts and the like cannot be wiped. So whatever is not our own careful code runs in
`python -m keyfs.master.apart`: it is told by one JSON text on stdin, answers on stdout and ends. Its answer
is four bytes of length, a JSON header of that length, and behind it the bare bytes of the keys, which are
read straight into memory of their own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import unquote

from keyfs.core.secret import Secret
from keyfs.custody import allocate, end_with, forbid_core_dumps
from keyfs.errors import (
    InsecurePermissions,
    InvalidSettings,
    KeyfsError,
    KeyServiceUnavailable,
    LayoutUnsupported,
    MasterKeyUnavailable,
)
from keyfs.master.base import MasterKey, MasterKeyProvider, ReadBeside
from keyfs.master.file import wait_for
from keyfs.master.registry import ciphertext_of, open_provider

IN_PROCESS: Final = frozenset({"env", "file", "credential", "fd"})
"""Schemes that only our own code serves, which wipes what it reads."""

_END_WITHIN_S: Final = 1.0
_LENGTH_SIZE: Final = 4
_ERRORS: Final[Mapping[str, type[KeyfsError]]] = {
    error.__name__: error
    for error in (
        InsecurePermissions,
        InvalidSettings,
        KeyServiceUnavailable,
        LayoutUnsupported,
        MasterKeyUnavailable,
    )
}


def provider_of(uri: str, layout: str, read_beside: ReadBeside | None, within_s: float) -> MasterKeyProvider:
    """The provider that *uri* names: in this process if only our own code is needed, else one apart.

    Args:
        uri: `SCHEME:REST`.
        layout: of the key store, "v1" or "v2".
        read_beside: reads what is kept beside the key store, in this process.
        within_s: how long a process apart may take for one fetch, its start included.

    Raises:
        InvalidSettings, LayoutUnsupported: as `registry.open_provider`; of one apart they come from `fetch`.
    """
    if uri.partition(":")[0].lower() in IN_PROCESS:
        return open_provider(uri, layout, read_beside)
    return ApartMasterKey(uri, layout, read_beside, within_s)


class ApartMasterKey:
    """Starts the process anew for each fetch, always in the directory in which this provider was made."""

    def __init__(self, uri: str, layout: str, read_beside: ReadBeside | None, within_s: float) -> None:
        self._uri = uri
        self._layout = layout
        self._read_beside = read_beside
        self._within_s = within_s
        self._described = uri.partition(":")[0].lower() + ":"  # what follows may hold a secret; it knows
        self._folder = "/"
        with contextlib.suppress(OSError):
            self._folder = os.getcwd()

    def fetch(self) -> MasterKey:
        """The key that the provider of the URI's scheme fetches there.

        Raises:
            KeyfsError: that provider's, class and text.
            KeyServiceUnavailable: nothing came in time, or a signal ended the process.
            MasterKeyUnavailable: the process cannot be started, or ended without an answer.
        """
        deadline = time.monotonic() + self._within_s
        with self._start() as process:
            assert process.stdout is not None  # noqa: S101 - _start told Popen to make it
            try:
                key, self._described = _read_answer(process.stdout.fileno(), deadline)
            except TimeoutError:
                raise KeyServiceUnavailable(
                    f"{self.describe()} gave no master key within {self._within_s:g} s; see whether what it "
                    f"needs answers, and try again"
                ) from None
            except EOFError:
                self._refuse(process)
            finally:
                _end(process)
        return key

    def describe(self) -> str:
        """What the provider says there; its scheme alone before the first fetch."""
        return self._described

    def _start(self) -> "subprocess.Popen[bytes]":
        request = {
            "uri": self._uri,
            "layout": self._layout,
            "beside": _text_beside(self._uri, self._read_beside),
            "parent": os.getpid(),
        }
        # Not a pipe: nobody may hang in writing to one.
        with open(os.memfd_create("keyfs-request"), "w+", encoding="utf-8") as file:
            json.dump(request, file)
            file.seek(0)
            try:
                return subprocess.Popen(
                    [sys.executable, "-P", "-m", "keyfs.master.apart"],
                    stdin=file,
                    stdout=subprocess.PIPE,
                    # Warnings of an SDK would come before our one line; who writes a provider asks for them.
                    stderr=None if os.environ.get("KEYFS_DEBUG") else subprocess.DEVNULL,
                    cwd=self._folder,
                )
            except OSError as exc:
                raise MasterKeyUnavailable(
                    f"cannot start {sys.executable} to fetch the master key ({exc.strerror}): let this user "
                    f"run it"
                ) from exc

    def _refuse(self, process: "subprocess.Popen[bytes]") -> NoReturn:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_WITHIN_S)
        code = process.returncode
        what = f"the process that fetches the master key from {self.describe()}"
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            raise KeyServiceUnavailable(f"{what} was ended by {name}; try again") from None
        raise MasterKeyUnavailable(f"{what} ended without an answer; run keyfs doctor") from None


def main() -> None:
    """The process: one request, one answer."""
    forbid_core_dumps()
    # An exception, so that a program that was started on the way is ended, too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    request = json.load(sys.stdin)
    end_with(request["parent"])
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    try:
        key, described = _fetch(request)
    except tuple(_ERRORS.values()) as exc:
        name = next(name for name, error in _ERRORS.items() if isinstance(exc, error))
        _send(answer, {"error": name, "message": " ".join(str(exc).split())})
    except Exception as exc:  # noqa: BLE001 - other people's code; its text may hold anything
        if os.environ.get("KEYFS_DEBUG"):
            traceback.print_exc()
        scheme = request["uri"].partition(":")[0]
        message = f"{scheme!r} master keys: internal error {type(exc).__name__} in what fetches them"
        _send(answer, {"error": "MasterKeyUnavailable", "message": message})
    else:
        keys = [half for half in (key.encryption, key.signature) if half is not None]
        header = {"described": described, "warnings": key.warnings, "sizes": [len(half) for half in keys]}
        _send(answer, header, keys)


def _fetch(request: Mapping[str, str]) -> tuple[MasterKey, str]:
    beside = request["beside"]
    text = None if beside is None else beside.encode("latin-1")
    provider = open_provider(request["uri"], request["layout"], lambda _name: text)
    return provider.fetch(), provider.describe()


def _send(descriptor: int, header: Mapping[str, object], keys: list[Secret] | None = None) -> None:
    text = json.dumps(header).encode()
    with open(descriptor, "wb") as pipe:
        pipe.writelines([len(text).to_bytes(_LENGTH_SIZE, "big"), text, *(key.view() for key in keys or ())])


def _text_beside(uri: str, read_beside: ReadBeside | None) -> str | None:
    """What lies beside the key store under the name that *uri* has, character by byte; None for nothing."""
    if read_beside is None or "from=store" not in unquote(uri):  # to other people's schemes `from` is nothing
        return None
    place = ciphertext_of(uri, read_beside)
    text = read_beside(place.name) if place.kind == "store" else None
    return None if text is None else text.decode("latin-1")


def _read_answer(descriptor: int, deadline: float) -> tuple[MasterKey, str]:
    """The key in the answer, and what its provider says it is.

    Raises:
        TimeoutError: the deadline came first.
        EOFError: there is no whole answer.
        KeyfsError: the one that the answer holds.
    """
    length = _read(descriptor, memoryview(bytearray(_LENGTH_SIZE)), deadline)
    room = memoryview(bytearray(int.from_bytes(length, "big")))
    header = json.loads(bytes(_read(descriptor, room, deadline)))
    if "error" in header:
        raise _ERRORS[header["error"]](header["message"])
    keys = [Secret.adopt(_read(descriptor, allocate(size), deadline)) for size in header["sizes"]]
    key = MasterKey(keys[0], keys[1] if len(keys) > 1 else None, tuple(header["warnings"]))
    return key, header["described"]


def _read(descriptor: int, room: memoryview, deadline: float) -> memoryview:
    """*room*, filled. The bytes never are a Python object.

    Raises:
        TimeoutError, EOFError: as `_read_answer`.
    """
    done = 0
    while done < len(room):
        wait_for(descriptor, deadline)
        count = os.readv(descriptor, [room[done:]])
        if not count:
            raise EOFError
        done += count
    return room


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    main()
