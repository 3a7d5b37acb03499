"""Where the microseconds of a request go: the kernel and C, what pyfuse3 and trio add, what keyfs adds.

The same requests to three file systems that differ in nothing else: our C daemon and our pyfuse3 program,
which do nothing, and keyfs.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarking import hot, rivals, stores
from benchmarking.contest import Contest, Field, Row
from benchmarking.programs import Absent, BenchError
from benchmarking.reading import microseconds_each, read_once
from benchmarking.report import Report, digits
from benchmarking.workshop import Workshop

REQUESTS = 400
KEYFS, IN_PYTHON, IN_C = "keyfs", "empty pyfuse3", "empty C"
# Of <linux/stat.h>: ask the file system, whatever the kernel remembers; the file is the descriptor itself.
ASK_ANEW, OF_DESCRIPTOR, EVERYTHING, STATX_SIZE = 0x2000, 0x1000, 0x7FF, 256
_libc = ctypes.CDLL(None, use_errno=True)


def open_read_close(stack: ExitStack, file: Path) -> Callable[[], object]:
    """A hot read: one OPEN, and a RELEASE that nobody waits for."""
    return partial(read_once, str(file))


def getattr_anew(stack: ExitStack, file: Path) -> Callable[[], object]:
    """One GETATTR, by statx(2) that insists.

    Raises:
        BenchError: there is no such file.
    """
    descriptor = os.open(file, os.O_PATH | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    found = ctypes.create_string_buffer(STATX_SIZE)
    ask = partial(_libc.statx, descriptor, b"", ASK_ANEW | OF_DESCRIPTOR, EVERYTHING, found)
    if ask() != 0:
        raise BenchError(f"statx of {file}: {os.strerror(ctypes.get_errno())}")
    return ask


def lookup(stack: ExitStack, file: Path) -> Callable[[], object]:
    """One LOOKUP, of a name that is not there: of one that is, the kernel may remember it."""
    descriptor = os.open(file.parent, os.O_PATH | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return lambda: os.access("absent", os.F_OK, dir_fd=descriptor)


def listing(stack: ExitStack, file: Path) -> Callable[[], object]:
    """A directory with one file: OPENDIR, READDIRPLUS, another for the end; nobody waits for RELEASEDIR."""
    return partial(os.listdir, file.parent)


REQUESTED = {
    "open+read+close": open_read_close,
    "getattr": getattr_anew,
    "lookup": lookup,
    "listing": listing,
}


@contextmanager
def prepare(workshop: Workshop) -> Iterator[Field]:
    """Mounts the three."""
    times = workshop.effort.reads(REQUESTS)
    store, field = stores.in_directory(workshop, 1), Field()
    mounts: dict[str, Callable[[], AbstractContextManager[Path]]] = {
        IN_C: lambda: rivals.empty_daemon(workshop),
        IN_PYTHON: lambda: rivals.empty_program(workshop),
        KEYFS: lambda: hot.keyfs(workshop, store, "--read-only"),
    }
    with ExitStack() as stack:
        files: dict[str, Path] = {}
        for name, mount in mounts.items():
            try:
                files[name] = stack.enter_context(mount())
            except Absent as exc:
                field.absent |= {f"{what}, {name}": str(exc) for what in REQUESTED}
        for what, request in REQUESTED.items():
            for name, file in files.items():
                field.measures[f"{what}, {name}"] = partial(microseconds_each, request(stack, file), times)
        yield field


CONTEST = Contest(
    name="budget",
    about="what is asked, as long as its caller waits: open+read+close of a hot file (OPEN), statx(2) that"
    " insists on an answer (GETATTR), access(2) of a name that is not there (LOOKUP), listing a directory"
    " with one file (OPENDIR, READDIRPLUS, READDIRPLUS for the end), on a read-only mount",
    unit="µs per request",
    rows=tuple(
        Row(what, f"{what}, {ours}", f"{what}, {rival}", None, rival, ours)
        for what in REQUESTED
        for ours, rival in ((KEYFS, IN_PYTHON), (IN_PYTHON, IN_C), (KEYFS, IN_C))
    ),
    rounds=40,
    prepare=prepare,
)


def markdown(found: Report) -> str:
    """What each layer adds to a request, in the medians of one run; and keyfs as a multiple of the floor."""
    figures = found["contests"][CONTEST.name]["figures"]
    ratios = {(row["case"], row["rival"]): row["ratio"]["median"] for row in found["rows"]}
    lines = [
        "| request | kernel and C | pyfuse3 and trio | keyfs | in all | keyfs : empty pyfuse3 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for what in REQUESTED:
        in_c, in_python, ours = (figures[f"{what}, {name}"]["median"] for name in (IN_C, IN_PYTHON, KEYFS))
        told = (in_c, in_python - in_c, ours - in_python, ours)
        times = " | ".join(f"{digits(figure)} µs" for figure in told)
        lines.append(f"| {what} | {times} | {digits(ratios[what, IN_PYTHON])} |")
    return "\n".join(lines)
