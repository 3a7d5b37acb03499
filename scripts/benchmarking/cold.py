"""Cold reads from Redis: of keys that the mount has never had in memory. See bench_cold.py."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarking import rivals
from benchmarking.contest import Contest, Field, Row
from benchmarking.elsewhere import program
from benchmarking.programs import demand
from benchmarking.workshop import Workshop

READS = 1600
ROUNDS = 10
MANY = 32


def readers(who: str, count: int) -> str:
    """One who takes part."""
    return f"{who}, {count} reader{'s' * (count > 1)}"


def on_new_keys(measure: Callable[[Sequence[int]], float], starts: Iterator[int], reads: int) -> float:
    """Measures with keys that nobody has read before."""
    start = next(starts)
    return measure(range(start, start + reads))


@contextmanager
def prepare(workshop: Workshop) -> Iterator[Field]:
    """A Redis with as many keys as will be read, each once through the mount."""
    demand("redis-server", "redis-cli")
    bench = program("bench_cold")
    reads = max(2 * MANY, workshop.effort.reads(READS))
    rounds = workshop.effort.rounds(ROUNDS)
    field = Field(remarks=[f"{reads} keys in each round"])
    with (
        bench.cold_store(workshop.new_place("cold"), (2 * rounds + 1) * reads) as store,
        bench.cold_mount(store, "--read-only") as mount,
        rivals.floor(workshop.new_place("floor"), *bench.asking(store)) as floor,
    ):
        bench.mount_us(mount, range(reads), 1)  # a warm-up: of the daemon, not of what is measured
        # The script keeps nothing, so it may read the same keys as the mount.
        ours, theirs, nobodys = (itertools.count(reads, reads) for _ in range(3))
        for count in (1, MANY):
            through = partial(bench.mount_us, mount, readers=count)
            script = partial(bench.script_us, store, threads=count)
            empty = partial(bench.mount_us, floor, readers=count)
            field.measures[readers("keyfs", count)] = partial(on_new_keys, through, ours, reads)
            field.measures[readers("floor", count)] = partial(on_new_keys, empty, nobodys, reads)
            field.measures[readers("script", count)] = partial(on_new_keys, script, theirs, reads)
        yield field


CONTEST = Contest(
    name="cold",
    about="the first read of keys in Redis on a unix socket, beside a plain script: redis-py GET, Secure Cell"
    " opened, a file on tmpfs read; with 32 readers (processes, and threads of the script) the time that"
    " passes for each key. The floor sends one GET for each open, waits for the answer and opens the Secure"
    " Cell, on the spot; for the rest it only answers the kernel",
    unit="µs per key",
    rows=tuple(
        Row(
            f"cold read from Redis, read-only mount, {readers('', count)[2:]}",
            readers(name, count),
            readers("script", count),
            limit,
            "plain script",
            title,
        )
        for count, most in ((1, 2.0), (MANY, 1.0))
        for name, limit, title in (("keyfs", most, "keyfs"), ("floor", None, rivals.FLOOR))
    ),
    rounds=ROUNDS,
    prepare=prepare,
)
