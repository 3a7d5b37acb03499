"""What Python and the C library keep of a key where nobody else would wipe it. CPython only, best effort."""

import contextlib
import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Final

from keyfs.core.secret import Secret
from keyfs.custody.memory import held

# In /proc/PID/stat behind the name of the program, counted from 0: see proc_pid_stat(5), fields 50 and 51.
_ENV_START: Final = 47
_ENV_END: Final = 48
_REFERENCES_MAX: Final = 3  # the caller's, our argument, and that of getrefcount itself


def hide_variable(name: str) -> Secret | None:
    """Take an environment variable out of this process for good; its value, None if it is not set.

    It is overwritten where /proc/PID/environ shows it, in the C library's copy and in Python's, and no
    process started later gets it. Whoever has read it through `os.environ` before has a copy that stays.
    """
    key = os.fsencode(name)
    if key not in os.environb:
        return None
    secret = held(os.environb[key])
    _wipe_initial(key)
    _wipe_in_c(key)
    wipe_immutable(os.environb.pop(key))
    return secret


def wipe_immutable(value: bytes | str) -> bool:
    """Overwrite *value* with zeros; whether that was done.

    Refused is what somebody else might see change: what has other references than the caller's one variable,
    what the interpreter shares (a single byte or character, constants); and text that is not ASCII.
    """
    is_ours = type(value) is bytes or (type(value) is str and value.isascii())
    if sys.implementation.name != "cpython" or len(value) <= 1 or not is_ours:
        return False
    if sys.getrefcount(value) > _REFERENCES_MAX:
        return False
    # Of both types an object ends with its characters and one zero.
    ctypes.memset(id(value) + sys.getsizeof(value) - len(value) - 1, 0, len(value))
    return True


def _wipe_initial(key: bytes) -> None:
    """Overwrite the value, repeats included, in the memory that the kernel filled when the program began."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
        area = memoryview((ctypes.c_ubyte * (end - start)).from_address(start)).cast("B")
        # Only the places are asked of the matches: nothing is copied.
        for match in re.finditer(rb"(?:\A|\0)%b=([^\0]*)" % re.escape(key), area):
            at, behind = match.span(1)
            area[at:behind] = bytes(behind - at)


def _wipe_in_c(key: bytes) -> None:
    """Overwrite the value that getenv(3) finds; it is elsewhere if it was set while the program ran."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_void_p
        libc.strlen.argtypes, libc.strlen.restype = [ctypes.c_void_p], ctypes.c_size_t
        address = libc.getenv(key)
        if address:
            ctypes.memset(address, 0, libc.strlen(address))
