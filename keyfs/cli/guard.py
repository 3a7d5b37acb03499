"""`keyfs guard`: nobody writes a key to the disk below a mountpoint while nothing is mounted there."""

import click

from keyfs.fs.guard import GUARD_FILE, guard, unguard
from keyfs.fs.preflight import check_mountpoint


@click.command("guard", short_help="Let nobody write where keyfs is not mounted.")
@click.option("--remove", envvar="KEYFS_REMOVE", is_flag=True, help="Make an ordinary directory of it again.")
@click.argument("mountpoint")
def guard_mountpoint(remove: bool, mountpoint: str) -> None:
    """Guard an empty directory: until keyfs is mounted there, nothing can be written or found in it.

    Its mode becomes 0000, it holds the file KEYFS-IS-NOT-MOUNTED alone, and it is immutable where the file
    system knows that. `keyfs mount` mounts on it as on an empty one.
    """
    path = check_mountpoint(mountpoint)
    if remove:
        unguard(path)
        return
    if guard(path) == "immutable":
        click.echo(f"guarded: {path} holds {GUARD_FILE} and is immutable")
    else:
        click.echo(
            f"guarded: {path} holds {GUARD_FILE}; no immutable flag here, so root can still write there"
        )
