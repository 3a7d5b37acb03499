"""Edits in place, conflicts, the `rotate` file, and a `current` that was destroyed."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_ring import OLD, Ring, ring_of

from keyfs.core.secret import Secret
from keyfs.core.tree import ROTATE_TEXT
from keyfs.seal.keypair import public_from_private
from keyfs.testing.live import LiveStore, live_store

NEW = b"new".ljust(32, b".")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("edits")) as store:
        yield store


@pytest.fixture
def ring(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A symmetric key of one version."""
    return ring_of(live, request, "storage-sym", OLD)


@pytest.fixture
def pair(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A key pair of one version."""
    return ring_of(live, request, "storage", None)


# --- in place ---


def test_an_edit_in_place_makes_one_version_of_old_and_new_bytes(ring: Ring) -> None:
    fd = os.open(ring.current, os.O_RDWR)
    assert os.pread(fd, 99, 0) == OLD
    assert os.pwrite(fd, b"EDIT", 4) == 4
    assert os.pread(fd, 99, 0) == OLD[:4] + b"EDIT" + OLD[8:]
    os.close(fd)
    assert ring.contents() == ring.shown() == [OLD, OLD[:4] + b"EDIT" + OLD[8:]]


def test_an_edit_in_place_of_a_version_that_is_not_current_any_more_is_refused(ring: Ring) -> None:
    """Else the bytes that the other writer made would be mixed with those before them."""
    fd = os.open(ring.current, os.O_RDWR)
    os.pwrite(fd, b"EDIT", 4)
    ring.current.write_bytes(NEW)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        os.fsync(fd)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        os.close(fd)
    assert ring.contents() == ring.shown() == [OLD, NEW]


def test_an_edit_that_comes_too_late_is_refused_at_once(ring: Ring) -> None:
    """Many programs do not hear the error of close(2)."""
    fd = os.open(ring.current, os.O_RDWR)
    ring.current.write_bytes(NEW)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        os.pwrite(fd, b"EDIT", 4)
    os.close(fd)
    assert ring.contents() == ring.shown() == [OLD, NEW]


def test_a_full_overwrite_does_not_care_what_was_current(ring: Ring) -> None:
    fd = os.open(ring.current, os.O_RDWR)
    ring.current.write_bytes(NEW)
    os.ftruncate(fd, 0)
    os.write(fd, b"x" * 32)
    os.close(fd)
    assert ring.contents() == ring.shown() == [OLD, NEW, b"x" * 32]


def test_an_edit_goes_on_after_its_first_commit(ring: Ring) -> None:
    fd = os.open(ring.current, os.O_RDWR)
    os.pwrite(fd, b"1", 0)
    os.fsync(fd)
    os.pwrite(fd, b"2", 1)
    os.close(fd)
    assert ring.contents() == ring.shown() == [OLD, b"12" + OLD[2:]]


# --- rotate ---


def test_rotate_says_what_it_is(ring: Ring) -> None:
    assert (ring.directory / "rotate").read_bytes() == ROTATE_TEXT
    assert ROTATE_TEXT.count(b"\n") == 1


ROTATING = {
    "echo": "echo > rotate",
    "append": "echo now >> rotate",
    "tee": "echo now | tee rotate > /dev/null",
    "cp": 'cp "$NEW" rotate',
    "dd": 'dd if="$NEW" of=rotate bs=1 conv=fsync status=none',
    "two commands": "{ echo; echo; } > rotate",
    "one process, twice": "exec 3> rotate; echo >&3; echo >&3; exec 3>&-",
}


@pytest.mark.parametrize("script", ROTATING.values(), ids=ROTATING)
def test_any_byte_written_to_rotate_generates_one_version(ring: Ring, tmp_path: Path, script: str) -> None:
    new = tmp_path / "new"
    new.write_bytes(b"now")
    ran = ring.shell(script, new)
    assert (ran.returncode, ran.stderr) == (0, "")
    old, generated = ring.contents()
    assert old == OLD
    assert len(generated) == 32
    assert generated not in (OLD, bytes(32))
    assert ring.shown() == [old, generated]
    assert (ring.directory / "rotate").read_bytes() == ROTATE_TEXT


NOT_ROTATING = {
    "colon": ": > rotate",
    "append nothing": ": >> rotate",
    "touch": "touch rotate",
    "truncate": "truncate -s 0 rotate",
    "read": "cat rotate rotate > /dev/null",
}


@pytest.mark.parametrize("script", NOT_ROTATING.values(), ids=NOT_ROTATING)
def test_no_byte_generates_nothing(ring: Ring, script: str) -> None:
    ran = ring.shell(script)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ring.contents() == ring.shown() == [OLD]


def test_rotate_makes_a_pair_whose_halves_belong_together(pair: Ring) -> None:
    assert pair.shell("echo > rotate").returncode == 0
    old, generated = pair.contents()
    assert old != generated
    assert (pair.directory / "current.pub").read_bytes() == public_from_private(Secret(generated))


# --- a current that is not there ---


@pytest.mark.parametrize("script", ['cp "$NEW" current', 'cat "$NEW" > current'])
def test_a_current_that_was_destroyed_can_be_written_again(ring: Ring, tmp_path: Path, script: str) -> None:
    ring.current.write_bytes(NEW)
    (ring.live.root / (ring.label.partition("/")[2] + "_storage_sym")).unlink()
    assert not ring.current.exists()
    new = tmp_path / "new"
    new.write_bytes(b"again".ljust(32))
    ran = ring.shell(script, new)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ring.contents() == ring.shown() == [OLD, b"again".ljust(32)]


@pytest.mark.parametrize("script", ["touch current", ": > current", "echo short > current"])
def test_a_current_that_is_not_there_does_not_come_of_nothing(ring: Ring, script: str) -> None:
    ring.current.write_bytes(NEW)
    (ring.live.root / (ring.label.partition("/")[2] + "_storage_sym")).unlink()
    ring.shell(script)
    assert not ring.current.exists()
    assert ring.contents() == [OLD]


def test_a_key_without_current_cannot_be_rotated(ring: Ring) -> None:
    ring.current.write_bytes(NEW)
    (ring.live.root / (ring.label.partition("/")[2] + "_storage_sym")).unlink()
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        (ring.directory / "rotate").write_bytes(b"\n")
    assert ring.contents() == [OLD]
