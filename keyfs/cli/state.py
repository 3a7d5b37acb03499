"""`keyfs state`: may a version be used?"""

import json
from typing import Final

import click

from keyfs.broker.keystore import KeyStore
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.states import tombstone
from keyfs.cli.options import Invocation, json_option, opens_key_store
from keyfs.core.names import KeyRef, parse_version_path
from keyfs.core.stamps import rfc3339
from keyfs.core.states import KeyState, VersionState
from keyfs.errors import KeyNotFound

why_option = click.option(
    "--why", envvar="KEYFS_WHY", metavar="TEXT", default="", help="The reason, which is shown with the state."
)
_SECONDS: Final = 19  # characters of a time to the second


@click.command(short_help="Show or set the state of a version.")
@opens_key_store
@why_option
@json_option
@click.argument("key", metavar="PURPOSE/CLIENT/VERSION")
@click.argument("state", metavar="[STATE]", required=False, type=click.Choice([s.value for s in KeyState]))
def state(invocation: Invocation, *, why: str, as_json: bool, key: str, state: str | None) -> None:
    """Show the state of a version, or set it: active, suspended, deactivated or compromised.

    What is suspended or compromised cannot be read; what is deactivated is only read as a retired version.
    Whoever has it in memory keeps it. A version's state follows it when it retires.
    """
    if why and state is None:
        raise click.UsageError("--why is the reason for a state: say which one")
    ref, version = parse_version_path(key, invocation.access.purposes)
    keys, _ = invocation.open(without_key=not invocation.access.legacy)
    found = _state(keys, ref, version)
    if state is not None:
        found = StateWriter(keys).set(ref, version, KeyState(state), why)
    keys.close()
    click.echo(json.dumps(_as_object(ref, version, found)) if as_json else _line(ref, version, found))


def _state(keys: KeyStore, ref: KeyRef, version_id: str) -> VersionState:
    """The state of a version, also of one that was destroyed.

    Raises:
        KeyNotFound: there was none.
    """
    try:
        ring = keys.ring(ref)
        return keys.states.of(ring, ring.version(version_id))
    except KeyNotFound:
        grave = tombstone(keys.states.fetch(), ref, version_id)
        if grave is None:
            raise
        return grave.shown(is_current=False)


def _as_object(ref: KeyRef, version_id: str, found: VersionState) -> dict[str, object]:
    return {
        "purpose": ref.purpose.name,
        "client": ref.client,
        "version": version_id,
        "state": found.state.value,
        "explicit": found.is_told,
        "since": None if found.since_ns is None else rfc3339(found.since_ns),
        "why": found.why,
        "destroy_at": None if found.destroy_at_ns is None else rfc3339(found.destroy_at_ns),
    }


def _line(ref: KeyRef, version_id: str, found: VersionState) -> str:
    since = f" since {moment(found.since_ns)}" if found.is_told and found.since_ns is not None else ""
    why = f" ({found.why})" if found.why else ""
    planned = f", to be destroyed at {moment(found.destroy_at_ns)}" if found.destroy_at_ns is not None else ""
    return f"{ref}/{version_id}: {found.state}{since}{why}{planned}"


def moment(time_ns: int) -> str:
    """A time for people, to the second, UTC."""
    return f"{rfc3339(time_ns)[:_SECONDS]}Z"
