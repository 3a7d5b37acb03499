"""What keyfs's rotations are measured against: the steps that Acra's key store makes, in a plain script.

A directory: write a temporary file beside the key, link the key into its history, rename the new one over it;
and fsync what was written, the file and both directories. Redis: the old value into the history and the
new one in its place, in one transaction, if nobody was there in between. No lock, no audit, no checks.
"""

import base64
import datetime as dt
import os
import secrets
from pathlib import Path
from typing import Any

from redis import Redis

from keyfs.core.secret import Secret
from keyfs.seal.base import Sealer


def stamp() -> str:
    """The name of a version that retires now."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")


def sync(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rotate_file(path: Path, client: str, sealer: Sealer, material: bytes) -> None:
    """The next version of a key in a directory."""
    blob = sealer.seal(Secret(material), client.encode())
    new = path.with_name(path.name + str(secrets.randbelow(10**10)))
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, blob)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    history = path.with_name(path.name + ".old")
    history.mkdir(mode=0o700, exist_ok=True)
    os.link(path, history / stamp())
    sync(history)
    new.rename(path)
    sync(path.parent)


def rotate_in_redis(client: Redis, name: str, owner: str, sealer: Sealer, material: bytes) -> None:
    """The next version of a key in Redis."""
    value = base64.b64encode(sealer.seal(Secret(material), owner.encode()))
    with client.pipeline() as pipeline:
        pipeline.watch(name)  # type: ignore[no-untyped-call]  # redis-py gives types to half of its functions
        old: Any = pipeline.get(name)
        pipeline.multi()
        pipeline.set(f"{name}.old/{stamp()}", old, nx=True)
        pipeline.set(name, value)
        pipeline.execute()
