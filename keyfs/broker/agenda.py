"""What a rotation policy asks for, key by key: what is due, and whose history is over its limit. Blocking."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from keyfs.broker.keystore import KeyStore
from keyfs.broker.material import demand_generator
from keyfs.broker.writer import RingWriter, identity
from keyfs.core.names import KeyRef
from keyfs.core.purposes import Purpose
from keyfs.core.rotation import RotationPolicy, is_due, late_ns, over_limit
from keyfs.errors import KeyNotFound, OperationRefused, RotationConflict
from keyfs.layout.base import KeyRing, KeyVersion


@dataclass(frozen=True, slots=True)
class View:
    """From where it is looked at: by whom, when, and what was noted about keys of unknown age."""

    host: str
    now_ns: int
    seen_ns: Mapping[str, int] = field(default_factory=dict)  # when a key of unknown age was first seen
    not_before_ns: Mapping[KeyRef, int] = field(default_factory=dict)  # after a rotation failed
    not_archived_before_ns: Mapping[KeyRef, int] = field(default_factory=dict)  # likewise


@dataclass(slots=True)
class Agenda:
    """What is to be done now, and when there will be more to do."""

    due: list[KeyRef] = field(default_factory=list)
    over: list[KeyRef] = field(default_factory=list)
    unseen: list[KeyRef] = field(default_factory=list)  # of unknown age, and nobody has noted them
    next_ns: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done now."""
        return not (self.due or self.over or self.unseen)


def why_not_rotated(purpose: Purpose) -> str:
    """Why keys of this purpose cannot be rotated by generating; empty if they can."""
    if purpose.is_legacy:
        return f"{purpose} keys are only read"
    try:
        demand_generator(purpose)
    except OperationRefused as exc:
        return str(exc)
    return ""


def note(agenda: Agenda, rings: Iterable[KeyRing], policy: RotationPolicy, view: View) -> None:
    """Enter into *agenda* what *policy* asks for these keys."""
    for ring in rings:
        ref = ring.ref
        if ring.current is None or ref.purpose.is_legacy:
            continue
        if view.not_before_ns.get(ref, 0) > view.now_ns:
            _wait(agenda, view.not_before_ns[ref])
        else:
            _note_age(agenda, ring, ring.current, policy, view)
        if not over_limit_versions(ring, policy, view.now_ns):
            continue
        if view.not_archived_before_ns.get(ref, 0) > view.now_ns:
            _wait(agenda, view.not_archived_before_ns[ref])
        else:
            agenda.over.append(ref)


def over_limit_versions(ring: KeyRing, policy: RotationPolicy, now_ns: int) -> tuple[KeyVersion, ...]:
    """The oldest retired versions, which are not to be kept; never the current one."""
    keep = policy.rule(ring.ref.purpose.name).keep
    if keep is None:
        return ()
    retired = ring.retired
    return retired[: over_limit([version.retired_ns for version in retired], keep, now_ns)]


def rotate_if_due(
    keys: KeyStore, writer: RingWriter, ref: KeyRef, every_ns: int, view: View
) -> KeyVersion | None:
    """Rotate a key if it is due, as it is in the store now; None if somebody else was quicker.

    Raises:
        KeyfsError: as `RingWriter.rotate`.
    """
    ring = keys.relist(ref)
    current = None if ring is None else ring.current
    if current is None or not is_due(_since(current, ref, view), every_ns, view.now_ns):
        return None
    try:
        return writer.rotate(ref, identity(ring))
    except (RotationConflict, KeyNotFound):
        return None


def still_unknown(keys: KeyStore, seen_ns: Mapping[str, int]) -> dict[str, int]:
    """What of *seen_ns* is of keys that are there, and whose age the store still does not tell."""
    labels = {str(ref): ref for ref in keys.index.refs() if str(ref) in seen_ns}
    return {label: seen_ns[label] for label, ref in labels.items() if _is_unknown(keys, ref)}


def _is_unknown(keys: KeyStore, ref: KeyRef) -> bool:
    try:
        current = keys.ring(ref).current
    except KeyNotFound:
        return False
    return current is not None and current.created_ns is None


def _note_age(agenda: Agenda, ring: KeyRing, current: KeyVersion, policy: RotationPolicy, view: View) -> None:
    ref, rule = ring.ref, policy.rule(ring.ref.purpose.name)
    if rule.every_ns is None or why_not_rotated(ref.purpose):
        return
    since_ns = _since(current, ref, view)
    if since_ns is None:
        agenda.unseen.append(ref)
        return
    at_ns = since_ns + rule.every_ns + late_ns(str(ref), view.host, rule.jitter_ns)
    if at_ns <= view.now_ns:
        agenda.due.append(ref)
    else:
        _wait(agenda, at_ns)


def _since(current: KeyVersion, ref: KeyRef, view: View) -> int | None:
    return view.seen_ns.get(str(ref)) if current.created_ns is None else current.created_ns


def _wait(agenda: Agenda, at_ns: int) -> None:
    agenda.next_ns = at_ns if agenda.next_ns is None else min(agenda.next_ns, at_ns)
