"""Key stores that are migrated: how one is made, what is in it, and what one is told."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import Ran, keyfs
from copied_stores import Place
from two_layouts import new_place

from keyfs import app
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.purposes import Purpose
from keyfs.testing.redis_servers import RedisServer

USAGE, EXISTS, NO_KEY, WRONG_KEY, DAMAGED, REFUSED, INVALID = 2, 5, 7, 8, 9, 12, 17
Print = dict[str, object]


@dataclass(frozen=True)
class Spot:
    """A key store, and how one looks at it past keyfs."""

    place: Place
    server: RedisServer | None = None
    prefix: str = ""

    @property
    def root(self) -> Path:
        return Path(self.place.uri.removeprefix("dir:"))

    def fingerprint(self) -> Print:
        """Everything in the store and beside it; of files, each fact but when they were read."""
        if self.server is not None:
            redis = self.server.admin
            return {key.decode(): redis.get(key) for key in redis.keys(f"{self.prefix}*")}
        found: Print = {}
        for root in (self.root, self.root.with_name(self.root.name + ".keyfs")):
            for path in [root, *sorted(root.rglob("*"))] if root.exists() else []:
                facts = path.lstat()
                data = path.read_bytes() if path.is_file() else b""
                found[str(path)] = (facts.st_ino, facts.st_mode, facts.st_mtime_ns, facts.st_ctime_ns, data)
        return found

    def run(self, *words: str) -> Ran:
        return keyfs(*words, environment={"KEYFS_STORE": self.place.uri, **self.place.environment})


def new_spot(place: Path, name: str, layout: str, server: RedisServer | None = None) -> Spot:
    prefix = f"{name}-{place.name}"
    uri = None if server is None else server.unix_uri(prefix)
    return Spot(new_place(place, name, layout, uri), server, prefix)


def migrate(source: Spot, target: Spot, *words: str, **environment: str) -> Ran:
    where = {
        **source.place.environment,
        "KEYFS_TARGET_MASTER_KEY": f"file:{target.place.master_key}",
        **environment,
    }
    return keyfs("migrate", source.place.uri, target.place.uri, *words, environment=where)


def asked(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.out)
    return found


@contextmanager
def opened(spot: Spot, *own: Purpose) -> Iterator[tuple[KeyStore, RingWriter]]:
    access = app.Access(spot.place.uri, f"file:{spot.place.master_key}", own=own, undeclared=True)
    keys, writer = app.open_keys(access)
    with closing(keys):
        keys.load()
        yield keys, writer
