"""What becomes of a key in another layout beside its bytes: what is lost there, and what is made up."""

from collections.abc import Iterator
from typing import Final

from keyfs.core.bundles import BundledKey, BundledVersion
from keyfs.core.stamps import NANOSECONDS
from keyfs.layout.restoring import WITH_RINGS

NOTES: Final = {
    "archive": "they are in the archive beside the source, and stay there: keyfs archive list",
    "destroyed": "that they were destroyed is kept beside the target, where Acra's tools do not look",
    "never-current": "newer than the current version, and never were it, as after a rotation of Acra's that "
    "was interrupted; nor are they there",
    "no-current": "of these keys no version is current, nor is one there; Acra reads nothing of them, and in "
    "layout v2 its list of keys ends at them",
    "numbers": "called by a number there, and no longer by the time at which they retired",
    "overdue": "they were to be destroyed by now; that is not planned anew",
    "own": "keys of own purposes lie beside the target, in a place that must be in its backup",
    "reasons": "the reason for their state is kept beside the target",
    "rotated": "current in the source, but no longer in the target, which was rotated since",
    "seconds": "they are current since a fraction of a second that the layout cannot say",
    "stamps": "called by the time at which they retired there, and no longer by a number",
    "states": "their state is kept beside the target, where Acra's tools do not look",
    "times": "the target keeps no times: they seem to be current since the one before retired, or since 1970",
    "unknown": "nobody knows since when they are current; where something has to be said, it is 1970",
    "validity": "until when they are said to be valid, the layout cannot say",
    "year": "said to be valid for a year there, as Acra says of new keys; nothing heeds it",
}
"""By code: a sentence about versions, or keys."""


def differences(key: BundledKey, source: str, target: str, now_ns: int) -> Iterator[tuple[str, str]]:
    """What is to be said of a key: codes of `NOTES`, each with a path.

    Args:
        key: of a key store of layout *source*.
        source: the name of that layout.
        target: that of the key store where it goes.
        now_ns: nanoseconds since 1970.
    """
    numbers = [int(version.number) for version in key.versions if version.is_current and version.number]
    if not any(version.is_current and not version.is_destroyed for version in key.versions):
        yield "no-current", str(key.ref)
    if key.ref.purpose.own is not None:
        yield "own", str(key.ref)
    for version in key.versions:
        path = f"{key.ref}/{version.id}"
        if version.destroy_at_ns is not None and version.destroy_at_ns <= now_ns:
            yield "overdue", path
        if numbers and version.number and int(version.number) > numbers[0]:
            yield "never-current", path
        if version.created_ns is None and version is next(iter(key.held()), None):
            yield "unknown", path
        if source == target or key.ref.purpose.own is not None:
            continue
        codes = _into_rings(version) if target == WITH_RINGS else _out_of_rings(version)
        yield from ((code, path) for code in codes)


def _into_rings(version: BundledVersion) -> Iterator[str]:
    if version.is_destroyed:
        yield "destroyed"
        return
    yield "year"
    if not version.is_current:
        yield "numbers"
    if version.created_ns is not None and version.created_ns % NANOSECONDS:
        yield "seconds"
    if version.why:
        yield "reasons"


def _out_of_rings(version: BundledVersion) -> Iterator[str]:
    if version.is_destroyed:
        yield "destroyed"
        return
    if not version.is_current:
        yield "stamps"
    if version.until_ns is not None:
        yield "validity"
    if version.state is not None:
        yield "states"
