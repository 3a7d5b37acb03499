"""What is no whole new key makes no version: the current one and its time stay, whatever the program does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_ring import OLD, Ring, ring_of

from keyfs.seal.keypair import generate_pair
from keyfs.testing.live import LiveStore, live_store


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("refused")) as store:
        yield store


@pytest.fixture
def ring(live: LiveStore, request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A symmetric key of one version, which must be all there is at the end."""
    made = ring_of(live, request, "storage-sym", OLD)
    mtime_ns = made.current.stat().st_mtime_ns
    yield made
    assert made.contents() == made.shown() == [OLD]
    assert made.current.stat().st_mtime_ns == mtime_ns


@pytest.fixture
def pair(live: LiveStore, request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A key pair of one version, which must be all there is at the end."""
    made = ring_of(live, request, "storage", None)
    before, public = made.contents(), (made.directory / "current.pub").read_bytes()
    yield made
    assert made.contents() == made.shown() == before
    assert (made.directory / "current.pub").read_bytes() == public


NO_WRITES = {
    "colon": ": > current",
    "touch": "touch current",
    "touch at a time": "touch -d 2001-01-01 current",
    "truncate": "truncate -s 0 current",
    "truncate to less": "truncate -s 10 current",
    "append nothing": ": >> current",
    "append a newline": "echo >> current",
    "cp of nothing": "cp /dev/null current",
    "cp of itself by way of a file": 'cat current > "$NEW"; cp "$NEW" current',
    "the same and a newline": 'cat current > "$NEW"; echo >> "$NEW"; cat "$NEW" > current',
    "the same in place": 'cat current > "$NEW"; dd if="$NEW" of=current conv=notrunc status=none',
    "chmod to what it is": "chmod 600 current",
}


@pytest.mark.parametrize("script", NO_WRITES.values(), ids=NO_WRITES)
def test_what_writes_no_new_key_succeeds_and_makes_no_version(
    ring: Ring, tmp_path: Path, script: str
) -> None:
    ran = ring.shell(script, tmp_path / "new")
    assert (ran.returncode, ran.stderr) == (0, "")


# Programs that report what close(2) answers; `echo >` of bash and an implicit close in Python do not.
REPORTING = {
    "cp": 'cp "$NEW" current',
    "tee": 'tee current < "$NEW" > /dev/null',
    "cat": 'cat "$NEW" > current',
    "dd": 'dd if="$NEW" of=current status=none',
    "fsync": 'dd if="$NEW" of=current conv=fsync status=none',
}


@pytest.mark.parametrize("size", [1, 31, 33, 34, 64, 100_000])
@pytest.mark.parametrize("script", REPORTING.values(), ids=REPORTING)
def test_a_wrong_length_is_refused(ring: Ring, tmp_path: Path, script: str, size: int) -> None:
    new = tmp_path / "new"
    new.write_bytes(b"x" * size)
    ran = ring.shell(script, new)
    assert ran.returncode == 1
    assert "Invalid argument" in ran.stderr


def test_a_program_that_ignores_the_error_changes_nothing(ring: Ring) -> None:
    assert ring.shell("printf 0123456789abcdef > current").returncode == 0
    ring.shell("\"$PYTHON\" -c \"open('current', 'w').write('short')\"")


def test_what_came_before_a_refused_write_is_not_committed(ring: Ring, tmp_path: Path) -> None:
    """The first two of four blocks are exactly a key."""
    new = tmp_path / "new"
    new.write_bytes(b"0123456789abcdef" * 4)
    ran = ring.shell('dd if="$NEW" of=current bs=16 count=4 status=none', new)
    assert ran.returncode == 1
    assert "Invalid argument" in ran.stderr


def test_a_hole_is_no_key(ring: Ring) -> None:
    fd = os.open(ring.current, os.O_WRONLY | os.O_TRUNC)
    for change in (lambda: os.pwrite(fd, b"x", 1 << 20), lambda: os.ftruncate(fd, 1 << 30)):
        with pytest.raises(OSError, match="Invalid argument"):
            change()
    with pytest.raises(OSError, match="Invalid argument"):
        os.close(fd)


@pytest.mark.parametrize("text", ["more", "0123456789abcdef0123456789abcdef"])
def test_appending_is_refused(ring: Ring, text: str) -> None:
    ran = ring.shell(f"echo {text} >> current")
    assert ran.returncode == 1
    assert "Invalid argument" in ran.stderr


KILLED = """
import os, sys
file = open(sys.argv[1], "r+b" if sys.argv[3] == "in place" else "wb", buffering=0)
for _ in range(int(sys.argv[2])):
    file.write(b"R")
print("written", flush=True)
sys.stdin.read()
"""


def kill_a_writer_of(path: Path, count: int, how: str) -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(count), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("count", [0, 1, 16, 31])
def test_a_writer_killed_half_way_leaves_the_key_as_it_was(ring: Ring, count: int) -> None:
    kill_a_writer_of(ring.current, count, "anew")


def test_a_writer_of_a_pair_killed_half_way_leaves_the_key_as_it_was(pair: Ring) -> None:
    kill_a_writer_of(pair.current, 1, "anew")


def with_wrong_checksum() -> bytes:
    container = bytearray(generate_pair()[0].reveal())
    container[8] ^= 1
    return bytes(container)


def of_no_curve_point() -> bytes:
    return b"REC2\0\0\0-" + bytes(37)


BAD_CONTAINERS = {
    "wrong checksum": with_wrong_checksum(),
    "public": generate_pair()[1],
    "zero": of_no_curve_point(),
    "cut": generate_pair()[0].reveal()[:-1],
    "two": generate_pair()[0].reveal() * 2,
    "RSA": b"RRA2" + bytes(41),
    "RSA, long": b"RRA2" + bytes(1190),
    "PEM": b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQ==\n",
    "P-384": b"REC3\0\0\0-" + bytes(37),
    "symmetric": bytes(32),
    "a letter": b"R",
}


@pytest.mark.parametrize("script", REPORTING.values(), ids=REPORTING)
@pytest.mark.parametrize("container", BAD_CONTAINERS.values(), ids=BAD_CONTAINERS)
def test_what_is_no_private_key_container_is_refused(
    pair: Ring, tmp_path: Path, script: str, container: bytes
) -> None:
    new = tmp_path / "new"
    new.write_bytes(container)
    ran = pair.shell(script, new)
    assert ran.returncode == 1
    assert "Invalid argument" in ran.stderr


def test_the_log_says_why_an_import_was_refused(ring: Ring) -> None:
    ring.shell("echo too short > current")
    assert ring.live.logged("import.refused", ring.label, "32 bytes, not 10 bytes")
