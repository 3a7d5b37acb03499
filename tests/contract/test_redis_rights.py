"""What README says a user of Redis has to be allowed is enough for everything, in both layouts, and used."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from keyfs import app
from keyfs.broker.archive import archive, archived, purge, restore
from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half
from keyfs.core.states import KeyState
from keyfs.errors import AccessDenied, ReadOnly
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.builders import STORAGE, STORAGE_SYM
from keyfs.testing.redis_servers import RedisServer, redis_server

README = Path(__file__).parents[2] / "README.md"
LAYOUTS = pytest.mark.parametrize("layout", ["v1", "v2"])
ARCHIVES = {"v1"}  # where retired versions are blobs


def rights(about: str) -> str:
    """What stands in README's table."""
    found = re.search(rf"^\| {re.escape(about)} \| `([^`]+)` \|$", README.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


READING = rights("reading, watching, `check`")
WRITING = rights("writing, `check --repair`, `rekey`, besides")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    keys = "~v1/* ~v1.keyfs/* ~v2/* ~v2.keyfs/*"
    acl = [f"user reads on >secret {keys} {READING}", f"user writes on >secret {keys} {READING} {WRITING}"]
    with redis_server(acl=acl) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("v1", "v1-new", "v2", "v2-new"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(new_master_key(name[:2]))
    return tmp_path


@contextmanager
def opened(
    server: RedisServer, user: str, layout: str, place: Path, *keys: str
) -> Iterator[tuple[KeyStore, RingWriter]]:
    uris = ",".join(f"file:{place / key}" for key in keys or (layout,))
    store, writer = app.open_keys(app.Access(server.uri(layout, user=f"{user}:secret"), uris))
    with closing(store):
        store.load()
        yield store, writer


def everything(server: RedisServer, layout: str, place: Path) -> None:
    """All that writes, and all that reads besides."""
    app.init_store(server.uri(layout, user="writes:secret"), layout)
    with opened(server, "writes", layout, place) as (keys, writer):
        for ref in (STORAGE, STORAGE_SYM):
            writer.generate(ref)
            writer.rotate(ref)
            writer.rotate(ref)
        StateWriter(keys).set(STORAGE, CURRENT, KeyState.SUSPENDED)
        StateWriter(keys).destroy(STORAGE, keys.ring(STORAGE).versions[0].id, is_forced=True)
        if layout in ARCHIVES:
            archive(keys, STORAGE_SYM, lambda ring: ring.versions)
            first, second = archived(keys)
            restore(keys, first)
            purge(keys, [second])
        leave_damage(server, layout)
        keys.load()
        report = check(keys, writer, settle_s=0)
        assert report.is_clean
        assert {finding.code for finding in report.findings} == {"left-over", "lock"}
        with keys.store.lock():  # which somebody else has, when we let go of ours
            server.ask("SET", f"{layout}.keyfs/lock", "another")
        assert server.ask("DEL", f"{layout}.keyfs/lock") == 1
    with opened(server, "writes", layout, place, f"{layout}-new", layout) as (keys, _):
        done = RekeyReport()
        assert keys.protection is not None
        rekey(keys, keys.protection.members[0], done)
        assert not done.failed


def leave_damage(server: RedisServer, layout: str) -> None:
    for lock in (f"{layout}.keyfs/lock", f"{layout}/.lock"):
        if layout == "v2" or lock.startswith("v1.keyfs"):
            server.ask("SET", lock, "locked")
    left = "alice_storage4711" if layout == "v1" else "client/alice/storage.keyring.new"
    server.ask("SET", f"{layout}/{left}", "eA==")


@LAYOUTS
def test_with_these_rights_everything_can_be_done(server: RedisServer, layout: str, place: Path) -> None:
    server.ask("FLUSHALL")
    everything(server, layout, place)
    with opened(server, "writes", layout, place, f"{layout}-new") as (keys, _):
        assert check(keys).is_clean


@LAYOUTS
def test_without_those_for_writing_all_can_be_read_and_nothing_written(
    server: RedisServer, layout: str, place: Path
) -> None:
    server.ask("FLUSHALL")
    everything(server, layout, place)
    with (
        opened(server, "reads", layout, place, f"{layout}-new") as (keys, writer),
        closing(keys.store.watch()),
    ):
        assert check(keys).is_clean
        channel = keys.store.channel()
        assert (channel is None) is (layout == "v2")
        if channel is not None:
            channel.close()
        assert keys.read(STORAGE_SYM, CURRENT, Half.SECRET)[0].material.reveal()
        before = server.ask("KEYS", "*")
        for write in (
            lambda: writer.rotate(STORAGE),
            lambda: StateWriter(keys).set(STORAGE_SYM, CURRENT, KeyState.SUSPENDED),
            lambda: writer.destroy(STORAGE, keys.ring(STORAGE).versions[0].id, is_forced=True),
        ):
            with pytest.raises((AccessDenied, ReadOnly)):
                write()
        assert sorted(server.ask("KEYS", "*")) == sorted(before)


def test_each_of_these_rights_is_used(server: RedisServer, place: Path) -> None:
    server.ask("FLUSHALL")
    server.ask("CONFIG", "RESETSTAT")
    for layout in ("v1", "v2"):
        everything(server, layout, place)
    used = {name.removeprefix("cmdstat_") for name in server.admin.info("commandstats")}
    named = {
        right.removeprefix("+") for right in f"{READING} {WRITING}".split() if not right.startswith("+@")
    }
    assert named <= used
