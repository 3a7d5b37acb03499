"""Very many calls, calls cut short by signals, programs killed in the middle of them: the mount lives on."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from odd_site import OLD, odd_site, unharmed_key
from opened_files import KEY, with_error

from keyfs.testing.live import LiveStore


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with odd_site(tmp_path_factory.mktemp("odd")) as store:
        yield store


@pytest.fixture
def key(live: LiveStore) -> Iterator[Path]:
    with unharmed_key(live) as directory:
        yield directory


def test_thousands_of_open_files(key: Path) -> None:
    """Each is a snapshot of its own."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    try:
        fds = [os.open(key / "current", os.O_RDONLY) for _ in range(3000)]
        (key / "current").write_bytes(KEY)
        assert {os.pread(fd, 99, 0) for fd in fds[::37]} == {OLD}
        for fd in fds:
            os.close(fd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_storm_of_names_that_are_forgotten(live: LiveStore, key: Path) -> None:
    for number in range(1000):
        with_error(os.stat, key / f"none{number}")
    for _ in range(5):
        subprocess.run(["find", live.mountpoint, "-ls"], check=True, stdout=subprocess.DEVNULL)
        if os.geteuid() == 0:
            Path("/proc/sys/vm/drop_caches").write_text("2")
    assert (key / "current").read_bytes() == OLD


BUSY = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
bad = 0
for turn in range(150):
    for flags, data in ((os.O_RDONLY, b""), (os.O_WRONLY | os.O_TRUNC, (b"K", b"o")[turn % 2] * 32)):
        try:
            fd = os.open(sys.argv[1], flags)
        except InterruptedError:
            continue
        try:
            if data:
                os.write(fd, data)
            else:
                bad += os.pread(fd, 99, 0) not in (b"o" * 32, b"K" * 32)
        except InterruptedError:
            pass
        try:
            os.close(fd)
        except InterruptedError:
            pass
signal.setitimer(signal.ITIMER_REAL, 0)
sys.exit(bad)
"""


def test_signals_in_the_middle_of_every_call(key: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", BUSY, key / "current"], check=False, timeout=120)
    assert ran.returncode == 0


def test_files_are_closed_while_others_read_them(key: Path) -> None:
    """A number may belong to another file by the time it is read."""
    over = threading.Event()
    fds: list[int] = []
    seen: set[bytes] = set()

    def read() -> None:
        while not over.is_set():
            for fd in fds:
                with suppress(OSError):  # not that file any more
                    seen.add(os.pread(fd, 99, 0))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        fds[:] = [os.open(key / "current", os.O_RDONLY) for _ in range(4)]
        list(map(os.close, fds))
    over.set()
    for reader in readers:
        reader.join()
    assert seen <= {OLD, b""}


LOOP = """
import errno, os, sys
while True:
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDWR):
        fd = os.open(sys.argv[1] + "/current", flags)
        try:
            if flags != os.O_RDONLY:
                os.pwrite(fd, b"K" * 32 if flags & os.O_TRUNC else b"o" * 32, 0)
            os.close(fd)
        except OSError as exc:
            if exc.errno != errno.ESTALE:  # the other one rotated meanwhile
                raise
    os.listdir(sys.argv[1])
    fd = os.open(sys.argv[1] + f"/scratch{os.getpid()}", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(9999))
    os.close(fd)
    os.unlink(sys.argv[1] + f"/scratch{os.getpid()}")
    print("around", flush=True)
"""


def test_programs_killed_in_the_middle_of_their_requests(key: Path) -> None:
    for _ in range(4):
        words = [sys.executable, "-c", LOOP, str(key)]
        busy = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
        for process in busy:
            assert process.stdout is not None
            assert process.stdout.readline() == b"around\n"
        for process in busy:
            process.send_signal(signal.SIGKILL)
        for process in busy:
            process.communicate()
    for left in [name for name in os.listdir(key) if name.startswith("scratch")]:
        os.unlink(key / left)


def test_locks_outlive_nobody(key: Path) -> None:
    """The kernel keeps them, and lets them go with the process that is killed."""
    hold = "import fcntl as f, sys; k = open(sys.argv[1]); f.flock(k, 2); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, key / "current"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (key / "current").open("rb") as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holder.kill()
            fcntl.flock(file, fcntl.LOCK_EX)
