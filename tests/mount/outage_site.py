"""A mount over a Redis that a test can take away, in three ways, and give back."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from keyfs.testing.cutting_proxy import cutting_proxy
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until

DURABLE = (
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
)  # for a server that is to come back with its data
WARM = [f"storage-sym/warm-{number}" for number in range(5)]
COLD = [f"hmac-sym/cold-{number:03}" for number in range(120)]
METADATA_S, READ_S = 2.0, 5.0
SLACK_S = 0.5  # of the machine, not of keyfs


@dataclass(frozen=True)
class Site:
    """A server, its store as everybody else reaches it, a mount, and what stops and mends the way there."""

    server: RedisServer
    store: SharedStore
    mount: Mount
    stop: Callable[[], object]
    mend: Callable[[], object]

    def path(self, label: str, name: str = "current") -> Path:
        return self.mount.path / label / name


def site_of(kind: str, server: RedisServer, place: Path, stack: ExitStack, *options: str) -> Site:
    server.ask("FLUSHALL")
    there = shared_store(place, server.unix_uri())
    there.make(*WARM)
    if kind == "silent":
        proxy = stack.enter_context(cutting_proxy(server.port))
        here = SharedStore(f"redis://127.0.0.1:{proxy.port}/0?prefix=ks", there.master_key)
        stop, mend = proxy.stop_forwarding, proxy.go_on
    else:
        here = there
        stop, mend = {"killed": (server.kill, server.start), "frozen": (server.freeze, server.thaw)}[kind]
    mount = stack.enter_context(mount_of(here, place / "m", *options))
    there.make(*COLD)  # not before: a mount proves its master key on one of the keys that are there
    wait_until(lambda: mount.status()["keys"] == len(WARM) + len(COLD))
    for label in WARM:
        mount.read(label)
    return Site(server, there, mount, stop, mend)
