"""`keyfs copy`: a whole key store to another place, as it is; never over other bytes."""

import base64
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from copied_stores import (
    Found,
    Label,
    Place,
    blobs_in,
    files_in,
    key_file,
    materials,
    new_directory,
    own_store,
)

from keyfs.core.stamps import parse_stamp
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import SharedStore, shared_store
from keyfs.testing.stores import restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
STORES = ("v1-dir", "v1-split", "v1-master48", "v1-legacy")
KEY_EXISTS, ID_TOO_LONG, UNSEALED, MASTER_KEY, ACCESS, INVALID = 5, 3, 9, 8, 10, 17


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """The server, empty."""
    server.ask("FLUSHALL")
    return server


@dataclass(frozen=True)
class Tour:
    """A key store by Acra that was copied to Redis and from there to a new directory."""

    real: Place
    back: Path
    copied: list["subprocess.CompletedProcess[bytes]"]
    checked: list[int]
    contents: list[dict[Label, Found]]  # of all three
    in_redis: dict[str, bytes]
    own_in_redis: list[bytes]


@pytest.fixture(scope="module", params=STORES)
def tour(
    request: pytest.FixtureRequest, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Tour:
    place = tmp_path_factory.mktemp("tour")
    server.ask("FLUSHALL")
    store = restore_real_store(VECTORS, request.param, place / "real")
    real = Place(store.uri, key_file(place, store.master_key), request.param == "v1-legacy")
    there, back = Place(server.unix_uri(), real.master_key, real.legacy), new_directory(real, place / "back")
    copied = [real.copy_to(there), there.copy_to(back)]
    checked = [target.check().returncode for target in (there, back)]
    contents = [one.contents() for one in (real, there, back)]
    own = server.ask("KEYS", "*.keyfs/*")
    return Tour(real, place / "back", copied, checked, contents, blobs_in(server, "ks"), own)


def test_there_and_back_every_version_is_the_same_and_in_the_same_order(tour: Tour) -> None:
    """History, split directories, awkward ids, global and legacy keys."""
    before, *after = tour.contents
    for contents in after:
        assert materials(contents) == materials(before)
    for done in tour.copied:
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == b"%d blobs copied, 0 were there already" % len(before)
    assert tour.checked == [0, 0]


def test_sealed_bytes_and_modes_are_those_of_the_source(tour: Tour) -> None:
    roots = [Path(part) for part in tour.real.uri.removeprefix("dir:").split("?public=")]
    source = {name: data for root in roots for name, data in files_in(root).items()}
    copied = files_in(tour.back)
    assert copied == tour.in_redis
    assert copied.items() <= source.items()
    assert len(copied) == len(tour.contents[0])
    for name in copied:
        wanted = 0o644 if ".pub" in name else 0o600
        assert stat.S_IMODE((tour.back / name).stat().st_mode) == wanted, name
    assert tour.own_in_redis == []


@pytest.mark.parametrize("name", STORES)
def test_times_are_kept_where_both_places_have_times(name: str, tmp_path: Path) -> None:
    store = restore_real_store(VECTORS, name, tmp_path / "real")
    real = Place(store.uri, key_file(tmp_path, store.master_key), name == "v1-legacy")
    back = new_directory(real, tmp_path / "back")
    assert real.copy_to(back).returncode == 0
    assert back.contents() == real.contents()


def test_out_of_redis_a_version_has_the_time_at_which_the_one_before_retired(
    redis: RedisServer, tmp_path: Path
) -> None:
    """And the oldest, of which nobody knows, the beginning of time, not that of the copy."""
    source = own_store(tmp_path, "storage-sym/alice", "storage/alice")
    there, back = Place(redis.unix_uri(), source.master_key), new_directory(source, tmp_path / "back")
    source.copy_to(there)
    there.copy_to(back)
    known, shown = there.contents(), back.contents()
    assert {label: found.created_ns or 0 for label, found in known.items()} == {
        label: found.created_ns for label, found in shown.items()
    }
    stamps = sorted({label[2] for label in shown if label[0] == "storage-sym"})
    times = [found.created_ns for label, found in shown.items() if label[0] == "storage-sym"]
    assert times == [0, *map(parse_stamp, stamps[:-1])]


def test_a_second_copy_copies_nothing(redis: RedisServer, tmp_path: Path) -> None:
    source = own_store(tmp_path, "storage/alice")
    target = Place(redis.unix_uri(), source.master_key)
    source.copy_to(target)
    before = redis.ask("INFO", "persistence")["rdb_changes_since_last_save"]
    done = source.copy_to(target)
    assert (done.stdout, done.stderr) == (b"", b"0 blobs copied, 6 were there already\n")
    assert redis.ask("INFO", "persistence")["rdb_changes_since_last_save"] == before


def test_what_was_rotated_since_the_last_copy_is_copied(redis: RedisServer, tmp_path: Path) -> None:
    """The bytes that are current at the destination lie in the history that is copied: nothing is lost."""
    source = own_store(tmp_path, "storage/alice", "hmac-sym/alice")
    target = Place(redis.unix_uri(), source.master_key)
    source.copy_to(target)
    SharedStore(source.uri, source.master_key).make("storage/alice", "storage/alice")
    assert source.copy_to(target).stderr == b"6 blobs copied, 7 were there already\n"
    assert materials(target.contents()) == materials(source.contents())


def test_other_bytes_are_never_overwritten_and_nothing_of_that_key_is_written(
    redis: RedisServer, tmp_path: Path
) -> None:
    source = own_store(tmp_path, "storage/alice", "storage/bobby", "storage-sym/clara")
    redis.ask("SET", "ks/bobby_storage.pub", base64.b64encode(b"other bytes"))
    done = source.copy_to(Place(redis.unix_uri(), source.master_key))
    assert done.returncode == KEY_EXISTS
    line, summary = done.stderr.decode().splitlines()
    assert line.startswith("not copied storage/bobby: bobby_storage.pub at the destination has other bytes")
    assert summary == "9 blobs copied, 0 were there already"
    assert [key for key in redis.ask("KEYS", "*") if b"bobby" in key] == [b"ks/bobby_storage.pub"]
    assert base64.b64decode(redis.ask("GET", "ks/bobby_storage.pub")) == b"other bytes"


@pytest.mark.parametrize("version", ["current", "retired"])
def test_a_damaged_blob_is_named_and_neither_it_nor_its_key_is_copied(
    redis: RedisServer, tmp_path: Path, version: str
) -> None:
    source = own_store(tmp_path, "storage/alice", "storage-sym/bobby", "storage-sym/clara")
    root = Path(source.uri.removeprefix("dir:"))
    path = root / "bobby_storage_sym"
    if version == "retired":
        path = min((root / "bobby_storage_sym.old").iterdir())
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = source.copy_to(Place(redis.unix_uri(), source.master_key))
    assert done.returncode == UNSEALED
    line, _ = done.stderr.decode().splitlines()
    assert line.startswith("not copied storage-sym/bobby: bobby_storage_sym")
    names = blobs_in(redis, "ks")
    assert len(names) == 9
    assert not [name for name in names if "bobby" in name]


def test_an_id_that_is_too_long_for_files_stays_where_it_is(redis: RedisServer, tmp_path: Path) -> None:
    store = shared_store(tmp_path, redis.unix_uri())
    long, short = "storage/" + "M" * 256, "storage/" + "S" * 233
    store.make(long, short)
    source = Place(store.uri, store.master_key)
    back = new_directory(source, tmp_path / "back")
    done = source.copy_to(back)
    assert done.returncode == ID_TOO_LONG
    assert done.stderr.decode().startswith(f"not copied {long}: client id of 256 bytes is too long")
    assert set(files_in(tmp_path / "back")) == {
        f"{short.removeprefix('storage/')}_storage{end}" for end in ("", ".pub")
    }


def test_what_is_no_key_is_named_and_left_out(redis: RedisServer, tmp_path: Path) -> None:
    source = own_store(tmp_path, "hmac-sym/alice")
    root = Path(source.uri.removeprefix("dir:"))
    for name in ("README.md", "alice_hmac123456"):
        (root / name).write_bytes(b"no key")
    done = source.copy_to(Place(redis.unix_uri(), source.master_key))
    assert done.returncode == 0
    first, second, _ = done.stderr.decode().splitlines()
    assert first.startswith("left out README.md: ")
    assert second.startswith("left out alice_hmac123456: left-over")
    assert len(blobs_in(redis, "ks")) == 3


def test_a_wrong_master_key_copies_nothing(redis: RedisServer, tmp_path: Path) -> None:
    source = own_store(tmp_path, "hmac-sym/alice")
    source.master_key.write_bytes(base64.b64encode(b"another master key, 32 bytes...."))
    done = source.copy_to(Place(redis.unix_uri(), source.master_key))
    assert done.returncode == MASTER_KEY
    assert redis.ask("KEYS", "*") == []


def test_keys_of_another_master_key_are_not_mixed_in(redis: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    source, other = (
        own_store(tmp_path / "a", "hmac-sym/alice"),
        shared_store(tmp_path / "b", redis.unix_uri()),
    )
    other.make("hmac-sym/bobby")
    done = source.copy_to(Place(redis.unix_uri(), source.master_key))
    assert done.returncode == MASTER_KEY
    assert len(blobs_in(redis, "ks")) == 1


def test_a_directory_has_to_be_made_first(tmp_path: Path) -> None:
    source = own_store(tmp_path, "hmac-sym/alice")
    done = source.copy_to(Place(f"dir:{tmp_path / 'nowhere'}", source.master_key))
    assert done.returncode == INVALID
    (line,) = done.stderr.decode().splitlines()
    assert f"keyfs init --store {tmp_path / 'nowhere'}" in line
    assert not (tmp_path / "nowhere").exists()


def test_no_password_is_repeated(redis: RedisServer, tmp_path: Path) -> None:
    source = own_store(tmp_path, "hmac-sym/alice")
    redis.ask("ACL", "SETUSER", "copier", "on", ">tell-nobody", "~*", "&*", "+@all")
    target = Place(redis.uri(user="copier:tell-nobody"), source.master_key)
    (Path(source.uri.removeprefix("dir:")) / "README.md").touch()
    done = source.copy_to(target)
    assert done.returncode == 0, done.stderr
    wrong = source.copy_to(Place(redis.uri(user="copier:tell-everybody"), source.master_key))
    assert wrong.returncode == ACCESS
    assert b"tell-" not in done.stderr + done.stdout + wrong.stderr + wrong.stdout
