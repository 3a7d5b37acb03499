"""The states of a key version, as a table: what each allows, and which may follow which. Pure.

Source: NIST SP 800-57 part 1 revision 5, section 7. Where it leaves a choice, ours is the strict one: what is
suspended or compromised is handed out to nobody but an operator who insists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from keyfs.errors import KeyDestroyed, KeyExpired, KeyfsError, KeyRevoked, OperationRefused


class KeyState(Enum):
    """Where a version is in its life; the values are what people type and read."""

    PRE_ACTIVE = "pre-active"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"

    def __str__(self) -> str:
        return self.value


class Use(Enum):
    """What a version is read for. `current` protects; a retired version only processes."""

    PROTECT = "protect new data"
    PROCESS = "process old data"


TRANSITIONS: Final[Mapping[KeyState, frozenset[KeyState]]] = {
    KeyState.PRE_ACTIVE: frozenset({KeyState.ACTIVE, KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.ACTIVE: frozenset(
        {KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED}
    ),
    KeyState.SUSPENDED: frozenset(
        {KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED}
    ),
    KeyState.DEACTIVATED: frozenset({KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.COMPROMISED: frozenset({KeyState.DESTROYED}),
    KeyState.DESTROYED: frozenset(),
}
"""What may follow. For versions that have retired `moves` differs in two rows."""

USES: Final[Mapping[KeyState, frozenset[Use]]] = {
    KeyState.PRE_ACTIVE: frozenset(),
    KeyState.ACTIVE: frozenset(Use),
    KeyState.SUSPENDED: frozenset(),
    KeyState.DEACTIVATED: frozenset({Use.PROCESS}),
    KeyState.COMPROMISED: frozenset(),
    KeyState.DESTROYED: frozenset(),
}

REFUSALS: Final[Mapping[KeyState, type[KeyfsError]]] = {
    KeyState.PRE_ACTIVE: KeyExpired,
    KeyState.SUSPENDED: KeyExpired,
    KeyState.DEACTIVATED: KeyExpired,
    KeyState.COMPROMISED: KeyRevoked,
    KeyState.DESTROYED: KeyDestroyed,
}
"""How a use that a state does not allow is refused."""

_REMEDIES: Final[Mapping[KeyState, str]] = {
    KeyState.PRE_ACTIVE: "keyfs state {} active lets it be used",
    KeyState.SUSPENDED: "keyfs state {} {back} ends that",
    KeyState.DEACTIVATED: "make the next version with keyfs rotate",
    KeyState.COMPROMISED: "use another version; keyfs read --despite-state still gives its bytes",
    KeyState.DESTROYED: "use another version",
}


@dataclass(frozen=True, slots=True)
class VersionState:
    """The state of one version. Not *is_told*: nobody set it, it follows from the version's place."""

    state: KeyState
    is_told: bool = False
    why: str = ""
    since_ns: int | None = None
    destroy_at_ns: int | None = None  # when it is to be destroyed, if that is planned


def default_state(*, is_current: bool) -> KeyState:
    """The state of a version of which nobody said anything: rotation retires what was current."""
    return KeyState.ACTIVE if is_current else KeyState.DEACTIVATED


def settled(told: KeyState, *, is_current: bool) -> KeyState:
    """The state of a version that was *told* it: what was active when it retired is deactivated."""
    return KeyState.DEACTIVATED if told is KeyState.ACTIVE and not is_current else told


def use_of(*, is_current: bool) -> Use:
    """What a version is read for."""
    return Use.PROTECT if is_current else Use.PROCESS


def demand_use(label: str, found: VersionState, use: Use) -> None:
    """Nothing, if the state allows the use.

    Args:
        label: `PURPOSE/CLIENT/VERSION`.
        found: the state it has.
        use: what it is to be read for.

    Raises:
        KeyExpired, KeyRevoked, KeyDestroyed: it does not.
    """
    if use in USES[found.state]:
        return
    why = f" ({found.why})" if found.why else ""
    back = KeyState.ACTIVE if use is Use.PROTECT else KeyState.DEACTIVATED
    remedy = _REMEDIES[found.state].format(label, back=back)
    raise REFUSALS[found.state](f"{label} is {found.state}{why}: {remedy}")


def moves(now: KeyState, *, is_current: bool) -> frozenset[KeyState]:
    """The states that may follow *now*. What has retired never protects again; its use can be suspended.

    The latter is ours: who doubts a retired version stops its use until it is clear what happened.
    """
    if is_current:
        return TRANSITIONS[now]
    more = {KeyState.SUSPENDED} if now is KeyState.DEACTIVATED else set()
    return (TRANSITIONS[now] | more) - {KeyState.ACTIVE}


def demand_move(label: str, now: KeyState, then: KeyState, *, is_current: bool) -> None:
    """Nothing, if somebody may put a version from one state into another. To destroy it is no such thing.

    Raises:
        OperationRefused: they may not; the message says which states may follow.
    """
    allowed = moves(now, is_current=is_current)
    if then is KeyState.DESTROYED and then in allowed:
        raise OperationRefused(f"a state destroys nothing: run keyfs destroy {label}")
    if then in allowed:
        return
    if then is KeyState.ACTIVE and not is_current:
        raise OperationRefused(f"{label} has retired and protects nothing new: at most it is deactivated")
    after = ", ".join(state.value for state in KeyState if state in allowed - {KeyState.DESTROYED})
    if now is KeyState.DESTROYED:
        after = "nothing, unless keyfs destroy --undo says that it is there again"
    raise OperationRefused(
        f"{label} is {now} and cannot become {then}: what may follow is {after or 'keyfs destroy alone'}"
    )
