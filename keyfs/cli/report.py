"""`keyfs report`: all keys of a store on one page, for a browser."""

import os
import secrets
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import click

from keyfs.broker.inventory import inventory
from keyfs.cli.listing import BY_SCHEDULE, overdue_policy
from keyfs.cli.options import Invocation, opens_key_store, rotation_source, tell_left_out
from keyfs.core.report import DAY_NS
from keyfs.core.report import report as report_of
from keyfs.core.report_page import Heading, page
from keyfs.core.rotation import RotationPolicy
from keyfs.errors import InvalidSettings

A_YEAR: Final = "365d"


@click.command(short_help="One page about all keys, for a browser.")
@opens_key_store
@click.option(
    "--html",
    envvar="KEYFS_HTML",
    metavar="FILE",
    required=True,
    help="Where the page is written; - for stdout.",
)
@click.option(
    "--overdue",
    envvar="KEYFS_OVERDUE",
    metavar="TIME",
    help="What counts as overdue: 90d; else what [rotation] says, else 365d.",
)
def report(invocation: Invocation, *, html: str, overdue: str | None) -> None:
    """Write one page about all keys: their ages, what is overdue, how many there are, the last rotations.

    The page needs nothing but a browser. There is no key in it. Opens no seal and needs no master key.
    """
    policy, words = _policy(overdue)
    keys, _ = invocation.open(without_key=not invocation.access.legacy)
    with closing(keys):
        tell_left_out(keys)
        now_ns = keys.store.now_ns()
        found = report_of(inventory(keys, with_history=True), policy, now_ns)
        heading = Heading(keys.store.describe(), keys.layout.name, now_ns, words)
    text = page(found, heading)
    if html == "-":
        click.echo(text, nl=False)
        return
    write_whole(Path(html), text.encode("utf-8", "replace"))
    click.echo(f"{html}: {found.keys} keys, {len(found.overdue)} overdue", err=True)


def write_whole(path: Path, data: bytes) -> None:
    """Let *path* hold *data*, all of it or what it held before; durable.

    Raises:
        InvalidSettings: it cannot be written there.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        finally:
            with suppress(FileNotFoundError):
                new.unlink()
    except OSError as exc:
        raise InvalidSettings(f"cannot write {path}: {exc.strerror}: name another file") from exc


def _policy(overdue: str | None) -> tuple[RotationPolicy, str]:
    """What counts as overdue, and how to say it."""
    if overdue is not None:
        return overdue_policy(overdue), f"not rotated for {overdue}, or of unknown age"
    if not rotation_source()().rotates:
        return overdue_policy(A_YEAR), f"not rotated for {A_YEAR}, or of unknown age"
    policy = overdue_policy(BY_SCHEDULE)
    said = [_words(policy.default.every_ns)] if policy.default.every_ns is not None else []
    said += [f"{name}: {_words(rule.every_ns)}" for name, rule in sorted(policy.of_purpose.items())]
    return policy, f"not rotated as scheduled ({', '.join(said)}), or of unknown age"


def _words(every_ns: int | None) -> str:
    if every_ns is None:
        return "never"
    days, rest = divmod(every_ns, DAY_NS)
    return f"{days}d" if not rest else f"{every_ns // 1_000_000_000}s"
