"""`keyfs rekey`: every sealed blob of a key store under another master key, in place, while it is used.

A blob is opened, sealed anew, proved to open to the same, and swapped in if what it was made from is still
there. Whether a blob is done only the blob itself tells: it opens under the new key. So nothing is written
down, and a run that was killed is simply made again. Versions, their times and their order stay as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from keyfs.broker.archive_resealing import reseal_archive
from keyfs.broker.keystore import KeyStore
from keyfs.broker.resealing import OF_ONE_BLOB, Resealer
from keyfs.broker.ring_resealing import RingResealer
from keyfs.broker.sealed_rings import SealedRing, label_of, ring_blob, sealed_names
from keyfs.broker.state_changes import StateWriter
from keyfs.core.names import KeyRef
from keyfs.core.rings import is_ring_name
from keyfs.errors import (
    AccessDenied,
    KeyfsError,
    KeyNotFound,
    MasterKeyUnavailable,
    OperationRefused,
    RingInvalid,
    RotationConflict,
)
from keyfs.seal.protection import Protection
from keyfs.store.base import Blob

ROUNDS: Final = 20  # whoever goes on sealing under the old key is no reason to go on for ever
BATCH: Final = 8  # blobs that are rewritten before other writers get their turn

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class RekeyReport:
    """What a change of the master key did; if it was only tried, what it would do."""

    rewrapped: int = 0  # blobs sealed anew
    already: int = 0  # blobs that opened under the new key at the first look
    failed: dict[str, KeyfsError] = field(default_factory=dict)  # by name; these are as they were
    left_out: dict[str, str] = field(default_factory=dict)  # names that are no keys, with the reason
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class _Change:
    """One blob, under all names it has, and what is to take its place."""

    names: list[str]
    old: bytes
    new: bytes
    weight: int  # how many sealed blobs it counts for


def rekey(
    keys: KeyStore,
    new: Protection,
    report: RekeyReport,
    progress: Progress = lambda _done, _all: None,
    *,
    dry_run: bool = False,
) -> None:
    """Seal under *new* whatever is not: ring by ring, the newest versions first, until nothing is left.

    What others change meanwhile is looked at in a further round. The last look is taken with the lock held.

    Args:
        keys: loaded, with legacy keys; opens under *new* and under every key that was used before.
        new: what is to seal.
        report: filled while the work goes on, so that it tells what was done when an error ends it.
        progress: told the number of keys looked at and of all keys of this round.
        dry_run: only count. Writes nothing, not even a lock.

    Raises:
        MasterKeyUnavailable: *keys* opens under no key.
        OperationRefused: *new* has no key for some of the keys; nothing was changed.
        RotationConflict: others go on sealing under another key.
        KeyServiceUnavailable, StoreBusy, StoreFull, ReadOnly, AccessDenied, StoreUnavailable: it stopped
            here; what is done is done.
    """
    if keys.protection is None:
        raise MasterKeyUnavailable("without the master key nothing can be sealed anew")
    work = _Rekey(keys, new, report, dry_run=dry_run)
    work.demand_keys()
    while work.has_more_after(progress):
        if report.rounds >= ROUNDS:
            work.demand_end()
            break
        keys.reload()
    work.take_archive()
    report.left_out = dict(sorted(keys.index.strays.items()))
    report.failed |= {
        name: exc for name, reason in report.left_out.items() if (exc := _left(keys, name, reason))
    }


def _left(keys: KeyStore, name: str, reason: str) -> KeyfsError | None:
    """Why a stray that may hold keys stays under the old master key; None for one that holds none."""
    if keys.layout.ring_named(name) is not None:
        return RingInvalid(reason)
    if keys.layout.name == "v2" and is_ring_name(name):
        return OperationRefused(f"{reason}: it stays under the old master key")
    return None


class _Rekey:
    def __init__(self, keys: KeyStore, new: Protection, report: RekeyReport, *, dry_run: bool) -> None:
        assert keys.protection is not None  # noqa: S101 - it was looked at
        self._keys = keys
        self._protection = keys.protection
        self._resealer = Resealer(new, keys.protection)
        self._report = report
        self._dry_run = dry_run
        self._states = StateWriter(keys)
        self._seen: dict[str, str] = {}  # identities, by name, of blobs with which there is nothing to do

    def demand_keys(self) -> None:
        """Nothing, if the new way of sealing has a key for each of ours.

        Raises:
            OperationRefused: it has not.
        """
        if self._resealer.new.is_local:
            return
        label = self._keys.layout.label
        refs = self._keys.index.refs()
        without = sorted(
            str(ref)
            for ref in refs
            if any(not label(ref, name).key_name for name in sealed_names(self._keys, ref))
        )
        if without:
            more = f" and {len(without) - 1} others" if len(without) > 1 else ""
            raise OperationRefused(
                f"a KMS with a key for each client has none for {without[0]}{more}: nothing was changed"
            )

    def has_more_after(self, progress: Progress) -> bool:
        """Go through all rings in which there is something new; whether one more round is needed."""
        self._report.rounds += 1
        refs, before = self._rings(), self._report.rewrapped
        for done, ref in enumerate(refs, 1):
            self._rewrap(ref)
            progress(done, len(refs))
        # What was rewritten is read back in the next round: only then it counts as done.
        return not self._dry_run and (self._report.rewrapped > before or bool(self._locked_look()))

    def _resealer_of(self, ref: KeyRef) -> Resealer | RingResealer:
        if ring_blob(self._keys, ref) is None:
            return self._resealer
        return RingResealer(self._resealer, self._protection.signers())

    def take_archive(self) -> None:
        """Seal anew what lies in the archive; it holds keys as the store does."""
        done = reseal_archive(self._keys, self._resealer, dry_run=self._dry_run)
        self._report.rewrapped += done.rewrapped
        self._report.already += done.already
        self._report.failed |= done.failed

    def demand_end(self) -> None:
        """Nothing, if nothing is left after all.

        Raises:
            RotationConflict: something is.
        """
        left = self._locked_look()
        if left:
            raise RotationConflict(
                f"blobs that still need the old master key: {len(left)} (first: {left[0]}); someone goes on "
                f"sealing under it. Let every mount and program have the new key first, then the old one, "
                f"and run this again"
            )

    def _locked_look(self) -> list[str]:
        """The names of blobs that do not open under the new key, while no other keyfs can write."""
        with self._keys.store.lock():
            self._keys.reload()
            return [names[0] for ref in self._rings() for _, names in self._left(self._ring(ref))]

    def _rings(self) -> list[KeyRef]:
        """The keys with blobs that were not seen yet. Forgets the failures of blobs that are gone."""
        stats = {ref: self._keys.index.blobs(ref) for ref in self._keys.index.refs()}
        there = {name for blobs in stats.values() for name in blobs}
        self._report.failed = {name: exc for name, exc in self._report.failed.items() if name in there}
        news = [
            ref
            for ref, blobs in stats.items()
            if any(self._seen.get(name) != blobs[name].identity for name in sealed_names(self._keys, ref))
        ]
        return sorted(news, key=str)

    def _ring(self, ref: KeyRef) -> SealedRing:
        """What of a ring is there now and can be read."""
        stats, names = self._keys.index.blobs(ref), sealed_names(self._keys, ref)
        fetched = self._keys.store.get_many(names)
        blobs = {}
        for name in names:
            blob = fetched[name]
            if isinstance(blob, Blob):
                blobs[name] = blob
            elif isinstance(blob, OF_ONE_BLOB):
                self._fail({name: stats[name].identity}, blob)
            elif not isinstance(blob, KeyNotFound):
                raise blob
        return SealedRing(ref, {name: label_of(self._keys, ref, name) for name in blobs}, blobs)

    def _left(self, ring: SealedRing) -> Iterator[tuple[bytes, list[str]]]:
        """The blobs of a ring that do not open under the new key; it is noted which do."""
        for data, names in ring.groups():
            identities, label = ring.identities(names), ring.labels[names[0]]
            if all(self._seen.get(name) == identity for name, identity in identities.items()):
                continue
            resealer = self._resealer_of(ring.ref)
            if not resealer.is_done(data, label):
                yield data, names
                continue
            self._seen.update(identities)
            if self._report.rounds == 1:
                self._report.already += resealer.weight(data, label)
            for name in names:
                self._report.failed.pop(name, None)

    def _rewrap(self, ref: KeyRef) -> None:
        """Seal one ring anew. The lock is held for the swaps alone."""
        ring = self._ring(ref)
        changes = self._changes(ring)
        while batch := list(islice(changes, BATCH)):
            if self._dry_run:
                self._report.rewrapped += sum(change.weight for change in batch)
                continue
            with self._keys.lock(ref):
                for change in batch:
                    self._swap(ring, change)

    def _changes(self, ring: SealedRing) -> Iterator[_Change]:
        for data, names in self._left(ring):
            try:
                yield self._change(ring, data, names)
            except OF_ONE_BLOB as exc:
                self._fail(ring.identities(names), exc)

    def _change(self, ring: SealedRing, data: bytes, names: list[str]) -> _Change:
        label, resealer = ring.labels[names[0]], self._resealer_of(ring.ref)
        weight = resealer.weight(data, label)
        if self._dry_run:
            resealer.demand_open(data, label)
            return _Change(names, data, b"", weight)
        current = self._twin(ring, names[0])
        twin = None if current is None else ring.blobs[current].data
        new = resealer.reseal(data, label, twin)
        return _Change([current, *names] if current is not None and new == twin else names, data, new, weight)

    def _twin(self, ring: SealedRing, name: str) -> str | None:
        """The current blob's name, where *name* may be the archived copy of it that a killed run left behind.

        A stopped rotation leaves the current blob a second name. If a run is killed between the two, they
        are not known for one blob any more; then *name* is the newest, and has the same time.
        """
        first, second = [*ring.blobs, "", ""][:2]
        if name != second or first not in self._keys.layout.places(ring.ref).names:
            return None
        stats = ring.blobs[first].stat, ring.blobs[second].stat
        return first if stats[0].mtime_ns == stats[1].mtime_ns and stats[0].mode == stats[1].mode else None

    def _swap(self, ring: SealedRing, change: _Change) -> None:
        """A race that was lost is noticed in the next look."""
        is_told = bool(self._keys.states.told(ring.ref))
        try:
            if is_told:
                self._states.follow(
                    ring.ref, ring.known_ahead(change.names, change.old, change.new), is_ahead=True
                )
            is_done = self._keys.store.rewrite(change.names, change.old, change.new)
        except (AccessDenied, RingInvalid) as exc:
            names = [name for name in change.names if ring.blobs[name].data == change.old]
            self._fail(ring.identities(names), exc)
            return
        self._report.rewrapped += change.weight if is_done else 0
        if is_done and is_told:
            after = self._keys.store.stat_many(change.names)
            self._states.follow(
                ring.ref, {ring.blobs[name].stat.identity: stat.identity for name, stat in after.items()}
            )

    def _fail(self, identities: dict[str, str], exc: KeyfsError) -> None:
        self._seen.update(identities)
        for name in identities:
            self._report.failed[name] = exc
