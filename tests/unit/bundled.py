"""Backups for tests: those that Acra made, and those of a key store in memory."""

import json
from pathlib import Path
from typing import Any

from keyfs.broker.bundles import read_bundle
from keyfs.broker.import_plan import OnConflict
from keyfs.broker.importing import ImportReport
from keyfs.core.bundles import Bundle
from keyfs.core.names import Half
from keyfs.core.secret import Secret
from keyfs.seal.bundles import Format, Lock
from keyfs.testing.backups import backup_of, restore_into
from keyfs.testing.builders import Keys

BUNDLES = Path(__file__).parents[1] / "vectors" / "bundles"
MANIFEST: dict[str, dict[str, Any]] = {
    vector["name"]: vector for vector in json.loads((BUNDLES / "manifest.json").read_bytes())
}
Contents = list[tuple[str, str, Half, bytes]]


def lock_of(name: str) -> Lock:
    key = MANIFEST[name]["key"]
    return Lock(Secret((BUNDLES / key).read_bytes() if key else bytes(32)))


def acra_bundle(name: str) -> tuple[Format, Bundle]:
    return read_bundle((BUNDLES / MANIFEST[name]["bundle"]).read_bytes(), lock_of(name))


def exported(made: Keys) -> Bundle:
    return backup_of(made.keys)


def restore(
    bundle: Bundle, made: Keys, on_conflict: OnConflict = OnConflict.REFUSE, *, dry_run: bool = False
) -> ImportReport:
    return restore_into(made.keys, made.writer, bundle, on_conflict, dry_run=dry_run)


def contents(bundle: Bundle) -> Contents:
    """Every half of every version, in order."""
    return [
        (str(key.ref), version.id, half, material.reveal())
        for key in bundle.keys
        for version in key.versions
        for half, material in version.halves()
    ]


def actions(report: ImportReport) -> list[tuple[str, str]]:
    return [(str(row.ref), row.action.value) for row in report.rows]
