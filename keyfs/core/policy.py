"""Who may do what: who owns the files of a key, which bits and views they have, and what the bits grant.

Decided here and not by the kernel: it would refuse before keyfs is asked (`default_permissions`), and nobody
would see the attempt.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from keyfs.core.names import KeyRef
from keyfs.core.views import NO_VIEWS, Views
from keyfs.errors import InvalidSettings

READ = 4
WRITE = 2
SEARCH = 1

READ_BITS: Final = 0o444
OWNER_WRITES: Final = 0o200
PUBLIC_MODE: Final = 0o444
PRIVATE_MODE: Final = 0o600
PRIVATE_MODES: Final = (0o400, 0o440, 0o600, 0o640)
"""What a rule may say: only the owner ever writes, and a private key is never open to the world."""
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)


class Caller(NamedTuple):
    """The process behind a request. *groups* is asked only when it decides."""

    uid: int
    gid: int
    groups: Callable[[], Collection[int]]


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns a file."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule says of the keys that match its patterns; None where it says nothing."""

    purpose: str = "*"
    client: str = "*"
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    views: Views | None = None


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How the files of one key are shown. *uid* and *gid* are None for the owner of the mount.

    *mode* is that of `current` where it can be written to; without the owner's write bit it never can.
    """

    uid: int | None
    gid: int | None
    mode: int
    views: Views

    @property
    def is_writable(self) -> bool:
        """Whether the owner may make versions through the mount."""
        return bool(self.mode & OWNER_WRITES)


class Policy:
    """All rules of a mount. A later rule wins over an earlier one, field by field.

    Args:
        rules: in order.
        views: where no rule speaks of views.
    """

    def __init__(self, rules: Sequence[Rule] = (), views: Views = NO_VIEWS) -> None:
        self._rules = tuple(reversed(rules))
        self._else = KeyPolicy(None, None, PRIVATE_MODE, views)

    @property
    def shows_views(self) -> bool:
        """Whether there is a key that has views."""
        return bool(self._else.views) or any(rule.views for rule in self._rules)

    def of(self, ref: KeyRef) -> KeyPolicy:
        """What holds for one key, whatever its versions are."""
        if not self._rules:
            return self._else
        said = [rule for rule in self._rules if _matches(rule, ref)]
        if not said:
            return self._else
        return KeyPolicy(
            uid=next((rule.uid for rule in said if rule.uid is not None), None),
            gid=next((rule.gid for rule in said if rule.gid is not None), None),
            mode=next((rule.mode for rule in said if rule.mode is not None), PRIVATE_MODE),
            views=next((rule.views for rule in said if rule.views is not None), self._else.views),
        )


def parse_mode(text: str) -> int:
    """The permission bits in a text such as `0640`.

    Raises:
        InvalidSettings: not octal, or more than a private key may be open.
    """
    mode = int(text, 8) if _MODE.fullmatch(text) else None
    if mode not in PRIVATE_MODES:
        known = ", ".join(f"{mode:04o}" for mode in PRIVATE_MODES)
        raise InvalidSettings(f"mode {text!r} is none that a private key may have: use one of {known}")
    return mode


def may_always(uid: int, want: int) -> bool:
    """Whether no bits need be looked at: the superuser may read and search everything."""
    return uid == 0 and not want & WRITE


def may(caller: Caller, owner: Ownership, mode: int, want: int) -> bool:
    """Whether the bits in *want* are granted, by the rules of path_resolution(7).

    The superuser may do what `may_always` says, and write what anyone may write.
    """
    if caller.uid == 0:
        return may_always(0, want) or bool(mode & 0o222)
    if caller.uid == owner.uid:
        granted = mode >> 6
    elif caller.gid == owner.gid or owner.gid in caller.groups():
        granted = mode >> 3
    else:
        granted = mode
    return granted & want == want


def _matches(rule: Rule, ref: KeyRef) -> bool:
    return fnmatchcase(ref.purpose.name, rule.purpose) and fnmatchcase(ref.client_label, rule.client)
