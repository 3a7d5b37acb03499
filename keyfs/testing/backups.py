"""Backups for tests, of key stores that they made."""

from keyfs.broker.exporting import as_bundle, gather
from keyfs.broker.import_plan import OnConflict
from keyfs.broker.importing import ImportReport, Target, import_bundle
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.bundles import Bundle


def backup_of(keys: KeyStore) -> Bundle:
    """Everything in a key store as it is now; it must all be readable."""
    keys.reload()
    gathered = gather(keys)
    assert not gathered.failed, gathered.failures()  # noqa: S101 - this is the test kit
    return as_bundle(keys, gathered)


def restore_into(
    keys: KeyStore,
    writer: RingWriter,
    bundle: Bundle,
    on_conflict: OnConflict = OnConflict.REFUSE,
    *,
    dry_run: bool = False,
) -> ImportReport:
    """Import a backup, after a look at the key store as it is now."""
    keys.reload()
    return import_bundle(bundle, Target(keys, writer, on_conflict, dry_run))
