"""Whatever program writes a whole key to `current`: exactly one version, right bytes, the previous kept."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_ring import OLD, Ring, ring_of

from keyfs.core.secret import Secret
from keyfs.core.stamps import is_stamp
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import run_keyfs


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with live_store(tmp_path_factory.mktemp("writers")) as store:
        yield store


@pytest.fixture
def ring(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A symmetric key of one version."""
    return ring_of(live, request, "storage-sym", OLD)


@pytest.fixture
def pair(live: LiveStore, request: pytest.FixtureRequest) -> Ring:
    """A key pair of one version."""
    return ring_of(live, request, "storage", None)


def python(*lines: str) -> str:
    head = ("import os", 'new = open(os.environ["NEW"], "rb").read()')
    return '"$PYTHON" -c \'' + "\n".join((*head, *lines)) + "'"


WRITERS = {
    "echo": 'echo "$(cat "$NEW")" > current',
    "printf": 'printf %s "$(cat "$NEW")" > current',
    "cp": 'cp "$NEW" current',
    "cp -p": 'cp -p "$NEW" current',
    "tee": 'tee current < "$NEW" > /dev/null',
    "cat": 'cat "$NEW" > current',
    "dd": 'dd if="$NEW" of=current bs=16 count=2 conv=fsync status=none',
    "dd in place": 'dd if="$NEW" of=current bs=1 conv=notrunc,fsync status=none',
    "cat and echo": '{ cat "$NEW"; echo; } > current',
    "Python": python('open("current", "wb").write(new)'),
    "byte by byte": python(
        'with open("current", "wb", buffering=0) as f:', "    for b in new: f.write(bytes([b]))"
    ),
    "backwards": python(
        'f = open("current", "wb", buffering=0)',
        "for i in reversed(range(32)): os.pwrite(f.fileno(), new[i : i + 1], i)",
    ),
    "ftruncate first": python('f = open("current", "r+b")', "f.truncate(0)", "f.write(new)"),
    "fsync and close": python(
        'f = open("current", "wb", buffering=0)', "f.write(new)", "os.fsync(f)", "os.fdatasync(f)"
    ),
    "two descriptors": python(
        'f = open("current", "wb", buffering=0)', "g = os.dup(f.fileno())", "f.write(new)", "os.close(g)"
    ),
}


@pytest.mark.parametrize("script", WRITERS.values(), ids=WRITERS)
def test_a_program_that_writes_a_key_makes_one_version(ring: Ring, tmp_path: Path, script: str) -> None:
    new = tmp_path / "new"
    material = hashlib.blake2b(script.encode(), digest_size=16).hexdigest().encode()
    new.write_bytes(material)
    new.chmod(0o600)
    before_ns = ring.current.stat().st_mtime_ns
    ran = ring.shell(script, new)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ring.contents() == [OLD, material]
    assert ring.shown() == [OLD, material]
    assert ring.current.stat().st_mtime_ns > before_ns


def test_two_programs_that_write_half_a_key_each_make_one_version(ring: Ring, tmp_path: Path) -> None:
    """The first one's close is answered EINVAL, because half a key is none; the second completes it."""
    new = tmp_path / "new"
    new.write_bytes(b"0123456789abcdef0123456789ABCDEF")
    ran = ring.shell('{ head -c16 "$NEW"; tail -c16 "$NEW"; } > current', new)
    assert (ran.returncode, ran.stderr) == (0, "head: write error: Invalid argument\n")
    assert ring.contents() == ring.shown() == [OLD, new.read_bytes()]


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_bytes_that_are_no_text(ring: Ring, tmp_path: Path, newline: bytes) -> None:
    material = bytes([0, 255, 13, 10] * 8)
    new = tmp_path / "new"
    new.write_bytes(material + newline)
    assert ring.shell('cp "$NEW" current', new).returncode == 0
    assert ring.contents() == [OLD, material]


def test_a_newline_that_is_the_last_byte_of_a_key_stays(ring: Ring, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.write_bytes(b"k" * 31 + b"\n")
    assert ring.shell('cat "$NEW" > current', new).returncode == 0
    assert ring.contents() == [OLD, b"k" * 31 + b"\n"]


def test_each_write_makes_a_version(ring: Ring) -> None:
    keys = [bytes([number]) * 32 for number in range(5)]
    for key in keys:
        ring.current.write_bytes(key)
    assert ring.contents() == ring.shown() == [OLD, *keys]


def test_a_file_handle_that_commits_twice_amends_its_version(ring: Ring) -> None:
    with open(ring.current, "wb", buffering=0) as file:
        file.write(b"a" * 32)
        os.fsync(file)
        assert ring.contents() == [OLD, b"a" * 32]
        os.pwrite(file.fileno(), b"b" * 32, 0)
    assert ring.contents() == ring.shown() == [OLD, b"b" * 32]


def test_two_writers_at_once_make_two_versions(ring: Ring) -> None:
    with open(ring.current, "wb", buffering=0) as first, open(ring.current, "wb", buffering=0) as second:
        first.write(b"1" * 32)
        second.write(b"2" * 32)
        first.close()
    assert ring.contents() == ring.shown() == [OLD, b"1" * 32, b"2" * 32]


def test_a_version_amended_after_another_writer_came_in_between_loses_neither(ring: Ring) -> None:
    with open(ring.current, "wb", buffering=0) as file:
        file.write(b"a" * 32)
        os.fsync(file)
        ring.live.make(ring.label, b"between".ljust(32))
        os.pwrite(file.fileno(), b"b" * 32, 0)
    assert ring.contents() == ring.shown() == [OLD, b"a" * 32, b"between".ljust(32), b"b" * 32]


def test_a_reader_keeps_what_it_opened(ring: Ring) -> None:
    with open(ring.current, "rb", buffering=0) as reader:
        ring.live.make(ring.label, b"n" * 32)
        assert ring.current.read_bytes() == b"n" * 32
        assert os.pread(reader.fileno(), 16, 0) + os.pread(reader.fileno(), 99, 16) == OLD


CONTAINER_WRITERS = {
    "cp": 'cp "$NEW" current',
    "tee": 'tee current < "$NEW" > /dev/null',
    "dd": 'dd if="$NEW" of=current bs=9 conv=fsync status=none',
}


@pytest.mark.parametrize("script", CONTAINER_WRITERS.values(), ids=CONTAINER_WRITERS)
@pytest.mark.parametrize("newline", [b"", b"\n"], ids=["bare", "newline"])
def test_what_keyfs_read_prints_of_one_pair_becomes_the_next_version_of_another(
    pair: Ring, tmp_path: Path, script: str, newline: bytes
) -> None:
    (old,) = pair.contents()
    source = pair.label + "-source"
    pair.live.make(source)
    printed = run_keyfs("read", source, environment=pair.live.environment).stdout
    new = tmp_path / "new"
    new.write_bytes(printed + newline)
    ran = pair.shell(script, new)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert pair.contents() == pair.shown() == [old, printed]
    public = run_keyfs("read", source, "--public", environment=pair.live.environment).stdout
    assert (pair.directory / "current.pub").read_bytes() == public


def test_public_halves_follow_their_private_halves(pair: Ring) -> None:
    for _ in range(3):
        pair.current.write_bytes(generate_pair()[0].reveal())
    stamps = [name for name in os.listdir(pair.directory) if is_stamp(name)]
    assert len(stamps) == 3
    for name in [*stamps, "current"]:
        private = Secret((pair.directory / name).read_bytes())
        assert (pair.directory / f"{name}.pub").read_bytes() == public_from_private(private)
