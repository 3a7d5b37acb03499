"""Other file systems with one file of 32 bytes, or many, in the tree shape that keyfs has."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarking.programs import Absent, BenchError, demand, mounted, run, served
from benchmarking.workshop import Workshop

KEY_BYTES = 32
PURPOSE = "storage-sym"
ONE_CLIENT = "alice1"
HERE = Path(__file__).parent
EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")
FLOOR = "the floor of pyfuse3"  # as the table calls it
BY_PASSWORD = "keyfs-bench"  # nothing is kept behind it


def plant(root: Path, clients: Sequence[str]) -> Path:
    """Makes one file for each client below a directory; returns that of the first."""
    for client in clients:
        folder = root / PURPOSE / client
        folder.mkdir(parents=True)
        (folder / "current").write_bytes(secrets.token_bytes(KEY_BYTES))
    return root / PURPOSE / clients[0] / "current"


@contextmanager
def tmpfs(workshop: Workshop) -> Iterator[Path]:
    """The floor of all: no user-space file system."""
    yield plant(workshop.new_place("tmpfs"), [ONE_CLIENT])


# --- encrypted file systems, with the options that they have by themselves ---


class Gocryptfs:
    """A gocryptfs directory.

    Args:
        place: a new directory.
        cheap_password: makes its password hash cheap, where what it costs is not to be measured.

    Raises:
        Absent: it is not installed.
    """

    def __init__(self, place: Path, *, cheap_password: bool = True) -> None:
        demand("gocryptfs")
        self.place = place / "mount"
        self._cipher = place / "cipher"
        self._common = ("-q", "-nosyslog", "-passfile", place / "passfile")
        (place / "passfile").write_text(secrets.token_hex() + "\n")
        self._cipher.mkdir()
        self.place.mkdir()
        cheap = ("-scryptn", "10") if cheap_password else ()
        run("gocryptfs", "-init", *cheap, *self._common, self._cipher)

    @property
    def command(self) -> tuple[str | Path, ...]:
        """What mounts it, without the mountpoint."""
        return ("gocryptfs", *self._common, self._cipher)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Its mount, with nothing of it in the kernel's caches."""
        with mounted(self.place, self.command):
            yield self.place


@contextmanager
def gocryptfs(workshop: Workshop) -> Iterator[Path]:
    """One file through gocryptfs."""
    with Gocryptfs(workshop.new_place("gocryptfs")).mounted() as place:
        yield plant(place, [ONE_CLIENT])


@contextmanager
def securefs(workshop: Workshop) -> Iterator[Path]:
    """One file through securefs."""
    demand("securefs")
    data, place = workshop.new_place("securefs-data"), workshop.new_place("securefs")
    password = ("--pass", BY_PASSWORD)
    run("securefs", "create", "--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "-r", "1", *password, data)
    with served(place, ["securefs", "mount", *password, data, place]):
        yield plant(place, [ONE_CLIENT])


@contextmanager
def encfs(workshop: Workshop) -> Iterator[Path]:
    """One file through encfs, as --standard makes it."""
    demand("encfs")
    data, place = workshop.new_place("encfs-data"), workshop.new_place("encfs")
    with served(place, ["encfs", "--standard", "-f", f"--extpass=echo {BY_PASSWORD}", data, place]):
        yield plant(place, [ONE_CLIENT])


# --- file systems that only pass on, or do nothing ---


@contextmanager
def bindfs(workshop: Workshop) -> Iterator[Path]:
    """One file through bindfs: what passing on costs."""
    demand("bindfs")
    data, place = workshop.new_place("bindfs-data"), workshop.new_place("bindfs")
    file = plant(data, [ONE_CLIENT])
    with mounted(place, ["bindfs", data]):
        yield place / file.relative_to(data)


def compiled(workshop: Workshop, source: Path) -> Path:
    """A program in C on libfuse, compiled.

    Raises:
        Absent: there is no compiler, or no source.
    """
    demand("gcc", "pkg-config")
    if not source.exists():
        raise Absent(f"{source} is not installed")
    program = workshop.new_place("compiled") / source.stem
    flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
    run("gcc", "-O2", "-o", program, source, *flags)
    return program


@contextmanager
def passthrough(workshop: Workshop) -> Iterator[Path]:
    """The example of libfuse that passes on, as Debian has it, with all its caches on."""
    program = compiled(workshop, EXAMPLES / "passthrough_ll.c")
    data, place = workshop.new_place("passthrough-data"), workshop.new_place("passthrough")
    file = plant(data, [ONE_CLIENT])
    with served(place, [program, "-f", "-o", f"source={data},cache=always", place]):
        yield place / file.relative_to(data)


@contextmanager
def empty_daemon(workshop: Workshop) -> Iterator[Path]:
    """A C daemon that does nothing, as well as that can be done."""
    place = workshop.new_place("empty-c")
    with served(place, [compiled(workshop, HERE / "empty_daemon.c"), "-o", "ro,fsname=empty", place]):
        yield place / PURPOSE / ONE_CLIENT / "current"


@contextmanager
def empty_program(workshop: Workshop, *options: str) -> Iterator[Path]:
    """The same on pyfuse3 and trio."""
    place = workshop.new_place("empty-python")
    with served(place, [sys.executable, HERE / "empty_program.py", *options, place]):
        yield place / PURPOSE / ONE_CLIENT / "current"


@contextmanager
def floor(place: Path, *options: str | Path) -> Iterator[Path]:
    """What keyfs is asked, answered from nothing; see `floor_program`."""
    command = [sys.executable, "-m", "benchmarking.floor_program", *options, place]
    with served(place, command, PYTHONPATH=str(HERE.parent)):
        yield place


# --- who was measured ---


def versions() -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for words in (
        ("gocryptfs", "-version"),
        ("securefs", "version"),
        ("encfs", "--version"),
        ("bindfs", "--version"),
    ):
        if shutil.which(words[0]) is not None:
            told = subprocess.run(
                words, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            found[words[0]] = (told.stdout + told.stderr).partition("\n")[0].partition(";")[0].strip()
    try:
        found["libfuse"] = run("pkg-config", "--modversion", "fuse3").strip()
    except (BenchError, OSError):
        found["libfuse"] = "unknown"
    if shutil.which("redis-server") is not None:
        found["redis"] = run("redis-server", "--version").split()[2].removeprefix("v=")
    return found
