"""`keyfs archive`: retired versions that are not to stay in the key store, and are not to be lost either."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from keyfs.broker.agenda import over_limit_versions
from keyfs.broker.archive import archive as archive_versions
from keyfs.broker.archive import archived, purge, restore
from keyfs.broker.audit import leave_trace
from keyfs.broker.keystore import KeyStore
from keyfs.cli.options import Invocation, json_option, opens_key_store, rotation_source, tell_left_out
from keyfs.cli.rotate import purpose_option
from keyfs.core.archived import Archived
from keyfs.core.durations import age_s
from keyfs.core.names import parse_purpose
from keyfs.core.purposes import Purpose
from keyfs.core.rotation import RotationPolicy, RotationRule, parse_keep
from keyfs.core.stamps import NANOSECONDS, rfc3339
from keyfs.errors import InvalidSettings


@click.group(short_help="Versions that were taken out of the store.")
def archive() -> None:
    """Retired versions beside the key store, sealed as they were: no tool reads them there."""


@archive.command("fill", short_help="Archive what is over the limit.")
@opens_key_store
@click.option(
    "--keep",
    envvar="KEYFS_KEEP",
    metavar="NUMBER|TIME",
    help="How many retired versions stay, or for how long: 5, 400d; else what [rotation] says.",
)
@purpose_option
@click.option("--dry-run", envvar="KEYFS_DRY_RUN", is_flag=True, help="Only tell. Writes nothing.")
def fill(invocation: Invocation, *, keep: str | None, purposes: tuple[str, ...], dry_run: bool) -> None:
    """Take the retired versions over the limit out of the key store, into the archive.

    The current version stays, always. Opens no seal and needs no master key.
    """
    policy = _policy(keep)
    chosen = {parse_purpose(name, invocation.access.purposes) for name in purposes}
    with _opened(invocation) as keys:
        tell_left_out(keys)
        done = list(_filled(keys, policy, chosen, dry_run=dry_run))
    for label in done:
        click.echo(label)
    click.echo(f"{len(done)} versions {'would be archived' if dry_run else 'archived'}", err=True)


@archive.command("list", short_help="What is in the archive.")
@opens_key_store
@json_option
def list_archive(invocation: Invocation, *, as_json: bool) -> None:
    """What is in the archive: one line for each version, and since when."""
    with _opened(invocation) as keys:
        rows = [(one.label, rfc3339(one.archived_ns)) for one in archived(keys).values()]
    if as_json:
        click.echo(json.dumps([{"version": label, "archived": since} for label, since in rows], indent=1))
        return
    for label, since in rows:
        click.echo(f"{label}\t{since}")


@archive.command("restore", short_help="Put an archived version back.")
@opens_key_store
@click.argument("version", metavar="PURPOSE/CLIENT/VERSION")
def restore_version(invocation: Invocation, *, version: str) -> None:
    """Put a version from the archive back into the history of its key."""
    with _opened(invocation) as keys:
        restore(keys, version)
    click.echo(f"restored {version}", err=True)


@archive.command("purge", short_help="Remove archived versions for good.")
@opens_key_store
@click.option(
    "--older-than",
    envvar="KEYFS_OLDER_THAN",
    metavar="TIME",
    help="All that were archived longer ago: 400d.",
)
@click.option("--yes", envvar="KEYFS_YES", is_flag=True, help="Do not ask.")
@click.argument("version", metavar="[PURPOSE/CLIENT/VERSION]", required=False)
def purge_versions(invocation: Invocation, *, older_than: str | None, yes: bool, version: str | None) -> None:
    """Remove versions from the archive, for good: one, or all that are older."""
    if (older_than is None) == (version is None):
        raise InvalidSettings("say what to remove: PURPOSE/CLIENT/VERSION, or --older-than TIME")
    with _opened(invocation) as keys:
        labels = [version] if version is not None else _old(keys, older_than or "")
        if labels and not yes and sys.stdin.isatty():
            click.confirm(f"Remove {_named(labels)} for good?", abort=True, err=True)
        purge(keys, labels)
        if labels:
            leave_trace(keys.store, "archive-purge", removed=len(labels))
    click.echo(f"{len(labels)} versions removed for good", err=True)


def _named(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{len(labels)} archived versions"


def _old(keys: KeyStore, older_than: str) -> list[str]:
    since_ns = keys.store.now_ns() - int(age_s(older_than, "--older-than: ")) * NANOSECONDS

    def is_old(one: Archived) -> bool:
        return one.archived_ns <= since_ns

    return [one.label for one in filter(is_old, archived(keys).values())]


def _policy(keep: str | None) -> RotationPolicy:
    """What is kept: as said on the command line, else as the configuration file says.

    Raises:
        InvalidSettings: neither says anything.
    """
    if keep is not None:
        return RotationPolicy(RotationRule(keep=parse_keep(keep, "--keep")))
    policy = rotation_source()()
    if all(rule.keep is None for rule in policy.rules):
        raise InvalidSettings("nothing says how much is kept: give --keep 5 or 400d, or keep in [rotation]")
    return policy


def _filled(keys: KeyStore, policy: RotationPolicy, chosen: set[Purpose], *, dry_run: bool) -> Iterator[str]:
    """Archive, key by key; the labels of what was, or would be."""
    now_ns = keys.store.now_ns()
    for ring in sorted(keys.rings(), key=lambda ring: str(ring.ref)):
        ref = ring.ref
        over = over_limit_versions(ring, policy, now_ns)
        if not over or ref.purpose.is_legacy or (chosen and ref.purpose not in chosen):
            continue
        if not dry_run:
            over = archive_versions(keys, ref, lambda ring: over_limit_versions(ring, policy, now_ns))
        for version in over:
            yield f"{ref}/{version.id}"


@contextmanager
def _opened(invocation: Invocation) -> Iterator[KeyStore]:
    """The key store, without a master key: nothing is opened here."""
    keys, _ = invocation.open(without_key=not invocation.access.legacy)
    with closing(keys):
        yield keys
