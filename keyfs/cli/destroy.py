"""`keyfs destroy`: a version goes for good, now or when it is due."""

import sys
from collections.abc import Collection
from contextlib import suppress

import click

from keyfs.broker.keystore import KeyStore
from keyfs.broker.removal import demand_expendable
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.states import tombstone
from keyfs.cli.options import Invocation, opens_key_store
from keyfs.cli.state import moment, why_option
from keyfs.core.durations import age_s
from keyfs.core.names import KeyRef, parse_key_ref, parse_version_path
from keyfs.core.purposes import Purpose
from keyfs.core.states import KeyState
from keyfs.errors import InvalidName, InvalidSettings, KeyDestroyed, KeyfsError, KeyNotFound
from keyfs.layout.base import KeyRing


def _after(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    return None if text is None else age_s(text, "--after: ")


@click.command(short_help="Remove one version for good, now or later.")
@opens_key_store
@click.option("--yes", envvar="KEYFS_YES", is_flag=True, help="Do not ask.")
@click.option(
    "--force",
    envvar="KEYFS_FORCE",
    is_flag=True,
    help="Also if others become unreadable for Acra without it.",
)
@click.option(
    "--after",
    envvar="KEYFS_AFTER",
    metavar="TIME",
    callback=_after,
    help="Not now, but when this time has passed: 12h, 7d. Until then --undo helps.",
)
@click.option("--undo", envvar="KEYFS_UNDO", is_flag=True, help="Do not destroy it after all.")
@click.option("--due", envvar="KEYFS_DUE", is_flag=True, help="Destroy all that is due by now.")
@why_option
@click.argument("key", metavar="PURPOSE/CLIENT/VERSION", required=False)
def destroy(  # noqa: PLR0913 - one for each option
    invocation: Invocation,
    *,
    yes: bool,
    force: bool,
    after: float | None,
    undo: bool,
    due: bool,
    why: str,
    key: str | None,
) -> None:
    """Remove one version for good, by its stable id: `current` only with --force.

    With --after it is only planned, and can be undone. What is planned is carried out by a mount that is not
    read-only, or by `keyfs destroy --due`.
    """
    if (key is None) != due or (due and (after is not None or undo or force or why)):
        raise click.UsageError("say which version, as PURPOSE/CLIENT/VERSION; or --due, alone")
    if undo and (after is not None or force or why):
        raise click.UsageError("--undo stands alone: what it undoes is all that was planned for the version")
    keys, _ = invocation.open(without_key=not invocation.access.legacy)
    writer = StateWriter(keys)
    try:
        if key is None:
            _destroy_due(writer)
            return
        ref, version = _stable_id(key, invocation.access.purposes)
        if undo:
            writer.undo(ref, version)
            click.echo(f"{ref}/{version} is not going to be destroyed", err=True)
            return
        _ask(keys, ref, version, is_forced=force, is_sure=yes, is_later=after is not None)
        if after is None:
            writer.destroy(ref, version, why=why, is_forced=force)
            click.echo(f"destroyed {ref}/{version}", err=True)
        else:
            at_ns = writer.plan(ref, version, after, why=why, is_forced=force)
            click.echo(f"{ref}/{version} is to be destroyed at {moment(at_ns)}: --undo until then", err=True)
    finally:
        keys.close()


def _ask(
    keys: KeyStore, ref: KeyRef, version_id: str, *, is_forced: bool, is_sure: bool, is_later: bool
) -> None:
    """Nothing, if this version can be destroyed, and whoever sits at the terminal wants it."""
    ring = _with_version(keys, ref, version_id)
    if not is_forced:
        demand_expendable(keys, ring, version_id)
    if not is_sure and not is_later and sys.stdin.isatty():
        why = keys.layout.why_kept(ring, version_id)
        but = f", although {why}" if why else ""
        click.confirm(f"Destroy {ref}/{version_id} for good{but}?", abort=True, err=True)


def _stable_id(key: str, known: Collection[Purpose]) -> tuple[KeyRef, str]:
    """The version that was named, in full: elsewhere one that is left out is the current one.

    Raises:
        InvalidName: it cannot be one.
        InvalidSettings: it is a key.
    """
    ref, version = parse_version_path(key, known)
    with suppress(InvalidName):
        parse_key_ref(key, known)
        raise InvalidSettings(f"{key} is a key: say which version of it, see keyfs list --versions {key}")
    return ref, version


def _with_version(keys: KeyStore, ref: KeyRef, version_id: str) -> KeyRing:
    """The ring, which has such a version.

    Raises:
        KeyNotFound: there is none.
        KeyDestroyed: not any more.
    """
    try:
        ring = keys.ring(ref)
        is_gone = ring.version(version_id).state is KeyState.DESTROYED
    except KeyNotFound:
        if tombstone(keys.states.fetch(), ref, version_id) is None:
            raise
        is_gone = True
    if is_gone:
        raise KeyDestroyed(f"{ref}/{version_id} was destroyed: there is nothing left to do")
    return ring


def _destroy_due(writer: StateWriter) -> None:
    """Carry out what is due; the first error that there was is raised when all has been tried."""
    errors: list[KeyfsError] = []
    for done in writer.destroy_due():
        if done.error is None:
            click.echo(f"destroyed {done.ref}/{done.version}", err=True)
        else:
            errors.append(done.error)
    if errors:
        raise errors[0]
