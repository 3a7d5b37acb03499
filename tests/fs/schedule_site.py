"""Hosts that share a medium and a clock, for tests of the schedule. Time goes from deadline to deadline.

It goes on only when every schedule sleeps: threads take as long as they take.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from keyfs.broker.broker import KeyBroker
from keyfs.broker.rotation_schedule import RotationSchedule, Worker
from keyfs.broker.writer import RingWriter
from keyfs.core.names import KeyRef
from keyfs.core.rotation import RotationPolicy, RotationRule
from keyfs.core.stamps import NANOSECONDS
from keyfs.offload import Offload
from keyfs.testing.builders import NOON_NS, Keys, broker_on, in_memory
from keyfs.testing.medium import Medium

HOUR_NS = 3600 * NANOSECONDS
HOURLY = RotationPolicy(RotationRule(every_ns=HOUR_NS))


@dataclass(frozen=True)
class Host:
    """One host that mounts the store."""

    made: Keys
    broker: KeyBroker
    schedule: RotationSchedule

    @property
    def sleeps(self) -> bool:
        return self.schedule._woken.statistics().tasks_waiting > 0


@dataclass(frozen=True)
class Site:
    """A medium, and clocks that go together."""

    medium: Medium
    clock: MockClock
    now_ns: Callable[[], int]
    awake: list[Host] = field(default_factory=list)

    async def settle(self) -> None:
        """Wait until every schedule that runs sleeps."""
        while True:
            await wait_all_tasks_blocked()
            if all(host.sleeps for host in self.awake):
                return
            await trio.to_thread.run_sync(time.sleep, 0.001)

    async def pass_time(self, seconds: float) -> None:
        end = self.clock.current_time() + seconds
        await self.settle()
        while (left := end - self.clock.current_time()) > 0:
            next_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
            self.clock.jump(min(left, max(0.0, next_s)))
            await self.settle()

    @asynccontextmanager
    async def running(self, *hosts: Host) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            for host in hosts:
                host.schedule.begin()
                nursery.start_soon(host.schedule.run)
            self.awake.extend(hosts)
            yield
            self.awake.clear()
            nursery.cancel_scope.cancel()
        for host in hosts:
            host.made.keys.close()

    def host(self, name: str, policy: RotationPolicy = HOURLY) -> Host:
        """A host that has listed the store; its schedule does not run yet."""
        made = in_memory(self.medium)
        made.keys.watch()
        writer = RingWriter(made.keys, self.now_ns)
        broker = broker_on(made.keys, writer)
        worker = Worker(name, f"{name} 1", made.keys, writer, self.now_ns)
        return Host(made, broker, RotationSchedule(worker, policy, broker.upkeep, Offload()))

    def make(self, *refs: KeyRef) -> None:
        made = in_memory(self.medium)
        for ref in refs:
            RingWriter(made.keys, self.now_ns).generate(ref)

    def count(self, ref: KeyRef) -> int:
        return len(in_memory(self.medium).versions(ref))


def new_site() -> Site:
    """An empty medium at noon."""
    clock = MockClock()
    return Site(Medium(), clock, lambda: NOON_NS + int(clock.current_time() * NANOSECONDS))


def live(site: Site, story: Callable[[], Awaitable[object]]) -> None:
    trio.run(story, clock=site.clock)
