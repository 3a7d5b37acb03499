"""`keyfs copy`: a key store to another place."""

from contextlib import closing

import click

from keyfs import app, logs
from keyfs.broker.copying import copy as copy_store
from keyfs.broker.copying import demand_one_layout
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.broker.state_changes import StateWriter
from keyfs.cli.exitcodes import EXIT_CODES, OK
from keyfs.cli.options import (
    config_option,
    legacy_option,
    log_level_option,
    master_key_option,
    own_purposes,
    wait_option,
)
from keyfs.cli.progress import progress_bar


@click.command(short_help="Copy a key store to another place.")
@config_option
@master_key_option
@legacy_option
@wait_option
@log_level_option
@click.argument("source", metavar="SRC-URI")
@click.argument("target", metavar="DST-URI")
def copy(*, master_key: str, legacy: bool, wait: float, log_level: str, source: str, target: str) -> int:
    """Copy every key with its history, from a directory to Redis or back, still sealed, and their states.

    Can be stopped and run again. Every blob is opened before and after; different bytes at the destination
    are never overwritten. A directory has to be made first, with keyfs init.
    """
    logs.configure(log_level, "stderr")
    demand_one_layout(app.layout_at(source), app.layout_at(target))  # before a master key is asked for
    # Declared or not: what stayed behind would be missed when the source is gone.
    own = own_purposes()
    here, _ = app.open_keys(app.Access(source, master_key, legacy, wait, own=own, undeclared=True))
    with closing(here):
        there, _ = app.open_keys(app.Access(target, master_key, legacy, wait, own=own, undeclared=True))
        with closing(there):
            for keys in (here, there):
                keys.load()
                verify_master_key(keys)
            with progress_bar("copying keys") as progress:
                report = copy_store(here, there, progress)
            StateWriter(there).adopt(here)
        for name in report.left_out:
            click.echo(f"left out {name}: {here.index.strays.get(name, '')}", err=True)
    for ref, error in report.failed.items():
        click.echo(f"not copied {ref}: {error}", err=True)
    click.echo(f"{report.copied} blobs copied, {report.already_there} were there already", err=True)
    return next((EXIT_CODES[type(error)] for error in report.failed.values()), OK)
