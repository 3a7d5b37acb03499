"""`keyfs export`: a backup of a key store, in one sealed file."""

import json
import logging
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from keyfs.broker.archive import archived as archived_versions
from keyfs.broker.audit import leave_trace
from keyfs.broker.bundles import read_bundle, write_bundle
from keyfs.broker.exporting import Gathered, as_bundle, gather
from keyfs.broker.keystore import KeyStore
from keyfs.cli.bundle_files import (
    bundle_option,
    demand_free,
    key_file_of,
    lock_for_writing,
    lock_options,
    write_files,
)
from keyfs.cli.exitcodes import EXIT_CODES, FINDINGS, OK
from keyfs.cli.options import json_option
from keyfs.cli.progress import progress_bar
from keyfs.cli.whole import WholeStore, opens_whole_store
from keyfs.core.archived import NAME as ARCHIVE
from keyfs.core.bundles import Bundle
from keyfs.core.names import KeyRef, parse_key_ref, parse_purpose
from keyfs.core.purposes import Purpose
from keyfs.errors import KeyfsError, KeyNotFound
from keyfs.logs import event
from keyfs.seal.bundles import Format, Lock, recognise

_log = logging.getLogger(__name__)


@click.command(short_help="Back up keys into a sealed bundle.")
@opens_whole_store()
@bundle_option
@lock_options
@click.option(
    "--format",
    "form",
    envvar="KEYFS_FORMAT",
    type=click.Choice(["keyfs", "acra"]),
    default="keyfs",
    show_default=True,
    help="Whose bundle it is: only keyfs's holds everything.",
)
@click.option("--force", envvar="KEYFS_FORCE", is_flag=True, help="Replace files that are there.")
@json_option
@click.argument("selected", metavar="[PURPOSE[/CLIENT]]...", nargs=-1)
def export(  # noqa: PLR0913 - as many as there are options
    whole: WholeStore,
    *,
    bundle: str,
    key_file: str | None,
    passphrase_from: str | None,
    form: str,
    force: bool,
    as_json: bool,
    selected: tuple[str, ...],
) -> int:
    """Write keys with all their versions, opened and sealed anew, into one file; everything, by default.

    The bundle is sealed under a fresh key, which is written to a file of its own (keep the two apart), or
    under a passphrase. keyfs verify proves that it can be restored.
    """
    path = Path(bundle)
    key_path = None if passphrase_from else key_file_of(path, key_file)
    demand_free(path, key_path, force=force)
    keys, _ = whole.open()
    with closing(keys):
        chosen = Format.KEYFS if form == "keyfs" else Format(f"acra-{keys.layout.name}")
        lock = lock_for_writing(key_file, passphrase_from, chosen)
        gathered = _gathered(keys, selected)
        made = as_bundle(keys, gathered)
        sealed, left_out = write_bundle(made, lock, chosen)
        key = None if key_path is None else (key_path, lock.material.reveal())
        write_files((path, sealed), key, force=force)
        counts = dict(zip(("keys", "versions", "halves"), _count(made, sealed, lock), strict=True))
        _leave_trace(keys, {"format": chosen.value, "failed": len(gathered.failures()), **counts})
        left_out = {**keys.index.strays, **left_out}
        archived = _archived(keys, selected)
    lock.material.wipe()
    made.wipe()
    facts = {
        "bundle": bundle,
        "key_file": None if key_path is None else str(key_path),
        "format": chosen.value,
    }
    _tell({**facts, **counts, "archived_not_exported": archived}, gathered, left_out, as_json=as_json)
    return _outcome(gathered, is_all=chosen is Format.KEYFS or left_out.keys() <= keys.index.strays.keys())


def _gathered(keys: KeyStore, selected: Collection[str]) -> Gathered:
    refs = _chosen(keys, selected) if selected else None
    with progress_bar("opening keys") as progress:
        gathered = gather(keys, refs, progress)
    if not gathered.keys:
        for error in gathered.failures().values():
            raise error
        raise KeyNotFound(f"there is nothing to export in {keys.store.describe()}")
    return gathered


def _chosen(keys: KeyStore, selected: Collection[str]) -> set[KeyRef]:
    """The keys that were named.

    Raises:
        InvalidName: it cannot be a name.
        KeyNotFound: there is no such key.
    """
    known: dict[str, Purpose] = {purpose.name: purpose for purpose in keys.layout.purposes}
    known |= {ref.purpose.name: ref.purpose for ref in keys.index.refs()}
    refs: set[KeyRef] = set()
    for text in selected:
        if "/" in text:
            found = {parse_key_ref(text, known.values())}
        else:
            found = set(keys.index.refs(parse_purpose(text, known.values())))
        if not found or not all(keys.index.has(ref) for ref in found):
            raise KeyNotFound(f"there is no key {text} to export")
        refs |= found
    return refs


def _count(made: Bundle, sealed: bytes, lock: Lock) -> tuple[int, int, int]:
    """How many keys, versions and halves are in the bundle: Acra's cannot have all."""
    if recognise(sealed) is Format.KEYFS:
        return made.count()
    _, read = read_bundle(sealed, lock)
    return read.count()


def _archived(keys: KeyStore, selected: Collection[str]) -> int:
    """How many versions of what is exported are in the archive, and so not in the bundle."""
    try:
        there = archived_versions(keys).values()
    except KeyfsError as exc:  # which is no reason to be without a backup of what is whole
        click.echo(f"not looked at: {exc}", err=True)
        return 0
    return sum(
        not selected or any(f"{one.key}/".startswith(f"{name}/") for name in selected) for one in there
    )


def _leave_trace(keys: KeyStore, facts: dict[str, Any]) -> None:
    event(_log, logging.INFO, "export.ended", store=keys.store.describe(), **facts)
    leave_trace(keys.store, "export", **facts)


def _tell(facts: dict[str, Any], gathered: Gathered, left_out: dict[str, str], *, as_json: bool) -> None:
    failures = gathered.failures()
    if as_json:
        errors = {name: str(error) for name, error in failures.items()}
        click.echo(json.dumps({**facts, "failed": errors, "left_out": left_out}, indent=2))
    for name, reason in sorted(left_out.items()):
        click.echo(f"left out {name}: {reason}", err=True)
    for name, error in failures.items():
        click.echo(f"not exported {name}: {error}", err=True)
    archived = facts["archived_not_exported"]
    if archived:
        advice = (
            f"copy {ARCHIVE} beside the key store, too, or put them back first, with keyfs archive restore"
        )
        click.echo(f"{archived} archived versions are not in it: {advice}", err=True)
    where = f", its key to {facts['key_file']}: keep them apart" if facts["key_file"] else ""
    click.echo(
        f"{facts['keys']} keys with {facts['versions']} versions written to {facts['bundle']}{where}",
        err=True,
    )


def _outcome(gathered: Gathered, *, is_all: bool) -> int:
    failed = next((EXIT_CODES[type(error)] for error in gathered.failures().values()), None)
    return failed if failed is not None else OK if is_all else FINDINGS
