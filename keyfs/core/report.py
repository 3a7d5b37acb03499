"""What the report says of a key store: ages, what is overdue, counts, the last rotations."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from keyfs.core.inventory import Row
from keyfs.core.rotation import RotationPolicy, is_due
from keyfs.core.stamps import NANOSECONDS
from keyfs.core.states import KeyState

DAY_NS: Final = 86_400 * NANOSECONDS
AGES: Final = (
    ("up to 7 days", 7),
    ("8 to 30 days", 30),
    ("31 to 90 days", 90),
    ("91 to 182 days", 182),
    ("183 to 365 days", 365),
    ("1 to 2 years", 730),
)
"""The bins of the histogram, with their upper edges in days."""
OLDER: Final = "over 2 years"
UNKNOWN: Final = "unknown"
ROTATIONS_SHOWN: Final = 20
ROWS_MAX: Final = 500  # of one table: nobody reads more, and a browser has to bear it


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One key: since when it is current, and when each version but the first became so, newest first."""

    purpose: str
    client: str | None
    versions: int
    since_ns: int | None
    rotations_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of the histogram."""

    label: str
    keys: int


@dataclass(frozen=True, slots=True)
class Group:
    """The keys of one purpose, or of one client."""

    name: str
    keys: int
    versions: int
    overdue: int
    oldest_ns: int | None  # since when the key that was not rotated for longest is current


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows."""

    keys: int
    versions: int
    clients: int
    ages: tuple[Bin, ...]
    overdue: tuple[KeyFacts, ...]  # oldest first; those of unknown age before all
    noted: tuple[Row, ...]  # a half of each version that somebody has said something of, in their order
    purposes: tuple[Group, ...]
    clients_most: tuple[Group, ...]  # with most overdue keys first
    rotations: tuple[tuple[int, KeyFacts], ...]  # newest first


def key_facts(rows: Iterable[Row]) -> Iterator[KeyFacts]:
    """The keys in an inventory with history, in its order. One without a current version is left out."""
    for (purpose, client), of_key in groupby(rows, key=lambda row: (row.purpose, row.client)):
        versions: dict[str, Row] = {}
        for row in of_key:
            versions.setdefault(row.version, row)  # of two halves the first, which is the secret one
        in_order = list(versions.values())
        if not in_order[-1].current:
            continue
        made = [row.created_ns for row in in_order[1:] if row.created_ns is not None]
        yield KeyFacts(purpose, client, len(in_order), in_order[-1].created_ns, tuple(reversed(made)))


def report(rows: Iterable[Row], policy: RotationPolicy, now_ns: int) -> Report:
    """What there is to say of these keys at this time."""
    rows = list(rows)
    keys = list(key_facts(rows))
    late = {key for key in keys if _is_late(key, policy, now_ns)}
    clients = [key.client for key in keys if key.client is not None]
    rotations = sorted(
        ((at_ns, key) for key in keys for at_ns in key.rotations_ns[:ROTATIONS_SHOWN]),
        key=lambda one: -one[0],
    )
    by_client = _groups([key for key in keys if key.client is not None], late, lambda key: key.client or "")
    return Report(
        keys=len(keys),
        versions=sum(key.versions for key in keys),
        clients=len(set(clients)),
        ages=tuple(_ages(keys, now_ns)),
        overdue=tuple(sorted(late, key=lambda key: (key.since_ns or 0, key.purpose, key.client or ""))),
        noted=tuple(_noted(rows)),
        purposes=tuple(_groups(keys, late, lambda key: key.purpose)),
        clients_most=tuple(sorted(by_client, key=lambda group: (-group.overdue, -group.keys, group.name))),
        rotations=tuple(rotations[:ROTATIONS_SHOWN]),
    )


def _noted(rows: Iterable[Row]) -> Iterator[Row]:
    """What is not as rotations leave it, active and then deactivated; or is to be destroyed."""
    for _, halves in groupby(rows, key=lambda row: (row.purpose, row.client, row.version)):
        row = next(halves)
        usual = KeyState.ACTIVE if row.current else KeyState.DEACTIVATED
        if row.destroy_at_ns is not None or row.state not in ("", usual.value):
            yield row


def _is_late(key: KeyFacts, policy: RotationPolicy, now_ns: int) -> bool:
    every_ns = policy.rule(key.purpose).every_ns
    return every_ns is not None and is_due(key.since_ns, every_ns, now_ns)


def _ages(keys: Sequence[KeyFacts], now_ns: int) -> Iterator[Bin]:
    counts = Counter(_bin(key.since_ns, now_ns) for key in keys)
    for label, _ in AGES:
        yield Bin(label, counts[label])
    yield Bin(OLDER, counts[OLDER])
    if counts[UNKNOWN]:
        yield Bin(UNKNOWN, counts[UNKNOWN])


def _bin(since_ns: int | None, now_ns: int) -> str:
    if since_ns is None:
        return UNKNOWN
    age_ns = now_ns - since_ns
    return next((label for label, days in AGES if age_ns <= days * DAY_NS), OLDER)


def _groups(keys: Iterable[KeyFacts], late: set[KeyFacts], name: Callable[[KeyFacts], str]) -> list[Group]:
    """In the order in which their first keys come."""
    groups: dict[str, list[KeyFacts]] = {}
    for key in keys:
        groups.setdefault(name(key), []).append(key)
    return [
        Group(
            label,
            len(of),
            sum(key.versions for key in of),
            sum(key in late for key in of),
            min((key.since_ns for key in of if key.since_ns is not None), default=None),
        )
        for label, of in groups.items()
    ]
