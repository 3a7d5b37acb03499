"""Starting: from the command to the first key, and with a million keys in Redis."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from benchmarking import rivals, stores
from benchmarking.contest import Contest, Field, Row
from benchmarking.programs import Absent, BenchError, demand
from benchmarking.reading import check
from benchmarking.workshop import Workshop

FEW, MANY = 1_000, 1_000_000


def seconds_to_first_read(mount: Callable[[], AbstractContextManager[Path]], name: str) -> float:
    """From the mount command to the bytes of a key."""
    began = time.perf_counter()
    with mount() as place:
        check(stores.one_file(place, name), rivals.KEY_BYTES)
        return time.perf_counter() - began  # without the end of the mount


@contextmanager
def prepare_mount(workshop: Workshop) -> Iterator[Field]:
    """The same keys in both."""
    keys = workshop.effort.size(FEW)
    store, place = stores.in_directory(workshop, keys), workshop.new_place("keyfs")
    mount = partial(store.mounted, place, "--read-only")
    field = Field({"keyfs": partial(seconds_to_first_read, mount, rivals.ONE_CLIENT)})
    field.remarks.append(f"{keys} keys")
    try:
        rival = rivals.Gocryptfs(workshop.new_place("gocryptfs"), cheap_password=False)
        with rival.mounted() as empty:
            rivals.plant(empty, [stores.client(number) for number in range(keys)])
        field.measures["gocryptfs"] = partial(seconds_to_first_read, rival.mounted, stores.client(0))
    except Absent as exc:
        field.absent["gocryptfs"] = str(exc)
    yield field


# --- a million keys in Redis ---


def seconds_until(store: stores.KeyStore, place: Path, see: Callable[[Path], object]) -> float:
    """From the mount command until something was seen there."""
    began = time.perf_counter()
    with store.mounted(place, "--read-only") as mount:
        see(mount)
        return time.perf_counter() - began


def first_key(mount: Path) -> None:
    """Reads a key."""
    check(stores.one_file(mount), rivals.KEY_BYTES)


def all_keys(keys: int, mount: Path) -> None:
    """Waits until the mount knows them all."""
    stores.wait_until_known(mount, keys)


def seconds_of_scan(store: stores.KeyStore, keys: int) -> float:
    """redis-cli lists all names; to a pipe, where they are counted.

    Raises:
        BenchError: they are not all there.
    """
    began = time.perf_counter()
    ran = subprocess.run(
        ["redis-cli", "-s", str(store.socket), "--scan", "--pattern", "ks/*"],
        check=False,
        capture_output=True,
    )
    took = time.perf_counter() - began
    if ran.stdout.count(b"\n") < keys:
        raise BenchError(f"redis-cli --scan does not show {keys} names: {ran.stderr.decode().strip()}")
    return took


@contextmanager
def prepare_start(workshop: Workshop) -> Iterator[Field]:
    """One Redis with very many keys."""
    demand("redis-server", "redis-cli")
    keys = workshop.effort.size(MANY)
    store, place = stores.shared_in_redis(workshop, keys), workshop.new_place("keyfs")
    yield Field(
        {
            "keyfs, all keys known": partial(seconds_until, store, place, partial(all_keys, keys)),
            "redis-cli --scan": partial(seconds_of_scan, store, keys),
            "keyfs, first key read": partial(seconds_until, store, place, first_key),
        },
        remarks=[f"{keys} keys, each a blob of its own"],
    )


MOUNT = Contest(
    name="mount",
    about="from the mount command to the bytes of the first key, 1,000 keys in a directory on tmpfs;"
    " gocryptfs with its default settings, the password hash included",
    unit="s",
    rows=(Row("mount to first read, 1,000 keys", "keyfs", "gocryptfs", 2.5),),
    rounds=15,
    prepare=prepare_mount,
)
START = Contest(
    name="start",
    about="from the mount command until all keys are listed, 1,000,000 keys in Redis on a unix socket, beside"
    " redis-cli listing their names; told without a limit, when the first key can be read",
    unit="s",
    rows=(
        Row("start, 1,000,000 keys in Redis", "keyfs, all keys known", "redis-cli --scan", 2.0),
        Row("first read, 1,000,000 keys in Redis", "keyfs, first key read", "redis-cli --scan"),
    ),
    rounds=3,
    prepare=prepare_start,
)
