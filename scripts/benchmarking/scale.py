"""Scale: what a million keys cost, beside a hundred."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarking import rivals, stores
from benchmarking.contest import Contest, Field, Row
from benchmarking.elsewhere import program
from benchmarking.programs import demand
from benchmarking.reading import check, microseconds_per_read
from benchmarking.workshop import Workshop

READS = 400
SMALL, LARGE = 100, 1_000_000
BYTES_PER_KEY = "bytes per key, without names"


@contextmanager
def prepare_growth(workshop: Workshop) -> Iterator[Field]:
    """Two mounts that differ in nothing but the number of keys."""
    demand("redis-server", "redis-cli")
    reads = workshop.effort.reads(READS)
    field = Field()
    with ExitStack() as stack:
        for name, keys in ((f"{SMALL} keys", SMALL), (f"{LARGE:,} keys", workshop.effort.size(LARGE))):
            store = stores.shared_in_redis(workshop, keys)
            mount = stack.enter_context(store.mounted(workshop.new_place("keyfs"), "--read-only"))
            stores.wait_until_known(mount, keys)
            file = stores.one_file(mount)
            check(file, rivals.KEY_BYTES)
            field.measures[name] = partial(microseconds_per_read, file, reads)
            field.remarks.append(f"{name}: {keys}")
        yield field


@contextmanager
def prepare_index(workshop: Workshop) -> Iterator[Field]:
    """The index alone, filled in a process of its own: see bench_index.py."""
    measure = program("bench_index").bytes_per_key
    keys = workshop.effort.size(LARGE)
    yield Field({BYTES_PER_KEY: partial(measure, keys)}, remarks=[f"{keys} keys"])


GROWTH = Contest(
    name="growth",
    about="hot reads of one key from a mount with 1,000,000 keys beside one with 100, in Redis, read-only",
    unit="µs per read",
    rows=(Row("hot read, 1,000,000 keys", f"{LARGE:,} keys", f"{SMALL} keys", 1.15, "itself with 100 keys"),),
    rounds=40,
    prepare=prepare_growth,
)
INDEX = Contest(
    name="index",
    about="memory that the index of 1,000,000 keys takes beyond the bytes of their names",
    unit="bytes per key",
    rows=(Row("index memory, bytes per key", BYTES_PER_KEY, "", 160),),
    rounds=1,
    prepare=prepare_index,
)
