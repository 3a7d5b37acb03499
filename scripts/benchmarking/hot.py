"""Hot reads: of one key of 32 bytes, by one process or four, everything in memory."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarking import rivals, stores
from benchmarking.contest import Contest, Field, Measure, Row
from benchmarking.programs import KEYFS, Absent, run
from benchmarking.reading import check, microseconds_per_read, microseconds_shared
from benchmarking.workshop import Workshop

READS = 400
READERS = 4
READ_ONLY, READ_WRITE, DIRECT = "keyfs, read-only", "keyfs, read-write", "keyfs, --direct-io"
GOCRYPTFS, EMPTY_DAEMON = "gocryptfs", "empty C libfuse daemon"
EMPTY_PROGRAM = "empty pyfuse3 program"
STRICT_FLOOR = "floor, --direct-io"
OTHERS = ("securefs", "encfs", "bindfs", "passthrough_ll", EMPTY_PROGRAM, "tmpfs")


def of_four(name: str) -> str:
    """The same with more readers."""
    return f"{name}, {READERS} readers"


@contextmanager
def keyfs(workshop: Workshop, store: stores.KeyStore, *options: str) -> Iterator[Path]:
    """One key through keyfs.

    Raises:
        Absent: it has no such option.
    """
    told = run(KEYFS, "mount", "--help")
    for option in options:
        if option not in told:
            raise Absent(f"keyfs mount has no option {option} yet")
    with store.mounted(workshop.new_place("keyfs"), *options) as mount:
        yield stores.one_file(mount)


@contextmanager
def strict_floor(workshop: Workshop) -> Iterator[Path]:
    """What keyfs is asked with --direct-io, answered from nothing."""
    with rivals.floor(workshop.new_place("floor"), "--strict") as mount:
        yield stores.one_file(mount)


def everybody(workshop: Workshop) -> dict[str, Callable[[], AbstractContextManager[Path]]]:
    """How each gets ready; neighbours are measured one right after the other."""
    store = stores.in_directory(workshop, 1)
    return {
        EMPTY_DAEMON: lambda: rivals.empty_daemon(workshop),
        READ_ONLY: lambda: keyfs(workshop, store, "--read-only"),
        GOCRYPTFS: lambda: rivals.gocryptfs(workshop),
        READ_WRITE: lambda: keyfs(workshop, store),
        DIRECT: lambda: keyfs(workshop, store, "--direct-io"),
        STRICT_FLOOR: lambda: strict_floor(workshop),
        "securefs": lambda: rivals.securefs(workshop),
        "encfs": lambda: rivals.encfs(workshop),
        "bindfs": lambda: rivals.bindfs(workshop),
        "passthrough_ll": lambda: rivals.passthrough(workshop),
        EMPTY_PROGRAM: lambda: rivals.empty_program(workshop),
        "tmpfs": lambda: rivals.tmpfs(workshop),
    }


@contextmanager
def prepare(workshop: Workshop) -> Iterator[Field]:
    """Mounts everybody."""
    field, reads = Field(), workshop.effort.reads(READS)
    of_many: dict[str, Measure] = {}
    with ExitStack() as stack:
        for name, enter in everybody(workshop).items():
            try:
                file = stack.enter_context(enter())
            except Absent as exc:
                field.absent[name] = str(exc)
                continue
            check(file, rivals.KEY_BYTES)
            field.measures[name] = partial(microseconds_per_read, file, reads)
            if name in (READ_ONLY, GOCRYPTFS):
                of_many[of_four(name)] = partial(microseconds_shared, file, reads, READERS)
        field.measures |= of_many  # next to each other
        yield field


CONTEST = Contest(
    name="hot",
    about="open, read and close of one file of 32 bytes, purpose/client/current, everything on tmpfs; with 4"
    " readers the time that passes for each read of any of them. The C daemon and the pyfuse3 program are"
    " ours: one constant file, cached by the kernel as well as can be; with --direct-io the floor answers the"
    " same requests, from nothing",
    unit="µs per read",
    rows=(
        Row("hot read, read-only mount, 1 reader", READ_ONLY, GOCRYPTFS, 0.75),
        Row("hot read, read-only mount, 1 reader", READ_ONLY, EMPTY_DAEMON, 2.5),
        Row("hot read, read-only mount, 4 readers", of_four(READ_ONLY), of_four(GOCRYPTFS), 0.75, GOCRYPTFS),
        Row("hot read, read-write mount, 1 reader", READ_WRITE, GOCRYPTFS, 1.0),
        Row("hot read, --direct-io, 1 reader", DIRECT, GOCRYPTFS, 1.8),
        Row("hot read, --direct-io, 1 reader", STRICT_FLOOR, GOCRYPTFS, None, GOCRYPTFS, rivals.FLOOR),
        *(Row("hot read, read-only mount, 1 reader", READ_ONLY, other) for other in OTHERS),
        Row("the floor of pyfuse3 and trio", EMPTY_PROGRAM, EMPTY_DAEMON, None, "", EMPTY_PROGRAM),
    ),
    rounds=40,
    prepare=prepare,
)
