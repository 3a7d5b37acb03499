"""What keyfs makes in Redis is what Acra makes there: names, values, history, and nothing else."""

import base64
import json
import re
import threading
from pathlib import Path

import pytest
from command_line import run_here
from independent_reader import Contents, StoreRefused, read_redis
from own_store import ALL_KEYS

from keyfs.core.names import Half, parse_key_ref
from keyfs.store.redis_client import Client
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import SharedStore, mount_of, shared_store

TRACES = json.loads((Path(__file__).parents[1] / "vectors" / "traces.json").read_bytes())["redis_v1"]
PREFIX = ".acrakeys"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?")
LONGEST = "storage/" + "M" * 256
WRITES = {"SET", "SETNX", "MSET", "DEL", "UNLINK", "RENAME", "EXPIRE", "PEXPIRE", "GETSET", "GETDEL"}


@pytest.fixture
def client(server: RedisServer) -> Client:
    server.admin.flushall()
    return server.admin


@pytest.fixture
def store(tmp_path: Path, server: RedisServer, client: Client) -> SharedStore:
    """A new, empty key store."""
    return shared_store(tmp_path, server.unix_uri(PREFIX))


def dump_of(client: Client) -> dict[str, str]:
    """Every key of the database; each is a plain string that lives for ever."""
    dump = {}
    for key in client.keys("*"):
        assert client.type(key) == b"string", key
        assert client.pttl(key) == -1, key
        dump[key.decode()] = client.get(key).decode()
    return dump


def contents_of(client: Client, store: SharedStore) -> Contents:
    return read_redis(dump_of(client), PREFIX, base64.b64decode(store.master_key.read_bytes()))


def labels_of(store: SharedStore) -> dict[tuple[str, str | None, str, str], bytes]:
    """What keyfs reads, by purpose, client, half and label."""
    found = {}
    with store.opened() as (keys, _):
        for ring in keys.rings():
            for version in ring.versions:
                for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public)):
                    if part is not None:
                        material = keys.read(ring.ref, version.id, half)[0].material.reveal()
                        found[ring.ref.purpose.name, ring.ref.client, half.value, version.id] = material
    return found


def form_of(dump: dict[str, str]) -> list[tuple[str, int]]:
    """Names with stamps left open, and how long the bytes are: what two stores of one history share."""
    return sorted((STAMP.sub("STAMP", name), len(base64.b64decode(value))) for name, value in dump.items())


def test_every_kind_of_key_is_read_by_the_independent_reader(client: Client, store: SharedStore) -> None:
    keys = (*ALL_KEYS, "storage/with space 7", "hmac-sym/-----", LONGEST)
    for _ in range(4):
        store.make(*keys)
    contents = contents_of(client, store)
    assert not contents.ignored
    assert contents.by_label() == labels_of(store)
    pairs = len([key for key in keys if key.startswith(("storage/", "poison-record/"))]) + 1
    assert len(contents.keys) == 4 * (len(keys) + pairs)


def test_what_is_written_through_a_mount_is_read_by_the_independent_reader(
    client: Client, store: SharedStore, tmp_path: Path, fuse_required: None
) -> None:
    store.make("storage-sym/alice", "storage/alice")
    with mount_of(store, tmp_path / "a") as mount:
        (mount.path / "storage-sym/alice/current").write_bytes(b"k" * 32)
        (mount.path / "storage/alice/rotate").write_bytes(b"1")
        shown = {
            (path.parts[-3], path.parts[-2], "public" if path.suffix == ".pub" else "private", label): data
            for path in mount.path.glob("[a-z]*/*/*")
            if (label := path.name.removesuffix(".pub")) != "rotate"
            for data in [path.read_bytes()]
        }
    assert contents_of(client, store).by_label() == shown
    assert len(shown) == 2 + 2 * 2


def replay(client: Client, step: int) -> None:
    """Send what Acra sent for one step."""
    for command in TRACES[step]["commands"]:
        if command[0] != "select":
            client.execute_command(*command)


def states_by_acra(client: Client) -> list[dict[str, str]]:
    """The database after each of the steps, sent by Acra."""
    states = []
    for step in range(len(TRACES)):
        replay(client, step)
        states.append(dump_of(client))
    client.flushall()
    return states


def test_the_same_steps_leave_the_same_keys_as_acra_leaves(client: Client, store: SharedStore) -> None:
    generated, rotated, not_destroyed, destroyed, listed = states_by_acra(client)
    assert (form_of(not_destroyed), form_of(listed)) == (form_of(rotated), form_of(destroyed))
    store.keyfs("generate", "hmac-sym/alice")
    assert form_of(dump_of(client)) == form_of(generated)
    (first,) = dump_of(client).values()
    store.keyfs("rotate", "hmac-sym/alice")
    assert form_of(dump_of(client)) == form_of(rotated)
    (retired,) = [value for name, value in dump_of(client).items() if ".old/" in name]
    assert retired == first
    # Acra destroys a current version, keyfs never: that step is Acra's own.
    refused = run_here("destroy", "hmac-sym/alice/current", environment=store.environment)
    assert refused.returncode == 12
    replay(client, 3)
    assert form_of(dump_of(client)) == form_of(destroyed)
    with store.opened() as (keys, _):
        (version,) = keys.ring(parse_key_ref("hmac-sym/alice")).versions
    assert STAMP.fullmatch(version.id)


def test_a_version_that_keyfs_destroys_is_gone_as_a_file_would_be(client: Client, store: SharedStore) -> None:
    for _ in range(3):
        store.make("storage/alice")
    oldest = next(iter(store.versions("storage/alice")))
    store.keyfs("destroy", "--yes", f"storage/alice/{oldest}")
    left = contents_of(client, store)
    assert len(left.keys) == 4
    assert oldest not in {key.stamp for key in left.keys}


def test_keyfs_goes_on_where_acra_stopped(client: Client, store: SharedStore) -> None:
    """Two versions by Acra's own commands, two more by keyfs: one history in order."""
    replay(client, 0)
    replay(client, 1)
    by_acra = dump_of(client)
    with store.opened() as (_, writer):
        for _ in range(2):
            writer.rotate(parse_key_ref("hmac-sym/alice"))
    after = dump_of(client)
    stamps = sorted(name.rpartition("/")[2] for name in after if ".old/" in name)
    assert stamps[0] == "2026-11-24T02:47:05.559476113"
    assert after[f"{PREFIX}/alice_hmac.old/{stamps[0]}"] == by_acra[f"{PREFIX}/alice_hmac.old/{stamps[0]}"]
    assert after[f"{PREFIX}/alice_hmac.old/{stamps[1]}"] == by_acra[f"{PREFIX}/alice_hmac"]
    assert len(stamps) == 3


def test_keyfs_writes_only_keys_of_the_store_and_its_own_lock(
    server: RedisServer, client: Client, store: SharedStore
) -> None:
    """Seen on the wire, from the first generation to a destruction."""
    written: set[str] = set()
    watching, done = threading.Event(), threading.Event()

    def watch() -> None:
        with server.admin.monitor() as monitor:
            watching.set()
            for seen in monitor.listen():
                verb, *words = seen["command"].split(" ")
                if (verb, words) == ("ECHO", ["over"]):
                    done.set()
                    return
                if verb in WRITES:
                    written.add(words[0])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert watching.wait(10)
    for _ in range(3):
        store.make("storage/alice", "audit-log")
    oldest = next(iter(store.versions("storage/alice")))
    store.keyfs("destroy", "--yes", f"storage/alice/{oldest}")
    store.keyfs("list")
    store.keyfs("check")
    client.echo("over")
    watcher.join(10)
    assert done.is_set()
    lock = f"{PREFIX}.keyfs/lock"
    states = f"{PREFIX}.keyfs/key-states.json"  # says that the version was destroyed
    assert {lock, states} <= written
    names = {STAMP.sub("STAMP", name) for name in written - {lock, states}}
    private, public, log = (
        f"{PREFIX}/alice_storage",
        f"{PREFIX}/alice_storage.pub",
        f"{PREFIX}/secure_log_key",
    )
    assert names == {f"{name}{end}" for name in (private, public, log) for end in ("", ".old/STAMP")}


def test_the_lock_is_there_only_while_it_is_held_and_ends_by_itself(
    client: Client, store: SharedStore
) -> None:
    store.make("storage-sym/alice")
    lock = f"{PREFIX}.keyfs/lock".encode()
    others = set(client.keys("*"))
    with store.opened() as (keys, _):
        with keys.store.lock():
            assert set(client.keys("*")) == others | {lock}
            assert 0 < client.pttl(lock) <= 15_000
        assert set(client.keys("*")) == others


@pytest.mark.parametrize("is_filled", [True, False])
def test_what_an_interrupted_tool_of_acra_left_is_named_and_moved_out_of_the_store(
    client: Client, store: SharedStore, is_filled: bool
) -> None:
    """Acra's lister stops at it; after the repair the store is whole again, and no byte is lost."""
    store.make("hmac-sym/alice")
    blob = client.get(f"{PREFIX}/alice_hmac") if is_filled else b""
    client.set(f"{PREFIX}/alice_hmac59889364897882252", blob)
    with pytest.raises(StoreRefused):
        contents_of(client, store)
    done = run_here("check", environment=store.environment)
    assert (done.returncode, b"left-over" in done.stdout) == (1, True)
    store.keyfs("check", "--repair")
    assert len(contents_of(client, store).keys) == 1
    (aside,) = [key for key in client.keys("*") if not key.startswith(f"{PREFIX}/".encode())]
    assert aside.startswith(f"{PREFIX}.keyfs/set-aside/".encode())
    assert client.get(aside) == blob
