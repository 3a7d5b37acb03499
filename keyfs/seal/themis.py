"""The sealer on libthemis through pythemis, where a libthemis can be loaded.

pythemis carries no native library. Merely importing it loads one, and fails in three ways where there is
none; so nothing here imports it before it is asked for.
"""

import ctypes
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from keyfs.core.secret import Secret
from keyfs.errors import InvalidMaterial, UnsealFailed
from keyfs.seal.cell import REFUSAL, check_plaintext, parse_key_cell, parse_passphrase_cell

ENGINE: Final = "themis"
_LIBRARIES: Final = ("/usr/local/lib/libthemis.so.0", "libthemis.so.0")  # where pythemis looks first


class ThemisUnavailable(Exception):
    """No libthemis can be loaded here; the message says why in one line. Never leaves `keyfs.seal`."""


class _Cell(Protocol):
    """What is used of `pythemis.scell.SCellSeal`."""

    def encrypt(self, message: bytes, context: bytes) -> bytes: ...

    def decrypt(self, message: bytes, context: bytes) -> bytes: ...


class _Themis(NamedTuple):
    """What is used of pythemis."""

    make_cell: Callable[..., _Cell]
    error: type[Exception]


def load_themis() -> None:
    """Make sure that pythemis and libthemis are loaded, without a warning.

    The answer is found once per process.

    Raises:
        ThemisUnavailable: pythemis is not installed, or libthemis or something it needs is missing.
    """
    _themis()


class _SealerOnThemis:
    """What both modes have in common."""

    _cell: _Cell

    @property
    def engine(self) -> str:
        """The engine's name: "themis"."""
        return ENGINE

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        """The blob that opens to *plaintext* under the same key and *context*.

        It is 44 bytes longer than *plaintext* in symmetric-key mode, 70 bytes in passphrase mode.

        Raises:
            InvalidMaterial: *plaintext* is empty or longer than `MAX_PLAINTEXT_SIZE`.
        """
        check_plaintext(plaintext)
        return self._cell.encrypt(plaintext.reveal(), context)

    def _open(self, blob: bytes, context: bytes) -> Secret:
        try:
            return Secret(self._cell.decrypt(blob, context))
        except _themis().error as exc:
            raise UnsealFailed(REFUSAL) from exc


class ThemisSealer(_SealerOnThemis):
    """Secure Cell Seal, symmetric-key mode, computed by libthemis.

    pythemis takes and returns `bytes`: copies of the key and of every plaintext that cannot be wiped, in
    ordinary memory. The key's copy stays as long as the sealer. What keeps it from disks is that the process
    dumps no core, and that its memory is locked where that is allowed.
    """

    def __init__(self, key: Secret) -> None:
        """Make a sealer.

        Args:
            key: 1 byte or more; Acra's master keys have 32. The sealer keeps a copy.

        Raises:
            InvalidMaterial: *key* is empty.
            ThemisUnavailable: see `load_themis`.
        """
        make_cell = _themis().make_cell
        if not len(key):
            raise InvalidMaterial("the master key is empty")
        self._cell = make_cell(key=key.reveal())

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        """What *blob* holds.

        Raises:
            UnsealFailed: wrong key, wrong context or damage; which of them is never said.
        """
        parse_key_cell(blob)
        return self._open(blob, context)


class ThemisPassphraseSealer(_SealerOnThemis):
    """Secure Cell Seal, passphrase mode, computed by libthemis. Acra does not use this mode."""

    def __init__(self, passphrase: bytes) -> None:
        """Make a sealer.

        Args:
            passphrase: 1 byte or more; Themis encodes text as UTF-8.

        Raises:
            InvalidMaterial: *passphrase* is empty.
            ThemisUnavailable: see `load_themis`.
        """
        make_cell = _themis().make_cell
        if not passphrase:
            raise InvalidMaterial("the passphrase is empty")
        self._cell = make_cell(passphrase=passphrase)

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        """What *blob* holds.

        Raises:
            UnsealFailed: wrong passphrase, wrong context or damage, or the blob asks for more than 10 million
                rounds; which of them is never said.
        """
        # Parsed first to keep a hostile iteration count away from an engine that would compute for hours.
        parse_passphrase_cell(blob)
        return self._open(blob, context)


def _themis() -> _Themis:
    found = _look_for_themis()
    if isinstance(found, str):
        raise ThemisUnavailable(found)
    return found


@functools.cache
def _look_for_themis() -> _Themis | str:
    """What is used of pythemis, or the reason why it cannot be had.

    Where there is no library pythemis goes on to ask gcc and ld, found by PATH, and each of them gets our
    environment with the master key in it. So it is imported only where its first look will succeed.
    """
    missing = _missing()
    if missing:
        return missing
    with warnings.catch_warnings():
        # pythemis warns before it looks further; what comes of that is said by our own answer.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            scell = importlib.import_module("pythemis.scell")
        except ImportError as exc:
            return f"pythemis cannot be imported: {exc}"
        except (RuntimeError, OSError) as exc:
            # RuntimeError: no library of that name. OSError: there is one, but it does not load.
            return f"libthemis.so.0 cannot be loaded: {exc}"
    return _Themis(scell.SCellSeal, scell.ThemisError)


def _missing() -> str:
    """What pythemis would lack, in one line; empty for nothing. Starts no other program."""
    try:
        if importlib.util.find_spec("pythemis") is None:
            return "pythemis cannot be imported: it is not installed"
    except ImportError as exc:
        return f"pythemis cannot be imported: {exc}"
    reason = ""
    for library in _LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError as exc:
            reason = f"libthemis.so.0 cannot be loaded: {exc}"
        else:
            return ""
    return reason
