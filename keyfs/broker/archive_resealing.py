"""The archive under another master key: every version in it sealed anew, and all of it written at once."""

from dataclasses import dataclass, field, replace
from typing import Final

from keyfs.broker.keystore import KeyStore
from keyfs.broker.resealing import OF_ONE_BLOB, Resealer
from keyfs.core.archived import NAME, Archived, ArchivedBlob, as_lines, decode
from keyfs.core.names import Half
from keyfs.core.purposes import Shape
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
        slot = next((slot for slot in self.keys.layout.slots(blob.name) if str(slot.ref) == one.key), None)
        if slot is None:
            raise OperationRefused(f"{blob.name} is no blob of {one.key} in this layout: it is left as it is")
        if slot.half is Half.PUBLIC or slot.ref.purpose.shape is Shape.PLAIN:
            return blob
        label = self.keys.layout.label(slot.ref, blob.name)
        if self.resealer.is_done(blob.data, label):
            self.report.already += 1
            return blob
        new = self.resealer.reseal(blob.data, label)
        self.report.rewrapped += 1
        return replace(blob, data=new)
