"""What an import would do to one key: version by version, decided from facts alone.

A version is the same as another if its key is, whatever it is called: a backup that is older than the key
store has as its current version what is retired there by now.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from keyfs.broker.bundle_check import fingerprint, fingerprint_of
from keyfs.broker.keystore import KeyStore
from keyfs.core.bundles import BundledVersion
from keyfs.core.names import Half, KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import KeyNotFound, RotationConflict
from keyfs.layout.base import KeyRing, KeyVersion, Part
from keyfs.layout.restoring import Restored, is_switched

_GRAVE: Final = "it was destroyed in the key store, and its number is not used again"


class Action(Enum):
    """What happens to a version of a backup."""

    EQUAL = "equal"  # the key store has it
    ADD = "add"
    CONFLICT = "conflict"  # the key store has another key in its place
    SUPERSEDE = "supersede"  # what is current there retires, and is kept
    SKIP = "skip"  # left as it is there
    REFUSED = "refused"  # it is no key, or the key store does not take it


class OnConflict(Enum):
    """What is to happen where the key store has another key in a version's place."""

    REFUSE = "refuse"
    SKIP = "skip"
    FOLLOW = "follow"  # refused, unless what is current there is retired in the backup: then that goes on
    NEWER_VERSION = "newer-version"


@dataclass(frozen=True, slots=True)
class Step:
    """One version of a backup, its halves as they will be stored, and what is to be done with it."""

    version: BundledVersion
    items: tuple[Restored, ...]
    action: Action
    missing: tuple[Restored, ...] = ()  # of the items: what is to be written
    reason: str = ""
    there: KeyVersion | None = None  # the same version in the key store, where it has that
    is_current_there: bool = False  # retired in the backup, but current in the key store


class Present:
    """The versions that a key store has of one key, by name and by fingerprint.

    Raises:
        UnsealFailed, MaterialCorrupt, InsecurePermissions: one of them cannot be read.
        RotationConflict: one went since the ring was looked at.
    """

    def __init__(self, keys: KeyStore, ref: KeyRef, ring: KeyRing | None) -> None:
        self.ring = ring or KeyRing(ref, ())
        self.is_switched = is_switched(keys.layout, ref)
        self._slots = keys.layout.slots
        self._graves = {version.number for version in self.ring.versions if version.is_grave}
        self.by_name = {part.name: version for version in self.ring.versions for part in _parts(version)}
        keys.reader.prefetch([part for version in self.ring.versions for part in _parts(version)])
        try:
            self._prints = {version.id: _fingerprint(keys, ref, version) for version in self.ring.versions}
            self.is_paired = _is_paired(keys, ref, self.ring.current)
        except KeyNotFound as exc:  # never taken for a free place
            raise RotationConflict(f"{ref} changes just now: run it again") from exc

    def obstacle(self, names: Collection[str]) -> str:
        """Why no version can have these names, whatever it is; empty for nothing."""
        orphans = self.ring.orphans and set(names).intersection(self.ring.orphans)
        if orphans:
            return f"{min(orphans)} is left over from a stopped rotation: run keyfs check --repair first"
        is_grave = any(slot.stamp in self._graves for name in names for slot in self._slots(name))
        return _GRAVE if is_grave else ""

    def fingerprint(self, version: KeyVersion) -> bytes:
        """That of a version there."""
        return self._prints[version.id]

    @property
    def current(self) -> bytes | None:
        """The fingerprint of what is current there."""
        version = self.ring.current
        return None if version is None else self._prints[version.id]

    def find(self, fingerprint: bytes) -> KeyVersion | None:
        """The version there with this fingerprint, the newest if there are several."""
        found = (
            version for version in reversed(self.ring.versions) if self._prints[version.id] == fingerprint
        )
        return next(found, None)

    def retired_apart_from(self, matched: Collection[str]) -> set[bytes]:
        """The fingerprints of the retired versions of other ids."""
        versions = [version for version in self.ring.versions if version is not self.ring.current]
        return {self._prints[version.id] for version in versions if version.id not in matched}


def plan_key(present: Present, ref: KeyRef, items: Collection[Restored]) -> list[Step]:
    """What would happen to each version of a backup, oldest first, before anyone says what conflicts mean."""
    groups: dict[str, list[Restored]] = {}
    for item in items:
        groups.setdefault(item.version.id, []).append(item)
    found = {name: _found(present, group) for name, group in groups.items()}
    others = present.retired_apart_from({version.id for version in found.values() if version is not None})
    steps = [
        _step(present, tuple(group), (fingerprint_of(ref, group[0].version), found[name], others))
        for name, group in groups.items()
    ]
    continues = not present.is_switched and any(_is_there(step, present) for step in steps[:-1])
    return [_continued(step, present) if continues else step for step in steps]


_Facts = tuple[bytes, KeyVersion | None, set[bytes]]  # fingerprint, who has the name, who else is retired


def decided(steps: list[Step], policy: OnConflict) -> list[Step]:
    """What is done about conflicts: with one that is not resolved nothing of the key is changed."""
    conflicts = [step for step in steps if step.action is Action.CONFLICT]
    if not conflicts:
        return steps
    follows = policy is OnConflict.FOLLOW and any(step.is_current_there for step in steps)
    is_superseded = policy is OnConflict.NEWER_VERSION or follows
    if is_superseded and all(_can_supersede(step) for step in conflicts):
        return [replace(s, action=Action.SUPERSEDE) if s in conflicts else s for s in steps]
    left = (Action.ADD,) if policy is not OnConflict.SKIP else (Action.ADD, Action.CONFLICT)
    return [replace(step, action=Action.SKIP) if step.action in left else step for step in steps]


def _can_supersede(step: Step) -> bool:
    """Only a current version can become a newer one: a retired one would need a name that is taken."""
    return step.version.is_current and step.version.secret is not None


def _step(present: Present, items: tuple[Restored, ...], facts: _Facts) -> Step:
    wanted, holder, others = facts
    version = items[0].version
    obstacle = present.obstacle({item.name for item in items})
    if obstacle:
        return Step(version, items, Action.CONFLICT, reason=obstacle)
    missing = tuple(item for item in items if item.name not in present.by_name)
    if holder is not None and present.fingerprint(holder) == wanted:
        is_whole = not missing and (present.is_paired or not version.is_current)
        return Step(version, items, Action.EQUAL if is_whole else Action.ADD, missing, there=holder)
    if holder is None and not version.is_current:
        return _retired_step(present, items, (wanted, others))
    if version.is_current and (present.current == wanted or (present.current and wanted in others)):
        return Step(version, items, Action.EQUAL, there=present.find(wanted))
    if version.is_current and present.current is None and holder is None:
        return Step(version, items, Action.ADD, missing)
    reason = (
        "the key store has another current version" if version.is_current else "another key has this name"
    )
    return Step(version, items, Action.CONFLICT, reason=reason)


def _retired_step(present: Present, items: tuple[Restored, ...], facts: tuple[bytes, set[bytes]]) -> Step:
    wanted, others = facts
    version = items[0].version
    if wanted == present.current:
        return Step(version, items, Action.EQUAL, there=present.ring.current, is_current_there=True)
    if wanted in others:
        return Step(version, items, Action.EQUAL, there=present.find(wanted))
    return Step(version, items, Action.ADD, items)


def _continued(step: Step, present: Present) -> Step:
    """Where nothing is switched, and what is current is in the backup, what comes after it is no conflict.

    There the newest version is current: an import that was stopped leaves an older one current for a while.
    """
    is_free = not any(item.name in present.by_name for item in step.items)
    if step.action is Action.CONFLICT and step.version.is_current and is_free:
        return Step(step.version, step.items, Action.ADD, step.items)
    return step


def _is_there(step: Step, present: Present) -> bool:
    current = present.ring.current
    holders = [present.by_name.get(item.name) for item in step.items]
    return step.action is Action.EQUAL and current is not None and current in holders


def _found(present: Present, items: Collection[Restored]) -> KeyVersion | None:
    """Which version there has one of these names."""
    return next((present.by_name[item.name] for item in items if item.name in present.by_name), None)


def _parts(version: KeyVersion) -> list[Part]:
    return [part for part in (version.secret, version.public) if part is not None]


def _fingerprint(keys: KeyStore, ref: KeyRef, version: KeyVersion) -> bytes:
    def opened(half: Half, part: Part | None) -> Secret | None:
        return None if part is None else keys.reader.open(ref, version, half).material

    secret = opened(Half.SECRET, version.secret)
    public = opened(Half.PUBLIC, version.public) if secret is None else None
    try:
        return fingerprint(ref.purpose, secret, public)
    finally:
        if secret is not None:
            secret.wipe()


def _is_paired(keys: KeyStore, ref: KeyRef, current: KeyVersion | None) -> bool:
    """Whether the halves of what is current belong together: a switch of both may have been stopped."""
    if current is None or current.secret is None or current.public is None:
        return True
    return keys.reader.stored_matches(ref, current)
