"""The lease: which of several hosts works through the rotations that are due. Its form, and decisions.

It only spares hosts from doing the same work at once. That no rotation is made twice does not depend on it:
each one names the version that it retires.
"""

import json
from dataclasses import dataclass
from typing import Final

from keyfs.core.stamps import NANOSECONDS

LENGTH_NS: Final = 60 * NANOSECONDS  # a host that dies is waited for so long; a rotation takes milliseconds
_RENEWED_NS: Final = LENGTH_NS // 2


@dataclass(frozen=True, slots=True)
class Lease:
    """Who has it, and until when, by the clock that all hosts share."""

    owner: str
    until_ns: int


def holder(found: Lease | None, now_ns: int) -> Lease | None:
    """The lease that holds now; None when it is free.

    One that ends later than any can is not believed: it is of a host whose clock is wrong.
    """
    if found is None or not now_ns < found.until_ns <= now_ns + LENGTH_NS:
        return None
    return found


def claim(found: Lease | None, owner: str, now_ns: int) -> Lease | None:
    """The lease that *owner* has from now on; None while another one has it."""
    held = holder(found, now_ns)
    if held is not None and held.owner != owner:
        return None
    return Lease(owner, now_ns + LENGTH_NS)


def needs_renewal(held: Lease, now_ns: int) -> bool:
    """Whether so little of it is left that it has to be claimed again before more is done."""
    return held.until_ns - now_ns < _RENEWED_NS


def released(held: Lease) -> Lease:
    """The same lease, at its end."""
    return Lease(held.owner, 0)


def encode(lease: Lease) -> bytes:
    """A line of JSON."""
    return json.dumps({"owner": lease.owner, "until_ns": lease.until_ns}).encode("ascii") + b"\n"


def decode(data: bytes | None) -> Lease | None:
    """The lease in *data*; None for what is none: it holds nobody up."""
    try:
        found = json.loads(data or b"")
        owner, until_ns = found["owner"], found["until_ns"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(owner, str) or type(until_ns) is not int:
        return None
    return Lease(owner, until_ns)
