"""The archive under another master key: every version in it sealed anew, and all of it written at once."""

from dataclasses import dataclass, field, replace
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.resealing import OF_ONE_BLOB, Resealer
from keyfs.broker.ring_resealing import RingResealer, ring_label
from keyfs.core.archived import NAME, Archived, ArchivedBlob, as_lines, decode
from keyfs.core.label import Label
from keyfs.core.names import Half
from keyfs.core.purposes import Shape
from keyfs.core.rings import parse_whole_name, ring_path
from keyfs.errors import KeyfsError, MaterialCorrupt, OperationRefused, StoreBusy

TRIES: Final = 5  # others seldom write there


@dataclass(slots=True)
class ArchiveReport:
    """What was done in the archive."""

    rewrapped: int = 0
    already: int = 0
    failed: dict[str, KeyfsError] = field(default_factory=dict)  # by `PURPOSE/CLIENT/VERSION in the archive`


def reseal_archive(keys: KeyStore, resealer: Resealer, *, dry_run: bool = False) -> ArchiveReport:
    """Seal anew what is in the archive. What cannot be stays as it is, and is told of.

    The lock is held only to write, and nothing is if somebody else wrote there meanwhile.

    Raises:
        StoreBusy: others write there all the time, or the lock ended.
        KeyServiceUnavailable, StoreFull, ReadOnly, AccessDenied, StoreUnavailable: nothing was changed.
    """
    for _ in range(TRIES):
        report, text = ArchiveReport(), keys.store.read_beside(NAME)
        try:
            found = decode(text)
        except MaterialCorrupt as exc:
            report.failed[NAME] = exc
            return report
        anew = [_Work(keys, resealer, report).resealed(one) for one in found.values()]
        if dry_run or not report.rewrapped:
            return report
        with keys.store.lock():
            if keys.store.read_beside(NAME) == text:
                keys.store.write_beside(NAME, as_lines(anew), is_locked=True)
                return report
    raise StoreBusy(f"others write {NAME} beside the key store all the time: run this again")


@dataclass(frozen=True, slots=True)
class _Work:
    keys: KeyStore
    resealer: Resealer
    report: ArchiveReport

    def resealed(self, one: Archived) -> Archived:
        try:
            return replace(one, blobs=tuple(self._blob(one, blob) for blob in one.blobs))
        except OF_ONE_BLOB as exc:
            self.report.failed[f"{one.label} in the archive"] = exc
            return one

    def _blob(self, one: Archived, blob: ArchivedBlob) -> ArchivedBlob:
        whole = parse_whole_name(blob.name)
        if whole is not None and str(self.keys.layout.ring_named(whole[0])) == one.key:
            assert self.keys.protection is not None  # noqa: S101 - what reseals opens
            rings = RingResealer(self.resealer, self.keys.protection.signers())
            return self._anew(blob, rings, ring_label(ring_path(whole[0])))
        slot = next((slot for slot in self.keys.layout.slots(blob.name) if str(slot.ref) == one.key), None)
        if slot is None:
            raise OperationRefused(f"{blob.name} is no blob of {one.key} in this layout: it is left as it is")
        if slot.half is Half.PUBLIC or slot.ref.purpose.shape is Shape.PLAIN:
            return blob
        return self._anew(blob, self.resealer, self.keys.layout.label(slot.ref, blob.name))

    def _anew(self, blob: ArchivedBlob, resealer: Resealer | RingResealer, label: Label) -> ArchivedBlob:
        if resealer.is_done(blob.data, label):
            self.report.already += 1
            return blob
        new = resealer.reseal(blob.data, label)
        self.report.rewrapped += 1
        return replace(blob, data=new)
