"""`keyfs mount` and `keyfs umount`."""

import contextlib
import os
import select
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from keyfs import app, logs
from keyfs.cli.daemon import Ready, detach, in_background
from keyfs.cli.exitcodes import OK
from keyfs.cli.main import ARGUMENTS, report_errors
from keyfs.cli.options import Invocation, opens_key_store, rotation_source
from keyfs.cli.supervised import KeptMasterKeys, become_supervisor
from keyfs.cli.surface import policy_source, views_option
from keyfs.core.durations import seconds
from keyfs.core.policy import Policy
from keyfs.custody import forbid_core_dumps
from keyfs.errors import InvalidSettings, MountFailed
from keyfs.fs.mount import MountPlan
from keyfs.fs.mounts import place_of, status_of, unmount
from keyfs.fs.preflight import check_device, check_fusermount, check_mountpoint, check_passed, is_passed
from keyfs.fs.takeover import Takeover
from keyfs.service import run_service

END_WAIT_S: Final = 10.0
_OURS: Final = {"ro", "rw", "allow_other"}


@click.command(short_help="Mount a key store.")
@opens_key_store
@click.option("--read-only", envvar="KEYFS_READ_ONLY", is_flag=True, help="Nothing can be rotated.")
@click.option("--foreground", envvar="KEYFS_FOREGROUND", is_flag=True, help="Do not go into the background.")
@click.option(
    "--supervised", envvar="KEYFS_SUPERVISED", is_flag=True, help="The mount outlives its daemon: see reload."
)
@click.option("--allow-other", envvar="KEYFS_ALLOW_OTHER", is_flag=True, help="Let other users in, too.")
@click.option(
    "--allow-destroy",
    envvar="KEYFS_ALLOW_DESTROY",
    is_flag=True,
    help="Let rm destroy retired versions for good.",
)
@click.option("--log-file", envvar="KEYFS_LOG_FILE", metavar="PATH", help="Log there, not to syslog.")
@click.option(
    "--serve-stale",
    envvar="KEYFS_SERVE_STALE",
    metavar="TIME",
    default="1h",
    show_default=True,
    help="How long keys in memory are served while the store is away: 90s, 15m, 1h.",
)
@click.option(
    "--plaintext-ttl",
    envvar="KEYFS_PLAINTEXT_TTL",
    metavar="TIME",
    default="30s",
    show_default=True,
    help="How long the kernel keeps the pages of keys that nobody opens; 0 is --direct-io.",
)
@click.option(
    "--direct-io", envvar="KEYFS_DIRECT_IO", is_flag=True, help="The kernel keeps nothing of any key."
)
@click.option(
    "--mounted-at",
    envvar="KEYFS_MOUNTED_AT",
    metavar="PATH",
    default="",
    callback=lambda _ctx, _param, path: path and os.path.abspath(path),
    help="Where the mount is, if MOUNTPOINT is /dev/fd/N.",
)
@click.option(
    "--grace",
    envvar="KEYFS_GRACE",
    metavar="TIME",
    default="30s",
    show_default=True,
    help="With --supervised: how long callers wait for a worker before they get an error.",
)
@click.option(
    "-o",
    "options",
    envvar="KEYFS_OPTIONS",
    multiple=True,
    metavar="OPT,…",
    help="Mount options, as for mount(8).",
)
@views_option
@click.argument("mountpoint")
def mount(  # noqa: PLR0913 - as many as there are options
    invocation: Invocation,
    *,
    foreground: bool,
    supervised: bool,
    log_file: str | None,
    views: str,
    mountpoint: str,
    mounted_at: str,
    **how: Any,  # noqa: ANN401 - the rest goes to _plan, which names it
) -> int:
    """Mount a key store on an empty directory.

    Returns when a file under the mount can be opened; the daemon goes on in the background. MOUNTPOINT may
    be /dev/fd/N: a descriptor of /dev/fuse, with which somebody else has mounted.
    """
    takeover = click.get_current_context().find_object(Takeover)
    place = _checked(mountpoint, mounted_at) if takeover is None else takeover.mountpoint
    plan = _plan(place, **how)
    plan = replace(plan, mounted_at=mounted_at, takeover=takeover, rotation=rotation_source())
    policy = policy_source(views, allow_other=plan.allow_other)
    access, level = invocation.access, invocation.log_level
    target = _log_target(log_file, foreground=foreground)
    if takeover is not None:
        _work(plan, access, policy, _Log(level, target, foreground))
        return OK
    if supervised and is_passed(mountpoint):
        raise InvalidSettings(f"{mountpoint} is mounted by somebody else: drop --supervised")
    if not is_passed(mountpoint):
        check_device()
        check_fusermount(allow_other=plan.allow_other)
    forbid_core_dumps()
    logs.configure(level, target)  # a place that cannot be written is refused before anything is mounted
    if supervised:
        return _supervise(plan, access, is_foreground=foreground)
    if foreground:
        run_service(plan, access, policy, lambda: click.echo(f"mounted at {plan.mountpoint}", err=True))
        return OK
    logs.configure(level, "stderr")

    def serve(on_ready: Callable[[], None]) -> None:
        run_service(plan, access, policy, on_ready)

    return in_background(lambda ready: _background(serve, ready, (level, target)))


@click.command(short_help="End a mount.")
@click.option(
    "--lazy", envvar="KEYFS_LAZY", is_flag=True, help="Even if it is in use: it ends with its last user."
)
@click.argument("mountpoint")
def umount(lazy: bool, mountpoint: str) -> None:
    """End a mount, and wait until its daemon has ended."""
    path = place_of(mountpoint)
    daemon = None if lazy else _daemon_of(path)
    unmount(path, lazy=lazy)
    if daemon is not None:
        with os.fdopen(daemon, "rb") as pidfd:
            ended = select.select([pidfd], [], [], END_WAIT_S)[0]
        if not ended:
            raise MountFailed(
                f"{path} is unmounted, but its daemon still runs after {END_WAIT_S:.0f} s: "
                f"another mount namespace, such as a container, may still have the mount"
            )


def _checked(mountpoint: str, mounted_at: str) -> str:
    """What to mount on: an empty directory, or the descriptor of a mount that somebody else has made."""
    if is_passed(mountpoint):
        check_passed(mountpoint)
        return mountpoint
    if mounted_at:
        raise InvalidSettings(f"--mounted-at is for /dev/fd/N alone: drop it, {mountpoint} says where")
    return check_mountpoint(mountpoint)


def _plan(  # noqa: PLR0913 - as many as there are options
    mountpoint: str,
    *,
    read_only: bool,
    allow_other: bool,
    allow_destroy: bool,
    serve_stale: str,
    plaintext_ttl: str,
    direct_io: bool,
    grace: str,
    options: tuple[str, ...],
) -> MountPlan:
    words = [word for option in options for word in option.split(",") if word]
    return MountPlan(
        mountpoint,
        read_only or "ro" in words,
        allow_other or "allow_other" in words,
        tuple(word for word in words if word not in _OURS),
        seconds(serve_stale),
        0.0 if direct_io else seconds(plaintext_ttl),
        allow_destroy,
        seconds(grace),
    )


class _Log(NamedTuple):
    """How and where a worker logs."""

    level: str
    target: str
    is_foreground: bool


def _work(plan: MountPlan, access: app.Access, policy: Callable[[], Policy], log: _Log) -> None:
    """Serve a mount for its supervisor.

    Raises:
        InvalidSettings: it is mounted in another way. The kernel remembers of a read-only mount that it need
            not ask us when a file is closed.
    """
    takeover = plan.takeover
    assert takeover is not None  # noqa: S101 - the caller has looked
    if plan.read_only != takeover.is_read_only:
        raise InvalidSettings(
            "read-only or not is settled until the end of a mount: unmount it, and mount it anew"
        )
    is_heard = takeover.role == "first" and not log.is_foreground  # on stderr, as long as it starts
    logs.configure(log.level, "stderr" if is_heard else log.target)

    def on_ready() -> None:
        if not log.is_foreground:
            detach()
        logs.configure(log.level, log.target)
        takeover.serving()

    keeper = KeptMasterKeys(takeover.estate, takeover.role)
    run_service(plan, replace(access, keeper=keeper), policy, on_ready)


def _supervise(plan: MountPlan, access: app.Access, *, is_foreground: bool) -> int:
    arguments = click.get_current_context().meta[ARGUMENTS]

    def supervise(ready: Ready | None) -> int:
        become_supervisor(plan, access.master_key, arguments, None if ready is None else ready.pipe)

    return (
        supervise(None)
        if is_foreground
        else in_background(lambda ready: report_errors(lambda: supervise(ready)))
    )


def _background(
    serve: Callable[[Callable[[], None]], None], ready: Callable[[], None], log: tuple[str, str]
) -> int:
    def on_ready() -> None:
        ready()
        logs.configure(*log)

    return report_errors(lambda: serve(on_ready))


def _log_target(log_file: str | None, *, foreground: bool) -> str:
    if log_file:
        return os.path.abspath(log_file)
    has_syslog = Path(logs.SYSLOG_SOCKET).exists()
    return "syslog" if has_syslog and not foreground else "stderr"


def _daemon_of(path: str) -> int | None:
    """A descriptor of the daemon behind a mount; None for a dead or a silent one."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        status = status_of(path)
        return os.pidfd_open(int(str(status.get("supervisor", status["pid"]))))
    return None
