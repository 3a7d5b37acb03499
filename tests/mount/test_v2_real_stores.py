"""Key stores of layout v2 that Acra made, in directories and in Redis, through a real mount."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from acra_expectations import MODERN, View, view_of
from rings_expected import REAL, REDIS, SMALL, VECTORS, Rings, dump_of, of_files, of_manifest

from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.stores import restore_real_store, restore_small_store

WITH_STRAYS = "small-states2"


@dataclass(frozen=True)
class Seen:
    """A store, what Acra reads there, what a mount shows, and what was there before and after."""

    name: str
    environment: dict[str, str]
    expected: Rings
    view: View
    status: dict[str, Any]
    before: dict[str, bytes]
    after: dict[str, bytes]


def directory(name: str, place: Path) -> tuple[Path, dict[str, str], Rings]:
    if name in REAL:
        real = restore_real_store(VECTORS, name, place)
        return real.root, real.environment, of_manifest(real.manifest)
    small = restore_small_store(VECTORS, name.removeprefix("small-"), place)
    return small.root, small.environment, of_files(small.manifest["files"])


def files_in(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def values_in(server: RedisServer) -> dict[str, bytes]:
    return {key.decode(): server.admin.get(key) or b"" for key in server.admin.keys("*")}


def seen(place: Path, environment: dict[str, str]) -> tuple[View, dict[str, Any]]:
    with mounted(place / "mount", environment=environment) as mountpoint:
        view = view_of(mountpoint)
        return view, json.loads((mountpoint / ".keyfs" / "status.json").read_bytes())


@pytest.fixture(scope="module", params=[*REAL, *(f"small-{name}" for name in SMALL), *REDIS])
def store(
    request: pytest.FixtureRequest,
    server: RedisServer,
    fuse_required: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Seen:
    name, place = request.param, tmp_path_factory.mktemp("v2")
    if name in REDIS:
        master_key, values, expected = dump_of(name)
        server.admin.flushall()
        server.admin.mset(values)
        environment = {"KEYFS_STORE": server.unix_uri(".acrakeys"), "ACRA_MASTER_KEY": master_key}
        before = values_in(server)
        return Seen(name, environment, expected, *seen(place, environment), before, values_in(server))
    root, environment, expected = directory(name, place)
    before = files_in(root)
    return Seen(name, environment, expected, *seen(place, environment), before, files_in(root))


def shown(store: Seen) -> dict[str, Any]:
    return {path: one for path, one in store.view.files.items() if not path.endswith("/rotate")}


def test_every_version_reads_byte_for_byte_by_its_number_and_as_current(store: Seen) -> None:
    assert {path: one.content for path, one in shown(store).items()} == {
        path: content for path, (content, _, _) in store.expected.files().items()
    }


def test_sizes_and_times_are_told_before_anything_is_opened(store: Seen) -> None:
    facts = {path: [one.stat.st_size, one.stat.st_mtime_ns] for path, one in shown(store).items()}
    assert facts == {path: facts for path, (_, *facts) in store.expected.files().items()}


def test_only_current_can_be_written(store: Seen) -> None:
    for path, one in shown(store).items():
        wanted = 0o444 if path.endswith(".pub") else 0o600 if path.endswith("/current") else 0o400
        assert stat.S_IMODE(one.stat.st_mode) == wanted, path


def test_the_directories_are_the_purposes_and_their_clients_also_of_empty_rings(store: Seen) -> None:
    assert set(store.view.directories) == {".", *MODERN, *store.expected.directories()}


def test_what_does_not_verify_is_told(store: Seen) -> None:
    assert store.status["strays"] == len(store.expected.refused)
    assert store.status["layout"] == "v2"
    done = run_keyfs("check", environment=store.environment)
    said = (done.stdout + done.stderr).decode()
    empty = {path for path, (_, versions) in store.expected.rings.items() if not versions}
    told = {*store.expected.refused, *empty}
    assert all(f"{path}.keyring" in said for path in told)
    assert (done.returncode == 0) == (not told), said


def test_list_agrees(store: Seen) -> None:
    done = run_keyfs("list", "--json", "--versions", environment=store.environment)
    assert done.returncode == 0
    assert done.stderr.decode().count("left out") == len(store.expected.refused)
    columns = ("purpose", "client", "version", "current", "public", "size")
    rows = [tuple(row[column] for column in columns) for row in json.loads(done.stdout)]
    assert set(rows) == store.expected.listed()
    assert len(rows) == len(set(rows))


def test_looking_changes_nothing(store: Seen) -> None:
    assert store.after == store.before


def test_a_ring_that_does_not_verify_is_a_typed_error(store: Seen) -> None:
    for path in store.expected.refused:
        *_, client, purpose = ("", *path.split("/")) if "/" in path else ("", "@global", path)
        done = run_keyfs("read", f"{purpose}/{client}", environment=store.environment)
        assert (done.returncode, done.stdout) == (9, b"")
        assert f"{path}.keyring: ".encode() in done.stderr
