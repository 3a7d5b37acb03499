"""Key stores that real Acra tools made in Redis, loaded into a real server and mounted: every key."""

import base64
import json
import os
import stat
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from acra_expectations import (
    MODERN,
    Expected,
    View,
    expected_of_redis,
    expected_of_small_redis,
    listed_by_acra,
    view_of,
)

from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.stores import Manifest

VECTORS = Path(__file__).parents[1] / "vectors"
FOREIGN = {
    b"unrelated:key": b"1",
    b".acrakeys": b"the name of the directory itself",
    b".acrakeysX/alice_hmac": b"bm90IHRoaXMgc3RvcmU=",
    b"xacrakeys/alice_hmac": b"bm90IHRoaXMgc3RvcmU=",
    b"other/.acrakeys/alice_hmac": b"bm90IHRoaXMgc3RvcmU=",
}


@dataclass(frozen=True)
class Loaded:
    """A dump that was loaded and mounted, and what the server held before and afterwards."""

    manifest: Manifest
    environment: dict[str, str]
    expected: dict[str, Expected]
    view: View
    found: list[str]  # by find(1)
    before: dict[bytes, tuple[bytes | None, int]]
    after: dict[bytes, tuple[bytes | None, int]]


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def contents_of(server: RedisServer) -> dict[bytes, tuple[bytes | None, int]]:
    """Everything in the database: value and time to live by key."""
    redis = server.admin
    return {key: (redis.get(key), redis.pttl(key)) for key in redis.keys("*")}


def dump_of(name: str) -> tuple[Manifest, str, dict[bytes, bytes], list[Expected], list[dict[str, Any]]]:
    """What a vector file says: manifest, master key, keys, what a mount has to show, what Acra lists."""
    dump = json.loads((VECTORS / name).read_bytes())
    if name == "v1-redis.json":
        manifest = dump["manifest"]
        keys = {base64.b64decode(k["key_base64"]): base64.b64decode(k["value_base64"]) for k in dump["keys"]}
        master_key = manifest["master_key_env"]["ACRA_MASTER_KEY"]
        return manifest, master_key, keys, expected_of_redis(manifest), manifest["acra_list_json_rotated"]
    master_key = base64.b64encode(bytes.fromhex(dump["master_key_hex"])).decode()
    keys = {entry["key"].encode(): entry["value"].encode() for entry in dump["entries"]}
    return dump, master_key, keys, expected_of_small_redis(dump), dump["acra_keys_list_json"]


@pytest.fixture(scope="module", params=["v1-redis.json", "small-redis.json"])
def loaded(
    request: pytest.FixtureRequest,
    server: RedisServer,
    fuse_required: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Loaded:
    place = tmp_path_factory.mktemp("loaded")
    manifest, master_key, keys, expected, listed = dump_of(request.param)
    server.admin.flushall()
    server.admin.mset(FOREIGN | keys)
    environment = {"KEYFS_STORE": server.unix_uri(".acrakeys"), "ACRA_MASTER_KEY": master_key}
    before = contents_of(server)
    with mounted(place / "mount", environment=environment) as mountpoint:
        found = run("find", mountpoint, "-type", "f", "-not", "-path", "*/.keyfs/*", "-printf", "%P\\n")
        view = view_of(mountpoint)
        status = json.loads((mountpoint / ".keyfs" / "status.json").read_bytes())
        assert (status["state"], status["strays"]) == ("fresh", 0)
    manifest = manifest | {"listed": listed}
    by_path = {one.path: one for one in expected}
    return Loaded(manifest, environment, by_path, view, found.splitlines(), before, contents_of(server))


def shown(loaded: Loaded) -> dict[str, Any]:
    return {path: one for path, one in loaded.view.files.items() if not path.endswith("/rotate")}


def test_every_version_and_half_reads_byte_for_byte(loaded: Loaded) -> None:
    assert {path: one.content for path, one in shown(loaded).items()} == {
        path: one.content for path, one in loaded.expected.items()
    }


def test_sizes_are_told_before_anything_is_opened(loaded: Loaded) -> None:
    for path, one in shown(loaded).items():
        assert one.fstat is not None
        assert one.stat.st_size == one.fstat.st_size == len(loaded.expected[path].content), path


def test_a_version_became_current_when_the_one_before_retired(loaded: Loaded) -> None:
    times = {path: one.stat.st_mtime_ns for path, one in shown(loaded).items()}
    assert times == {path: one.written_ns or 0 for path, one in loaded.expected.items()}


def test_modes_are_those_of_any_key_store(loaded: Loaded) -> None:
    for path, one in shown(loaded).items():
        wanted = 0o444 if path.endswith(".pub") else 0o600 if path.endswith("/current") else 0o400
        assert stat.S_IMODE(one.stat.st_mode) == wanted, path
        assert one.stat.st_uid == os.getuid()


def test_nothing_of_others_is_shown(loaded: Loaded) -> None:
    clients = {path.rpartition("/")[0] for path in loaded.expected}
    assert set(loaded.view.directories) == {".", *MODERN, *clients}


def test_find_sees_what_there_is_even_the_longest_client_id(loaded: Loaded) -> None:
    """256 characters, one more than the names of most file systems have."""
    assert sorted(loaded.found) == sorted(loaded.view.files)


def test_looking_changes_nothing_in_redis(loaded: Loaded) -> None:
    assert loaded.after == loaded.before
    assert {ttl for _, ttl in loaded.after.values()} == {-1}
    assert {key: loaded.after[key][0] for key in FOREIGN} == FOREIGN


def list_rows(loaded: Loaded) -> list[dict[str, Any]]:
    done = run_keyfs("list", "--json", "--versions", environment=loaded.environment)
    assert (done.returncode, done.stderr) == (0, b"")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_list_agrees(loaded: Loaded) -> None:
    columns = ("purpose", "client", "version", "current", "public", "size", "created")
    rows = [tuple(row[column] for column in columns) for row in list_rows(loaded)]
    wanted = [
        (
            one.purpose,
            one.client,
            one.version,
            one.version == "current",
            one.public,
            len(one.content),
            one.created if one.written_ns is not None else None,
        )
        for one in loaded.expected.values()
    ]
    assert sorted(rows, key=str) == sorted(wanted, key=str)


def test_list_agrees_with_what_acra_lists(loaded: Loaded) -> None:
    rows = Counter((r["purpose"], r["client"], r["public"], r["current"]) for r in list_rows(loaded))
    assert rows == listed_by_acra(loaded.manifest["listed"])


def test_check_opens_every_blob_and_finds_nothing_wrong(loaded: Loaded) -> None:
    done = run_keyfs("check", environment=loaded.environment)
    assert done.returncode == 0, done.stdout
    assert done.stderr.endswith(b"clean\n")


def test_read_agrees(loaded: Loaded) -> None:
    """For clients of which one has an awkward name, and for what has no client."""
    clients = {"@global", "alice", "alice1", "with space 7"}
    paths = [path for path in loaded.expected if path.split("/")[1] in clients]

    def read(path: str) -> tuple[str, bytes]:
        return path, run_keyfs("read", path, environment=loaded.environment).stdout

    with ThreadPoolExecutor(2) as pool:
        answers = dict(pool.map(read, paths[:24]))
    assert answers == {path: loaded.expected[path].content for path in paths[:24]}
