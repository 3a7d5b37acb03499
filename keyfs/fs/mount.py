"""From the mount to its end: options, readiness, signals, clean unmount."""

import logging
import os
import signal
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from keyfs.broker.broker import KeyBroker
from keyfs.core.rotation import RotationPolicy
from keyfs.core.tree import CONTROL_DIRECTORY
from keyfs.errors import KeyfsError, MountFailed
from keyfs.fs import turns
from keyfs.fs.notify import Notifier, feed_watchdog
from keyfs.fs.operations import KeyfsOperations
from keyfs.fs.outsider import Outsider
from keyfs.fs.preflight import is_passed
from keyfs.fs.replies import is_about_wanted_answer
from keyfs.fs.takeover import Takeover
from keyfs.logs import event
from keyfs.store.watching import Watch

DRAIN_S: Final = 8.0
EXPIRE_EVERY_S: Final = 30.0
# As many requests may wait for a store that does not answer, before one that needs no store has to wait with
# them. A task is small; pyfuse3's own limit of 99 is less than one busy host has readers.
TASKS_MAX: Final = 2000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MountPlan:
    """Where and how to mount."""

    mountpoint: str
    read_only: bool
    allow_other: bool
    extra: tuple[str, ...] = ()
    serve_stale_s: float = 3600.0
    plaintext_ttl_s: float = 0.0  # how long the kernel keeps pages that nobody opens; 0: direct I/O, strictly
    allow_destroy: bool = False
    grace_s: float = 30.0  # how long callers wait for a worker, if there is a supervisor
    mounted_at: str = ""  # where *mountpoint* is /dev/fd/N: the directory, if we were told
    takeover: Takeover | None = None  # it is mounted already, or will be, by a supervisor
    rotation: Callable[[], RotationPolicy] = RotationPolicy  # reads what is rotated by schedule

    @property
    def place(self) -> str | None:
        """The directory under which our files are; None if nobody has told us."""
        return self.mounted_at or (None if is_passed(self.mountpoint) else self.mountpoint)

    def options(self) -> str:
        """What goes to the kernel, comma-separated: of two that contradict each other the later one counts.

        Never `default_permissions`: keyfs does its own checks, see policy. Always our own subtype: by it
        `keyfs umount` and `keyfs status` know a mount of ours.
        """
        chosen = ["fsname=keyfs", "nosuid", "nodev", "noexec", "ro" if self.read_only else "rw"]
        if self.allow_other:
            chosen.append("allow_other")
        return ",".join((*chosen, *self.extra, "subtype=keyfs"))


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a mount calls in its life."""

    on_ready: Callable[[], None]  # when a file under the mount could be opened
    renew: Callable[[], None]  # in a thread, to fetch the master keys again
    notifier: Notifier


def serve(
    plan: MountPlan,
    operations: KeyfsOperations,
    broker: KeyBroker,
    watch: Watch,
    outsider: Outsider,
    hooks: Hooks,
) -> None:
    """Mount, answer until unmounted or told to stop by SIGTERM or SIGINT, unmount.

    SIGHUP stops a mount at a terminal, which is going away; a daemon fetches its master keys anew.

    Args:
        plan: checked by `keyfs.fs.preflight`.
        operations: the handlers.
        broker: what they ask.
        watch: the broker's source of changes.
        outsider: opens files under the mount for us.
        hooks: called on the way.

    Raises:
        MountFailed: the kernel refuses, or the mount does not answer.
    """
    logging.getLogger("pyfuse3").addFilter(is_about_wanted_answer)
    turns.take(operations.between_requests)
    failures = trio.run(_serve, plan, operations, broker, watch, outsider, hooks)
    for failure in failures:
        raise failure


async def _serve(
    plan: MountPlan,
    operations: KeyfsOperations,
    broker: KeyBroker,
    watch: Watch,
    outsider: Outsider,
    hooks: Hooks,
) -> list[MountFailed]:
    way = plan.takeover or _OwnMount(plan)
    # Until `_announce` has opened a file: `keyfs mount` must not succeed when it is stopped before that.
    failures = [MountFailed(f"stopped before {plan.mountpoint} was ready")]

    def read() -> int:
        return _read(outsider, plan.place)

    # Before the mount: a signal in between would leave it behind, dead.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        way.open(operations)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey_signals, signals, partial(_renew, hooks, operations), plan.takeover)
                nursery.start_soon(way.obey, pyfuse3.terminate)
                nursery.start_soon(broker.follow, watch)
                nursery.start_soon(_keep_house, operations)
                nursery.start_soon(_announce, read, plan, hooks, failures)
                nursery.start_soon(feed_watchdog, hooks.notifier, read)
                _wake_watchers(operations, plan, outsider)
                await pyfuse3.main(max_tasks=TASKS_MAX)
                way.retired()
                nursery.cancel_scope.cancel()
            if plan.takeover is None:  # else the mount may go on
                hooks.notifier.tell("STOPPING=1")
            if not await broker.drain(DRAIN_S):
                event(_log, logging.WARNING, "stop.write_unfinished", within_s=DRAIN_S)
        finally:
            way.close()
    event(_log, logging.INFO, "mount.ended", mountpoint=plan.mountpoint)
    return failures


class _OwnMount:
    """A mount without a supervisor: what `Takeover` is for one that has it."""

    def __init__(self, plan: MountPlan) -> None:
        self._plan = plan

    def open(self, operations: KeyfsOperations) -> None:
        _mount(operations, self._plan)

    async def obey(self, _stop: Callable[[], object]) -> None:
        return

    def retired(self) -> None:
        return

    def close(self) -> None:
        pyfuse3.close(unmount=not is_passed(self._plan.mountpoint))


def _mount(operations: KeyfsOperations, plan: MountPlan) -> None:
    with _stderr_kept() as said:
        try:
            pyfuse3.init(operations, plan.mountpoint, {plan.options()})
        except (RuntimeError, UnicodeEncodeError) as exc:
            reason = said() or "an option is not ASCII"
            raise MountFailed(
                f"cannot mount at {plan.mountpoint}: {reason}: mend the options given with -o, "
                f"or run keyfs doctor to see what is missing"
            ) from exc
        if said():
            event(_log, logging.INFO, "mount.remark", text=said())


@contextmanager
def _stderr_kept() -> Iterator[Callable[[], str]]:
    """Keep what libfuse and fusermount3 print on stderr, where our one line about it belongs."""
    stderr, kept = os.dup(2), os.memfd_create("stderr")
    os.dup2(kept, 2)
    try:
        yield lambda: "; ".join(os.pread(kept, 4096, 0).decode(errors="replace").splitlines())
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(kept)


async def _keep_house(operations: KeyfsOperations) -> None:
    scene = operations.scene
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.kernel.run, pyfuse3.invalidate_inode, scene.left, pyfuse3.notify_store)
        nursery.start_soon(_expire, operations)


async def _expire(operations: KeyfsOperations) -> None:
    while True:
        await trio.sleep(EXPIRE_EVERY_S)
        operations.expire_scratches()


async def _obey_signals(
    signals: AsyncIterable[int],
    renew: Callable[[trio.CapacityLimiter], Awaitable[None]],
    supervisor: Takeover | None,
) -> None:
    one_at_a_time = trio.CapacityLimiter(1)
    async with trio.open_nursery() as nursery:
        async for number in signals:
            if number == signal.SIGHUP and not os.isatty(0):
                nursery.start_soon(renew, one_at_a_time)
                continue
            if supervisor is not None and number != signal.SIGTERM:
                continue  # from the terminal: the supervisor has it, too, and decides
            event(_log, logging.INFO, "stop.signal", signal=signal.Signals(number).name)
            pyfuse3.terminate()
            nursery.cancel_scope.cancel()


async def _renew(hooks: Hooks, operations: KeyfsOperations, one_at_a_time: trio.CapacityLimiter) -> None:
    """A daemon's "reload". What goes wrong is told to the log: nobody else would hear of it."""
    try:
        # At the end of the mount it is not waited for: it changes nothing but our own memory.
        await trio.to_thread.run_sync(hooks.renew, abandon_on_cancel=True, limiter=one_at_a_time)
    except KeyfsError as exc:
        event(_log, logging.WARNING, "master_key.kept", reason=str(exc))
    else:
        event(_log, logging.INFO, "master_key.renewed")
    operations.scene.kernel.stale_everywhere()  # owners and modes may be others now


def _wake_watchers(operations: KeyfsOperations, plan: MountPlan, outsider: Outsider) -> None:
    """On a read-only mount nobody can: who tries only looks names up, and has their keys asked for."""
    if plan.place is not None and not plan.read_only:
        operations.wake_watchers(plan.place, outsider)


def _read(outsider: Outsider, place: str | None) -> int:
    """Open a file under the mount; 0, or the errno. There is none to open where we know no place."""
    return 0 if place is None else outsider.ask("r", Path(place) / CONTROL_DIRECTORY / "status")


async def _announce(
    read: Callable[[], int], plan: MountPlan, hooks: Hooks, failures: list[MountFailed]
) -> None:
    """Say that the mount is ready once a file under it opens; end it if none does."""
    mountpoint = plan.mountpoint
    # Once a signal has ended the loop nobody answers, so it is not waited for.
    number = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
    # A mount that was ready once may be out of sight by now: unmounted, but still in use.
    if number and (plan.takeover is None or plan.takeover.role == "first"):
        failures[:] = [MountFailed(f"mounted at {mountpoint}, but it does not answer: {os.strerror(number)}")]
        pyfuse3.terminate()
        return
    failures.clear()
    hooks.on_ready()  # which turns to the daemon's own log
    event(_log, logging.INFO, "mount.ready", mountpoint=mountpoint)
