"""`keyfs migrate`: every key of a key store into another one, of whatever layout, on whatever medium.

One key after the other is read, opened, and imported as from a backup: what is there already is left alone,
so a migration that was stopped goes on where it was, and different keys are never overwritten. Nothing of the
source is changed or locked. What is wrong with one key keeps no other from being migrated.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from keyfs.broker.archive import archived
from keyfs.broker.exporting import Failures, Progress, known_refs, read_key
from keyfs.broker.import_plan import Action
from keyfs.broker.importing import Row, Target, import_bundle
from keyfs.broker.keystore import KeyStore
from keyfs.core.bundles import Bundle, BundledKey, BundledVersion
from keyfs.core.names import KeyRef
from keyfs.core.stamps import NANOSECONDS
from keyfs.errors import KeyfsError, StoreUnavailable
from keyfs.layout.differences import differences

ROUNDS: Final = 10  # a source that is rotated faster than it is read is no reason to go on for ever


@dataclass(slots=True)
class MigrationReport:
    """What a migration did, or would do."""

    rows: dict[KeyRef, list[Row]] = field(default_factory=dict)
    failed: dict[KeyRef, KeyfsError] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(
        default_factory=dict
    )  # codes of `keyfs.layout.differences`, with paths
    left_out: dict[str, str] = field(default_factory=dict)  # what is no key, by name, and why
    said: int = 0  # of how many versions something was noted beside the target
    verified: tuple[int, int, int] = (
        0,
        0,
        0,
    )  # keys, versions, halves that were read from both, and are equal

    def counts(self) -> dict[str, int]:
        """How many versions each action happened to."""
        actions = [row.action for rows in self.rows.values() for row in rows]
        return {action.value: actions.count(action) for action in Action}


def migrate(
    source: KeyStore, target: Target, progress: Progress = lambda _done, _all: None
) -> MigrationReport:
    """Bring every version of every key to where *target* says; what changes meanwhile, in a further round.

    Args:
        source: loaded, with its master key. It is only read.
        target: where to; what is another key there has to be a conflict.
        progress: told the number of keys done and of all keys.

    Raises:
        StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable, MasterKeyUnavailable,
        KeyServiceUnavailable: it stopped here; what is done is done, and it can be run again.
    """
    report = MigrationReport()
    refs = known_refs(source)
    for _ in range(ROUNDS):
        for done, ref in enumerate(sorted(refs, key=str), 1):
            _migrate_key(source, target, ref, report)
            progress(done, len(refs))
        refs = set() if target.dry_run else {slot.ref for slot in source.reload()}
        if not refs:
            break
    strays = source.index.strays.items()
    report.left_out = {name: why for name, why in strays if source.layout.ring_named(name) is None}
    _note(report, (("archive", path) for path in archived(source)))
    return report


def verify(
    source: KeyStore,
    target: KeyStore,
    report: MigrationReport,
    progress: Progress = lambda _done, _all: None,
) -> None:
    """Read every version anew from both, and compare them byte by byte, and their order; into the report.

    Args:
        source: as for `migrate`.
        target: what was migrated to, best opened anew.
        report: of what was migrated.
        progress: told the number of keys done and of all keys.

    Raises:
        As `migrate`.
    """
    refs = sorted(report.rows.keys() - report.failed.keys(), key=str)
    for done, ref in enumerate(refs, 1):
        key, failures = read_key(source, ref)
        other, _ = read_key(target, ref)
        _fail(report, ref, failures)
        if key is not None:
            _compare(key, other or BundledKey(ref, ()), report)
            key.wipe()
        if other is not None:
            other.wipe()
        progress(done, len(refs))


def _migrate_key(source: KeyStore, target: Target, ref: KeyRef, report: MigrationReport) -> None:
    """Nothing of a key of which anything does not open: what comes later would be in the wrong place."""
    report.failed.pop(ref, None)
    report.rows.pop(ref, None)
    key, failures = read_key(source, ref)
    _fail(report, ref, failures)
    if key is None:
        return
    if not failures:
        done = import_bundle(Bundle(source.layout.name, None, (key,)), target)
        report.rows[ref] = done.rows
        report.failed |= done.failed
        report.said += done.said
        now_ns = target.keys.store.now_ns()
        _note(report, differences(key, source.layout.name, target.keys.layout.name, now_ns))
    key.wipe()


def _fail(report: MigrationReport, ref: KeyRef, failures: Failures) -> None:
    for error in failures.values():  # one line for a key; the first is that of its oldest version
        report.failed.setdefault(ref, error)


def _compare(key: BundledKey, other: BundledKey, report: MigrationReport) -> None:
    """Count the versions of *key*, or say which one is not in *other*, in its place."""
    rest, halves = iter(other.versions), 0
    for version in key.held():
        path = f"{key.ref}/{version.id}"
        same = next((found for found in rest if _has_all_of(found, version)), None)
        if same is None:
            report.failed[key.ref] = StoreUnavailable(
                f"{path} does not read in the target as it does in the source: run it again"
            )
            return
        halves += sum(1 for _ in version.halves())
        if abs((version.created_ns or 0) - (same.created_ns or 0)) >= NANOSECONDS:
            _note(report, [("times", path)])
        if version.is_current and not same.is_current:
            _note(report, [("rotated", path)])
    totals = zip(report.verified, (1, len(key.held()), halves), strict=True)
    keys, versions, all_halves = (total + more for total, more in totals)
    report.verified = keys, versions, all_halves


def _has_all_of(found: BundledVersion, version: BundledVersion) -> bool:
    return all(found.half(half) == material for half, material in version.halves())


def _note(report: MigrationReport, found: Iterable[tuple[str, str]]) -> None:
    for code, path in found:
        paths = report.notes.setdefault(code, [])
        if path not in paths:
            paths.append(path)
