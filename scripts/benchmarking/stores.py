"""Key stores for benchmarks, small and very large, and their mounts."""

import base64
import itertools
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarking.programs import KEYFS, BenchError, mounted, run
from benchmarking.rivals import ONE_CLIENT, PURPOSE
from benchmarking.workshop import Workshop
from keyfs.core.secret import Secret
from keyfs.seal.registry import open_sealer
from keyfs.testing.redis_servers import redis_server

BATCH = 5000
KNOWN_WITHIN_S = 300.0
POLL_S = 0.02


@dataclass(frozen=True)
class KeyStore:
    """A key store, and the environment that names it."""

    settings: Mapping[str, str]
    master_key: bytes
    socket: Path | None = None  # of the Redis that it is in, if it is

    @contextmanager
    def mounted(self, place: Path, *options: str) -> Iterator[Path]:
        """Its mount on a directory, which is made if it is missing."""
        place.mkdir(exist_ok=True)
        with mounted(place, [KEYFS, "mount", *options], [KEYFS, "umount"], **self.settings):
            yield place


def client(number: int) -> str:
    """The name of one of many clients."""
    return f"client-{number:07}"


def one_file(mount: Path, name: str = ONE_CLIENT) -> Path:
    """Where a client's key is."""
    return mount / PURPOSE / name / "current"


def new_master_key(place: Path) -> tuple[str, bytes]:
    """The URI of a new one, and its bytes."""
    path = place / "master.key"
    path.touch(mode=0o600)
    path.write_text(run(KEYFS, "master-key", "generate"))
    return f"file:{path}", base64.b64decode(path.read_text())


def sealed_keys(master_key: bytes, keys: int) -> Iterator[tuple[str, bytes]]:
    """So many clients, each with a key of its own, truly sealed; Acra's file name and the blob."""
    sealer = open_sealer(Secret(master_key))
    for name in (ONE_CLIENT, *map(client, range(keys - 1))):
        yield f"{name}_storage_sym", sealer.seal(Secret(secrets.token_bytes(32)), name.encode())


def in_directory(workshop: Workshop, keys: int, *, on_disk: bool = False) -> KeyStore:
    """A new key store with so many keys in a directory."""
    place = workshop.new_disk_place("store") if on_disk else workshop.new_place("store")
    uri, master_key = new_master_key(place)
    folder = place / "keys"
    settings = {"KEYFS_STORE": f"dir:{folder}", "KEYFS_MASTER_KEY": uri}
    run(KEYFS, "init", **settings)
    for name, blob in sealed_keys(master_key, keys):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(blob)
    return KeyStore(settings, master_key)


@contextmanager
def in_redis(workshop: Workshop, keys: int) -> Iterator[KeyStore]:
    """The same in a Redis of its own, in memory, on a unix socket."""
    uri, master_key = new_master_key(workshop.new_place("redis"))
    with redis_server() as server:
        sealed = sealed_keys(master_key, keys)
        while batch := dict(itertools.islice(sealed, BATCH)):
            server.admin.mset({f"ks/{name}": base64.b64encode(blob) for name, blob in batch.items()})
        settings = {"KEYFS_STORE": server.unix_uri(), "KEYFS_MASTER_KEY": uri}
        yield KeyStore(settings, master_key, server.unix)


def shared_in_redis(workshop: Workshop, keys: int) -> KeyStore:
    """One for all contests of a run that only read it: a million keys are not made twice."""
    return workshop.shared(("redis", keys), lambda: in_redis(workshop, keys))


# --- what a mount knows ---


def knows(keys: int, mount: Path) -> bool:
    """Whether a mount lists so many keys."""
    status = json.loads((mount / ".keyfs" / "status.json").read_bytes())
    return bool(status["keys"] >= keys)


def wait_until_known(mount: Path, keys: int) -> None:
    """Returns once it does.

    Raises:
        BenchError: it never does.
    """
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while not knows(keys, mount):
        if time.monotonic() > deadline:
            raise BenchError(f"the mount does not know {keys} keys within {KNOWN_WITHIN_S:g} s")
        time.sleep(POLL_S)
