"""Rotating all keys that are older than a given time, one after the other. Blocking; can be run again."""

from collections.abc import Callable
from dataclasses import dataclass, field

from keyfs.broker.agenda import View, rotate_if_due, why_not_rotated
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import KeyRef
from keyfs.core.rotation import is_due
from keyfs.errors import AccessDenied, KeyfsError, ReadOnly, StoreFull, StoreUnavailable

Progress = Callable[[int, int], None]
# What stops one rotation stops all that follow.
_OF_ALL = (AccessDenied, ReadOnly, StoreFull, StoreUnavailable)


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be rotated, oldest first; and what cannot be, with the reason."""

    refs: tuple[KeyRef, ...]
    left_out: dict[KeyRef, str]
    every_ns: int
    now_ns: int  # by the store's clock


@dataclass(slots=True)
class RotationReport:
    """What became of the keys that were due."""

    rotated: list[KeyRef] = field(default_factory=list)
    overtaken: list[KeyRef] = field(default_factory=list)  # somebody else has rotated them meanwhile
    failed: dict[KeyRef, KeyfsError] = field(default_factory=dict)
    not_tried: list[KeyRef] = field(default_factory=list)  # after something that stops all


def find_due(keys: KeyStore, wanted: Callable[[KeyRef], bool], every_ns: int) -> Due:
    """The keys whose current version is older than *every_ns*, or of unknown age.

    Args:
        keys: the key store, listed.
        wanted: which ones are looked at.
        every_ns: a length of time.

    Raises:
        StoreUnavailable: it does not tell the time.
    """
    now_ns = keys.store.now_ns()
    found: list[tuple[int, str, KeyRef]] = []
    left_out: dict[KeyRef, str] = {}
    for ring in keys.rings():
        current = ring.current
        if current is None or not wanted(ring.ref) or not is_due(current.created_ns, every_ns, now_ns):
            continue
        reason = why_not_rotated(ring.ref.purpose)
        if reason:
            left_out[ring.ref] = reason
        else:
            found.append((current.created_ns or 0, str(ring.ref), ring.ref))
    refs = (ref for *_, ref in sorted(found, key=lambda one: one[:2]))
    return Due(tuple(refs), left_out, every_ns, now_ns)


def rotate_due(
    keys: KeyStore, writer: RingWriter, due: Due, report: RotationReport, progress: Progress
) -> None:
    """Rotate what is due, key by key; *report* is right at any moment, however this ends."""
    report.not_tried[:] = reversed(due.refs)  # from its end it is cheap to take
    view = View("", due.now_ns)
    while report.not_tried:
        ref = report.not_tried[-1]
        try:
            made = rotate_if_due(keys, writer, ref, due.every_ns, view)
            (report.overtaken if made is None else report.rotated).append(ref)
        except KeyfsError as exc:
            report.failed[ref] = exc
        report.not_tried.pop()
        progress(len(due.refs) - len(report.not_tried), len(due.refs))
        if isinstance(report.failed.get(ref), _OF_ALL):
            return
