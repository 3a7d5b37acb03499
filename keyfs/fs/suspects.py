"""Which requests are under way, noted where the next worker finds it: one that kills its workers is refused.

A worker that dies leaves the requests it was at. The next one gets them again, treats them as suspects, and
lets only one suspect at a time go on, so that the second death tells which of them it was. The third worker
answers that one EIO. A suspect that is answered is none any more.

SIGKILL mostly comes from outside, and proves little against what was under way: a key that everybody opens is
being opened whenever a worker is killed. It counts a quarter.
"""

import errno
import logging
import struct
from hashlib import blake2b
from typing import Final

import trio
from pyfuse3 import FUSEError

from keyfs.logs import event

CRASH: Final = 4  # points
KILL: Final = 1
POINTS_MAX: Final = 2 * CRASH
_SLOTS: Final = 4096  # more requests than are ever under way; see TASKS_MAX
_SUSPECTS: Final = 256
_NUMBER: Final = struct.Struct("<Q")
_SUSPECT: Final = struct.Struct("<QQ")  # fingerprint, points
_SUSPECTS_AT: Final = _SLOTS * _NUMBER.size
_OUTSIDERS_AT: Final = _SUSPECTS_AT + _SUSPECTS * _SUSPECT.size
_OUTSIDERS: Final = 16  # of so many workers the requests may still be on their way
_log = logging.getLogger(__name__)


class Suspects:
    """The ledger of one mount.

    Args:
        memory: shared by all its workers; zeros at first. The worker before must have ended.
        points: how much its end counts.
    """

    def __init__(self, memory: memoryview, points: int) -> None:
        self._memory = memory
        self._free = list(range(_SLOTS))
        self._points = self._inherited(points)
        self._one_at_a_time = trio.Lock()
        self._store()

    def noted(self, request: str, *what: int | bytes) -> "_UnderWay":
        """While the block of `async with` runs, *request* is under way.

        Raises:
            FUSEError: EIO, at the beginning of the block, for one that has killed its workers.
        """
        return _UnderWay(self, request, _fingerprint(request, what))

    async def begin(self, request: str, fingerprint: int) -> tuple[int | None, bool]:
        """The slot of a request that begins, and whether it is a suspect. For `noted`; raises as that."""
        if fingerprint not in self._points:
            return self._note(fingerprint), False
        if self._points[fingerprint] >= POINTS_MAX:
            event(_log, logging.ERROR, "request.poisonous", request=request)
            raise FUSEError(errno.EIO)
        await self._one_at_a_time.acquire()
        return self._note(fingerprint), True

    def end(self, slot: int | None, acquitted: int | None) -> None:
        """A request is answered, and with it *acquitted*, the fingerprint of a suspect. For `noted`."""
        if slot is not None:
            _NUMBER.pack_into(self._memory, slot * _NUMBER.size, 0)
            self._free.append(slot)
        if acquitted is not None:
            self._points.pop(acquitted, None)
            self._store()
            self._one_at_a_time.release()

    def _note(self, fingerprint: int) -> int | None:
        if not self._free:
            return None
        slot = self._free.pop()
        _NUMBER.pack_into(self._memory, slot * _NUMBER.size, fingerprint)
        return slot

    def _inherited(self, points: int) -> dict[int, int]:
        """Points by fingerprint, those for the end of the worker before counted in."""
        suspects = self._memory[_SUSPECTS_AT : _SUSPECTS_AT + _SUSPECTS * _SUSPECT.size]
        found = {number: count for number, count in _SUSPECT.iter_unpack(suspects) if number}
        slots = self._memory[:_SUSPECTS_AT]
        for fingerprint in {number for (number,) in _NUMBER.iter_unpack(slots) if number}:
            found[fingerprint] = found.get(fingerprint, 0) + points
        slots[:] = bytes(len(slots))
        # The worst first: should there be too many, the others have killed nobody yet.
        return dict(sorted(found.items(), key=lambda item: -item[1])[:_SUSPECTS])

    def _store(self) -> None:
        packed = b"".join(_SUSPECT.pack(*item) for item in self._points.items())
        end = _SUSPECTS_AT + _SUSPECTS * _SUSPECT.size
        self._memory[_SUSPECTS_AT:end] = packed.ljust(end - _SUSPECTS_AT, b"\0")


class _UnderWay:
    """See `Suspects.noted`. No generator: it is part of every request."""

    __slots__ = ("_fingerprint", "_is_suspect", "_request", "_slot", "_suspects")

    def __init__(self, suspects: Suspects, request: str, fingerprint: int) -> None:
        self._suspects, self._request, self._fingerprint = suspects, request, fingerprint

    async def __aenter__(self) -> None:
        self._slot, self._is_suspect = await self._suspects.begin(self._request, self._fingerprint)

    async def __aexit__(self, *_: object) -> None:
        self._suspects.end(self._slot, self._fingerprint if self._is_suspect else None)


def earlier_outsiders(memory: memoryview) -> set[int]:
    """Numbers of the processes that earlier workers had beside them."""
    area = memory[_OUTSIDERS_AT : _OUTSIDERS_AT + _OUTSIDERS * _NUMBER.size]
    return {number for (number,) in _NUMBER.iter_unpack(area) if number}


def note_outsider(memory: memoryview, generation: int, pid: int) -> None:
    """Let later workers know the process that this one has beside it."""
    _NUMBER.pack_into(memory, _OUTSIDERS_AT + generation % _OUTSIDERS * _NUMBER.size, pid)


def _fingerprint(request: str, what: tuple[int | bytes, ...]) -> int:
    digest = blake2b(f"{request} {what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") | 1  # never 0, which is an empty slot
