"""Rotation: the next version of a key, durable when the writer hears of it."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import redis

from benchmarking import rivals, stores
from benchmarking.contest import Contest, Field, Measure, Row
from benchmarking.plain_rotation import rotate_file, rotate_in_redis
from benchmarking.programs import Absent, demand, run
from benchmarking.reading import microseconds_each
from benchmarking.rivals import KEY_BYTES, ONE_CLIENT
from benchmarking.workshop import Workshop
from keyfs.core.secret import Secret
from keyfs.seal.registry import open_sealer

ROTATIONS = 10
DIRECTORY, REDIS = "directory", "Redis"
FILE_NAME = f"{ONE_CLIENT}_storage_sym"


def ours(medium: str) -> str:
    """Who rotates through the mount."""
    return f"keyfs, {medium}"


def plain(medium: str) -> str:
    """Who rotates without it."""
    return f"plain script, {medium}"


def milliseconds(rotate: Callable[[bytes], object], times: int) -> float:
    """One rotation to the next, each with new bytes."""
    return microseconds_each(lambda: rotate(secrets.token_bytes(KEY_BYTES)), times) / 1000


FLOOR = "floor, directory"


def through(mount: Path) -> Callable[[bytes], object]:
    """Writing to `current`; the rotation has happened when close(2) returns."""
    return stores.one_file(mount).write_bytes


def in_directory(workshop: Workshop, stack: ExitStack, field: Field) -> dict[str, Callable[[bytes], object]]:
    """One store that is mounted, and one that is not, on the same disk."""
    rotating, bare, behind = (stores.in_directory(workshop, 1, on_disk=True) for _ in range(3))
    mount = stack.enter_context(rotating.mounted(workshop.new_place("keyfs")))
    folder = bare.settings["KEYFS_STORE"].removeprefix("dir:")
    medium = run("findmnt", "--noheadings", "--output", "FSTYPE", "--target", folder).strip()
    field.remarks.append(f"the directories lie on {medium}")
    file = partial(rotate_file, Path(folder, FILE_NAME), ONE_CLIENT, open_sealer(Secret(bare.master_key)))
    folder = behind.settings["KEYFS_STORE"].removeprefix("dir:")
    key = behind.settings["KEYFS_MASTER_KEY"].removeprefix("file:")
    options = ("--rotates", folder, "--master-key", key)
    floor = stack.enter_context(rivals.floor(workshop.new_place("floor"), *options))
    return {ours(DIRECTORY): through(mount), FLOOR: through(floor), plain(DIRECTORY): file}


def in_redis(workshop: Workshop, stack: ExitStack) -> dict[str, Callable[[bytes], object]]:
    """The same, each in a Redis of its own."""
    demand("redis-server", "redis-cli")
    rotating, bare = (stack.enter_context(stores.in_redis(workshop, 1)) for _ in range(2))
    mount = stack.enter_context(rotating.mounted(workshop.new_place("keyfs")))
    client = stack.enter_context(redis.Redis(unix_socket_path=str(bare.socket)))
    sealer = open_sealer(Secret(bare.master_key))
    return {
        ours(REDIS): through(mount),
        plain(REDIS): partial(rotate_in_redis, client, f"ks/{FILE_NAME}", ONE_CLIENT, sealer),
    }


@contextmanager
def prepare(workshop: Workshop) -> Iterator[Field]:
    """Makes the stores and mounts half of them."""
    field, times = Field(), workshop.effort.reads(ROTATIONS)
    with ExitStack() as stack:
        rotations = in_directory(workshop, stack, field)
        try:
            rotations |= in_redis(workshop, stack)
        except Absent as exc:
            field.absent |= {ours(REDIS): str(exc), plain(REDIS): str(exc)}
        field.measures |= {name: measure(rotate, times) for name, rotate in rotations.items()}
        yield field


def measure(rotate: Callable[[bytes], object], times: int) -> Measure:
    """One who takes part."""
    return partial(milliseconds, rotate, times)


CONTEST = Contest(
    name="rotate",
    about="a new key written to `current` through the mount, until close(2) returns, beside a plain script"
    " with the steps of Acra's key store and fsync. keyfs does more: it takes two locks, looks what is"
    " there, keeps temporary files out of the store, and tells other programs that watch. The floor makes"
    " the script's own steps, in a thread, when a file of a mount is closed",
    unit="ms per rotation",
    rows=tuple(
        Row(f"rotation, {medium}{remark}", name, plain(medium), limit, "plain script", title)
        for medium, remark, limit, name, title in (
            (DIRECTORY, ", fsync on", 1.5, ours(DIRECTORY), "keyfs"),
            (DIRECTORY, ", fsync on", None, FLOOR, rivals.FLOOR),
            (REDIS, "", None, ours(REDIS), "keyfs"),
        )
    ),
    rounds=20,
    prepare=prepare,
)
