"""From the mount to its end: options, readiness, signals, clean unmount."""

import logging
import os
import signal
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from keyfs.broker.broker import KeyBroker
from keyfs.core.tree import CONTROL_DIRECTORY
from keyfs.errors import MountFailed
from keyfs.fs.operations import KeyfsOperations
from keyfs.logs import event
from keyfs.store.base import Watch

DRAIN_S: Final = 8.0
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

    def options(self) -> set[str]:
        """What goes to the kernel. Never `default_permissions`: keyfs does its own checks, see policy."""
        chosen = {"fsname=keyfs", "subtype=keyfs", "nosuid", "nodev", "noexec"}
        chosen.add("ro" if self.read_only else "rw")
        if self.allow_other:
            chosen.add("allow_other")
        return chosen | set(self.extra)


def serve(
    plan: MountPlan,
    operations: KeyfsOperations,
    broker: KeyBroker,
    watch: Watch,
    on_ready: Callable[[], None],
) -> None:
    """Mount, answer until unmounted or told to stop by SIGTERM or SIGINT, unmount.

    Args:
        plan: checked by `keyfs.fs.preflight`.
        operations: the handlers.
        broker: what they ask.
        watch: the broker's source of changes.
        on_ready: called when a file under the mount could be opened.

    Raises:
        MountFailed: the kernel refuses, or the mount does not answer.
    """
    failures = trio.run(_serve, plan, operations, broker, watch, on_ready)
    for failure in failures:
        raise failure


async def _serve(
    plan: MountPlan,
    operations: KeyfsOperations,
    broker: KeyBroker,
    watch: Watch,
    on_ready: Callable[[], None],
) -> list[MountFailed]:
    failures: list[MountFailed] = []
    # Before the mount: a signal in between would leave it behind, dead.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        _mount(operations, plan)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_on_signal, signals)
                nursery.start_soon(broker.follow, watch)
                nursery.start_soon(_announce, plan.mountpoint, on_ready, failures)
                operations.wake_watchers(plan.mountpoint)
                await pyfuse3.main(max_tasks=TASKS_MAX)
                nursery.cancel_scope.cancel()
            if not await broker.drain(DRAIN_S):
                event(_log, logging.WARNING, "stop.write_unfinished", within_s=DRAIN_S)
        finally:
            pyfuse3.close(unmount=True)
    event(_log, logging.INFO, "mount.ended", mountpoint=plan.mountpoint)
    return failures


def _mount(operations: KeyfsOperations, plan: MountPlan) -> None:
    try:
        pyfuse3.init(operations, plan.mountpoint, plan.options())
    except RuntimeError as exc:
        raise MountFailed(
            f"the kernel refuses to mount at {plan.mountpoint}: run keyfs doctor to see what is missing"
        ) from exc


async def _stop_on_signal(signals: AsyncIterable[int]) -> None:
    async for number in signals:
        event(_log, logging.INFO, "stop.signal", signal=signal.Signals(number).name)
        pyfuse3.terminate()
        return


async def _announce(mountpoint: str, on_ready: Callable[[], None], failures: list[MountFailed]) -> None:
    """Say that the mount is ready once a file under it opens; end it if none does."""
    probe = Path(mountpoint) / CONTROL_DIRECTORY / "status"
    try:
        # The one call that goes round to ourselves: never on the trio thread, which has to answer it.
        await trio.to_thread.run_sync(probe.read_bytes)
    except OSError as exc:
        failures.append(
            MountFailed(f"mounted at {mountpoint}, but it does not answer: {os.strerror(exc.errno or 0)}")
        )
        pyfuse3.terminate()
        return
    event(_log, logging.INFO, "mount.ready", mountpoint=mountpoint)
    on_ready()
