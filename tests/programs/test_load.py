"""stress-ng and fio on a real mount: it stays, serves right bytes, and has nothing to complain about.

stress-ng makes a folder for each of its programs, and files in it: a client without a key, and scratch files.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pytest
from hammering import Hammer

from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.needed import need

KEY = b"0123456789abcdefghijklmnopqrstuv"
SECONDS = 2
LOOPS = 100  # of fio, over the whole file
# In lots that one user's 64 scratch files are enough for.
MANAGED = (
    ("chmod", "chown", "dup", "fallocate", "fcntl", "flock", "fstat", "handle", "lease", "rename"),
    ("dnotify", "file-ioctl", "lockf", "lockofd", "mmap", "sendfile", "touch", "utime"),
)
# These need what a key store has not: folders in folders, attributes, large files, programs.
REFUSED = ("access", "chdir", "copy-file", "dir", "hdd", "open", "seek", "xattr")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("load")) as store:
        store.make("storage-sym/alice", KEY)
        store.make("storage/alice")
        yield store


@contextmanager
def hammered(live: LiveStore) -> Iterator[None]:
    """A key is read without pause, and always the same; at the end nothing is left beside it."""
    hammer = Hammer(live.mountpoint / "storage-sym/alice/current")
    try:
        yield
    finally:
        seen = hammer.stop()
    assert (seen.complaints, seen.contents) == ([], [KEY])
    assert os.listdir(live.mountpoint / "storage-sym") == ["alice"]


def stress(live: LiveStore, names: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    need("stress-ng")
    place = live.mountpoint / "storage-sym"
    words = [word for name in names for word in (f"--{name}", "1")]
    return subprocess.run(
        ["stress-ng", "--temp-path", place, "--timeout", str(SECONDS), *words],
        cwd=live.root.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("names", MANAGED, ids=" ".join)
def test_programs_that_stress_what_there_is_find_no_fault(live: LiveStore, names: tuple[str, ...]) -> None:
    with hammered(live):
        ran = stress(live, names)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "fail:" not in ran.stdout + ran.stderr
    assert not live.logged(" warning ")


def test_fio_reads_without_an_error(live: LiveStore) -> None:
    need("fio")
    current = live.mountpoint / "storage-sym/alice/current"
    jobs = [
        (
            f"--name={engine} {pattern}",
            f"--ioengine={engine}",
            f"--rw={pattern}",
            f"--filename={current}",
            "--bs=8",
        )
        for engine in ("psync", "io_uring")
        for pattern in ("read", "randread")
    ]
    ran = subprocess.run(
        ["fio", "--readonly", "--output-format=json", f"--loops={LOOPS}", *chain(*jobs)],
        cwd=live.root.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    done = json.loads(ran.stdout)["jobs"]
    assert [(job["error"], job["write"]["total_ios"]) for job in done] == [(0, 0)] * len(jobs)
    assert [job["read"]["total_ios"] for job in done] == [LOOPS * current.stat().st_size // 8] * len(jobs)
    assert not live.logged(" warning ")


def test_programs_that_stress_what_there_is_not_do_no_harm(live: LiveStore) -> None:
    with hammered(live):
        ran = stress(live, REFUSED)
    assert "Operation not permitted" in ran.stdout + ran.stderr
