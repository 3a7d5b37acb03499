"""`keyfs import`: a backup into a key store; resumable, verified, and never over what is there.

Retired versions are written first, so that no key is current before its history: an import that was stopped
goes on where it was. What is wrong with one key keeps no other from being imported.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keyfs.broker.bundle_check import faults_of, fingerprint_of
from keyfs.broker.import_plan import Action, OnConflict, Present, Step, decided, plan_key
from keyfs.broker.keystore import KeyStore
from keyfs.broker.sealing import sealed
from keyfs.broker.state_carrying import carry
from keyfs.broker.writer import RingWriter, identity
from keyfs.core.bundles import Bundle, BundledKey
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import Shape
from keyfs.errors import (
    ClientIdTooLong,
    InsecurePermissions,
    InvalidMaterial,
    KeyExists,
    KeyfsError,
    KeyNotFound,
    MaterialCorrupt,
    OperationRefused,
    RingInvalid,
    RotationConflict,
    StoreUnavailable,
    UnsealFailed,
)
from keyfs.layout.base import KeyRing, Layout
from keyfs.layout.restoring import Restored, has_rings, is_switched, restored, ring_note
from keyfs.store.base import Replacement

_OF_ONE_KEY: Final = (
    ClientIdTooLong,
    InsecurePermissions,
    InvalidMaterial,
    KeyExists,
    MaterialCorrupt,
    OperationRefused,
    RingInvalid,
    RotationConflict,
    UnsealFailed,
)
_WRITES: Final = (Action.ADD, Action.SUPERSEDE)
_LEFT: Final = (Action.CONFLICT, Action.SKIP)  # of such a key nothing is changed
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """What happened to one version, or would; and what it is called there."""

    ref: KeyRef
    version: str
    action: Action
    reason: str = ""
    there: str = ""


@dataclass(slots=True)
class ImportReport:
    """What an import did, or would do."""

    rows: list[Row] = field(default_factory=list)
    failed: dict[KeyRef, KeyfsError] = field(default_factory=dict)
    said: int = 0  # of how many versions a state or something like it was noted beside the key store

    def count(self, action: Action) -> int:
        """How many versions this happened to."""
        return sum(row.action is action for row in self.rows)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and how."""

    keys: KeyStore  # loaded, with its master key
    writer: RingWriter
    on_conflict: OnConflict = OnConflict.REFUSE
    dry_run: bool = False  # writes nothing, not even a lock


def import_bundle(
    bundle: Bundle, target: Target, progress: Progress = lambda _done, _all: None
) -> ImportReport:
    """Bring every version of a backup into a key store that has not got it.

    Args:
        bundle: opened.
        target: where to.
        progress: told the number of keys done and of all keys.

    Raises:
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, LayoutUnsupported: it stopped here;
            what is done is done, and it can be run again.
    """
    report = ImportReport()
    for done, key in enumerate(bundle.keys, 1):
        try:
            rows = _import_key(key, target)
            left = [row for row in rows if row.action in _LEFT]
            if not left and not target.dry_run:
                report.said += carry(target.keys, key)
            conflicts = [row for row in left if row.action is Action.CONFLICT]
            if conflicts:
                report.failed[key.ref] = _refusal(conflicts[0], target.on_conflict)
        except _OF_ONE_KEY as exc:
            report.failed[key.ref] = exc
            rows = [Row(key.ref, version.id, Action.REFUSED, str(exc)) for version in key.versions]
        report.rows += rows
        progress(done, len(bundle.keys))
    return report


def _refusal(row: Row, policy: OnConflict) -> KeyExists:
    hint = " (see --on-conflict)" if policy is OnConflict.REFUSE else ""
    return KeyExists(f"{row.ref}/{row.version}: {row.reason}; nothing of this key was changed{hint}")


def _import_key(key: BundledKey, target: Target) -> list[Row]:
    _demand_sound(key)
    target.keys.layout.check_fits(key.ref, target.keys.store.name_limit)
    work = _KeyImport(key, target)
    steps = work.decided()
    if not target.dry_run and (any(step.action in _WRITES for step in steps) or work.notes(steps)):
        steps = work.carry_out()
    return [_row(target.keys.layout, key.ref, step) for step in steps]


def _row(layout: Layout, ref: KeyRef, step: Step) -> Row:
    return Row(ref, step.version.id, step.action, step.reason, _called(layout, ref, step))


def _called(layout: Layout, ref: KeyRef, step: Step) -> str:
    """What a version is called there; what it would be, where it is not there."""
    if step.there is not None:
        return step.there.number or step.there.id
    if step.version.is_current and step.action is Action.ADD and not has_rings(layout, ref):
        return CURRENT
    slots = layout.slots(step.items[0].name) if step.action is Action.ADD else ()
    return slots[0].stamp or "" if slots else ""


def _demand_sound(key: BundledKey) -> None:
    """Nothing, if all versions are keys of their kind.

    Raises:
        MaterialCorrupt: one is not.
    """
    for fault in faults_of(key):
        raise MaterialCorrupt(f"{fault.where}: {fault.message}")


class _KeyImport:
    """One key of a backup on its way into a key store."""

    def __init__(self, key: BundledKey, target: Target) -> None:
        self._key = key
        self._ref = key.ref
        self._target = target
        self._keys = target.keys
        self._items = restored(target.keys.layout, key)

    def decided(self, *, anew: bool = False) -> list[Step]:
        """What is to be done. *anew*: look at the store itself; the lock is held.

        Raises:
            RotationConflict: someone who takes no lock changes the key just now.
        """
        present = Present(self._keys, self._ref, self._ring(anew=anew))
        return decided(plan_key(present, self._ref, self._items), self._target.on_conflict)

    def _ring(self, *, anew: bool) -> KeyRing | None:
        if anew:
            return self._keys.relist(self._ref)
        try:
            return self._keys.ring(self._ref)
        except KeyNotFound:
            return None

    def notes(self, steps: list[Step]) -> list[Replacement]:
        """What is to be said in the blob where all versions lie; nothing while there is a conflict."""
        is_refused = any(step.action in _LEFT for step in steps)
        if is_refused or not has_rings(self._keys.layout, self._ref):
            return []
        written = {step.version.id for step in steps if step.action is Action.ADD and step.there is None}
        held = {step.version.id: step.there for step in steps if step.there is not None}
        ring = self._ring(anew=False) or KeyRing(self._ref, ())
        note = ring_note(self._key, ring, written, held)
        return [] if note is None else [note]

    def carry_out(self) -> list[Step]:
        """Write what is missing. The plan is made again with the lock held: others may have been faster."""
        with self._keys.lock(self._ref), self._keys.being_written(self._ref):
            steps = self.decided(anew=True)
            notes = self.notes(steps)
            added = [step.missing for step in steps if step.action is Action.ADD]
            for items in self._batches(added, notes):
                self._switch(items, {}, notes)
            is_done = not _supersedes(steps) or self._took_its_place(steps)
            before = identity(self._keys.relist(self._ref, [item.name for item in self._items]))
        if not is_done and steps[-1].version.secret is not None:
            data = steps[-1].version.secret.reveal()
            self._target.writer.import_material(self._ref, data, expected=before)
        if self._ref.purpose.is_pair and steps and steps[-1].action in _WRITES:
            self._target.writer.mend_public(self._ref)
        self._verify(steps)
        return steps

    def _batches(
        self, added: Iterable[Sequence[Restored]], notes: Sequence[Replacement]
    ) -> list[Sequence[Restored]]:
        """What is switched together: all of a key where it lies in one blob, else version by version."""
        batches = [items for items in added if items]
        if is_switched(self._keys.layout, self._ref) or not (batches or notes):
            return batches
        return [[item for items in batches for item in items]]

    def _took_its_place(self, steps: list[Step]) -> bool:
        """Whether the new version could take the place of one that has its name in the history already.

        That keeps the order: what is current in the key store retires as what it is in the backup.
        """
        former = next((step for step in steps if step.is_current_there), None)
        ring = self._keys.ring(self._ref)
        current, items = ring.current, steps[-1].items
        if former is None or current is None or not is_switched(self._keys.layout, self._ref):
            return False
        archives = {item.half: item.name for item in former.items}
        parts = {Half.SECRET: current.secret, Half.PUBLIC: current.public}
        there = {half for half, part in parts.items() if part is not None}
        if not archives.keys() >= there | {item.half for item in items}:
            return False
        self._switch(items, archives)
        return True

    def _switch(
        self, items: Sequence[Restored], archives: Mapping[Half, str], notes: Iterable[Replacement] = ()
    ) -> None:
        """Write blobs, each proved to open; what they supersede is archived under the names given."""
        blobs = (
            Replacement(item.name, self._blob(item), item.mode, item.time_ns, archives.get(item.half))
            for item in items
        )
        self._keys.store.supersede([*blobs, *notes])

    def _blob(self, item: Restored) -> bytes:
        if item.half is Half.PUBLIC or self._ref.purpose.shape is Shape.PLAIN:
            return item.material.reveal()
        return sealed(self._keys, self._ref, item.name, item.material)

    def _verify(self, steps: list[Step]) -> None:
        """What was written is read back from the store, and is what it was in the backup.

        Raises:
            StoreUnavailable: it is not.
        """
        ring = self._keys.relist(self._ref, [item.name for item in self._items])
        try:
            present = Present(self._keys, self._ref, ring)
        except (RotationConflict, UnsealFailed, MaterialCorrupt) as exc:
            raise StoreUnavailable(f"{self._ref} does not read back as it was written") from exc
        held = {present.fingerprint(version) for version in present.ring.versions}
        for step in steps:
            is_held = fingerprint_of(self._ref, step.version) in held
            if step.action in _WRITES and not is_held:
                raise StoreUnavailable(f"{self._ref}/{step.version.id} does not read back as it was written")


def _supersedes(steps: list[Step]) -> bool:
    return bool(steps) and steps[-1].action is Action.SUPERSEDE
