"""When a key is to be rotated, and how much of its history stays: a policy, and decisions made of facts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Protocol

from keyfs.core.durations import age_s, seconds
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import InvalidSettings

NEVER: Final = "never"
ALL: Final = "all"
JITTER_SHARE: Final = 100  # of `every`, where nobody says how much: 90 days are spread over 21 hours
KEEP_MAX: Final = 10_000
_DIGEST_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Keep:
    """What of a key's history stays: so many retired versions, or those retired less than so long ago."""

    versions: int | None = None
    for_ns: int | None = None


@dataclass(frozen=True, slots=True)
class RotationRule:
    """What holds for the keys of one purpose. None: no rotation by schedule, everything is kept."""

    every_ns: int | None = None
    jitter_ns: int = 0  # a host begins so much later at most
    keep: Keep | None = None


NO_RULE: Final = RotationRule()


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The rule of each purpose."""

    default: RotationRule = NO_RULE
    of_purpose: Mapping[str, RotationRule] = field(default_factory=dict)

    def rule(self, purpose: str) -> RotationRule:
        """What holds for the keys of this purpose."""
        return self.of_purpose.get(purpose, self.default)

    @property
    def rules(self) -> tuple[RotationRule, ...]:
        """All there are."""
        return (self.default, *self.of_purpose.values())

    @property
    def rotates(self) -> bool:
        """Whether there is a schedule for any key."""
        return any(rule.every_ns is not None for rule in self.rules)

    @property
    def is_idle(self) -> bool:
        """Whether it asks for nothing at all."""
        return not self.rotates and all(rule.keep is None for rule in self.rules)


class Said(Protocol):
    """What a table `[rotation]` or `[rotation.purpose.NAME]` says; None where it says nothing."""

    @property
    def every(self) -> str | None:
        """A length of time, or `never`."""

    @property
    def jitter(self) -> str | None:
        """A length of time."""

    @property
    def keep(self) -> str | int | None:
        """A number of versions, a length of time, or `all`."""


def rotation_policy(said: Said, of_purpose: Mapping[str, Said]) -> RotationPolicy:
    """The policy that these tables make up: what that of a purpose leaves open, the general one says.

    Raises:
        InvalidSettings: a value does not do; the message names its table and key.
    """
    return RotationPolicy(
        _rule((said,), "rotation"),
        {name: _rule((own, said), f"rotation, purpose {name!r}") for name, own in of_purpose.items()},
    )


def parse_keep(text: str | int, where: str) -> Keep | None:
    """How much is kept: `5` versions, those of `400d`, `all` (None).

    Raises:
        InvalidSettings: it is none of these, or nothing.
    """
    if text == ALL:
        return None
    if isinstance(text, str) and not text.isdecimal():
        return Keep(for_ns=_time(text, where))
    number = int(text)
    if not 1 <= number <= KEEP_MAX:
        raise InvalidSettings(
            f"{where}: {number} versions cannot be kept: write a number from 1 to {KEEP_MAX}, "
            f'a time such as "400d", or "all"'
        )
    return Keep(versions=number)


def is_due(created_ns: int | None, every_ns: int, now_ns: int) -> bool:
    """Whether a version that is current since *created_ns* is too old.

    So is one of which nobody knows the age: it may be older than anything that is known.
    """
    return created_ns is None or created_ns + every_ns <= now_ns


def late_ns(key: str, host: str, jitter_ns: int) -> int:
    """How much later than due *host* begins with *key*: from 0 to less than *jitter_ns*; always the same.

    Hosts differ, so that they do not all begin at once; so do keys, so that not all are rotated at once.
    """
    digest = hashlib.sha256(f"{len(key)}:{key}{host}".encode()).digest()
    return int.from_bytes(digest[: _DIGEST_BITS // 8]) * jitter_ns >> _DIGEST_BITS


def over_limit(retired_ns: Sequence[int | None], keep: Keep, now_ns: int) -> int:
    """How many of the oldest retired versions are not to be kept.

    Args:
        retired_ns: when each retired version did so, oldest first; what is current is not among them.
        keep: the limit.
        now_ns: the time.
    """
    if keep.versions is not None:
        return max(0, len(retired_ns) - keep.versions)
    if keep.for_ns is None:
        return 0
    old_ns = now_ns - keep.for_ns
    return len(list(takewhile(lambda ns: ns is not None and ns <= old_ns, retired_ns)))


def _rule(said: Sequence[Said], where: str) -> RotationRule:
    """One rule: each value is that of the first table that says it."""
    every = next((table.every for table in said if table.every is not None), NEVER)
    jitter = next((table.jitter for table in said if table.jitter is not None), None)
    keep = next((table.keep for table in said if table.keep is not None), ALL)
    every_ns = None if every == NEVER else _time(every, f"{where}: every")
    if jitter is not None:
        jitter_ns = int(seconds(jitter, f"{where}: jitter: ") * NANOSECONDS)
    else:
        jitter_ns = (every_ns or 0) // JITTER_SHARE
    return RotationRule(every_ns, jitter_ns, parse_keep(keep, f"{where}: keep"))


def _time(text: str, where: str) -> int:
    """A length of time in nanoseconds, at least a second.

    Raises:
        InvalidSettings: it is none.
    """
    length_s = age_s(text, f"{where}: ")
    if not length_s:
        raise InvalidSettings(f"{where}: {text!r} is no time at all: write a number above zero, as in 90d")
    return int(length_s) * NANOSECONDS
