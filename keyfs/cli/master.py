"""`keyfs master-key`: making master keys."""

import click

from keyfs.master.generate import generate as new_master_key


@click.group("master-key", short_help="Make a master key.")
def master_key() -> None:
    """Make a master key."""


@master_key.command(short_help="Print a new master key.")
@click.option(
    "--layout",
    envvar="KEYFS_LAYOUT",
    type=click.Choice(["v1", "v2"]),
    default="v1",
    show_default=True,
    help="For which layout.",
)
def generate(layout: str) -> None:
    """Print a new master key as ACRA_MASTER_KEY holds it. Nothing else keeps it: store it well."""
    click.echo(new_master_key(layout))
