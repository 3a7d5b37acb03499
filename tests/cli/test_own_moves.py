"""Own purposes when a key store is copied, or gets another master key: none stays behind."""

import shutil
from pathlib import Path

import pytest
from command_line import keyfs
from own_commands import EXISTS, OK, REFUSED, WWW, done, run, undeclared

from keyfs import app
from keyfs.core.names import Half
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.own import DECLARED
from keyfs.testing.redis_servers import RedisServer


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    return new_live_store(tmp_path, DECLARED)


@pytest.fixture
def redis_uri(server: RedisServer) -> str:
    server.ask("FLUSHALL")
    return server.unix_uri(".acrakeys")


def all_values(store: LiveStore, uri: str) -> dict[tuple[str, str], bytes]:
    """Every own key there is at *uri*, declared or not."""
    keys, _ = app.open_keys(app.Access(uri, f"file:{store.master_key}", undeclared=True))
    keys.load()
    found = {
        (str(ring.ref), version.id): keys.read(ring.ref, version.id, Half.SECRET)[0].material.reveal()
        for ring in keys.rings()
        for version in ring.versions
    }
    keys.close()
    return found


def filled(store: LiveStore) -> dict[tuple[str, str], bytes]:
    for label in ("storage-sym/alice1", WWW, "aes/a"):
        done(store, "generate", label)
        done(store, "rotate", label)
    done(store, "generate", "site", "--from-file", "-", stdin=b"site")
    found = all_values(store, f"dir:{store.root}")
    assert len(found) == 7
    return found


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_copy_brings_own_keys_along_and_back(
    store: LiveStore, redis_uri: str, tmp_path: Path, is_declared: bool
) -> None:
    before = filled(store)
    environment = store.environment if is_declared else undeclared(store)
    back = f"dir:{tmp_path / 'back'}"
    keyfs("init", "--store", back, environment={})
    for source, target in ((f"dir:{store.root}", redis_uri), (redis_uri, back)):
        ran = keyfs("copy", source, target, environment=environment)
        assert (ran.code, "7 blobs copied, 0 were there already" in ran.err) == (OK, True), ran.err
        assert "0 blobs copied, 7 were" in keyfs("copy", source, target, environment=environment).err
        assert all_values(store, target) == before
    assert (tmp_path / "back.keyfs" / "own").stat().st_mode & 0o777 == 0o700


def test_a_copy_goes_on_after_a_rotation_but_not_over_one(store: LiveStore, redis_uri: str) -> None:
    filled(store)
    source, there = f"dir:{store.root}", {"KEYFS_STORE": redis_uri}
    done(store, "copy", source, redis_uri)
    done(store, "rotate", WWW)
    done(store, "copy", source, redis_uri)
    assert done(store, "read", WWW, more=there) == done(store, "read", WWW)
    done(store, "rotate", "aes/a", more=there)
    kept = done(store, "read", "aes/a", more=there)
    ran = run(store, "copy", source, redis_uri)
    assert (ran.code, "not copied aes/a: aes/a at the destination was rotated" in ran.err) == (EXISTS, True)
    assert done(store, "read", "aes/a", more=there) == kept


def test_a_history_that_is_shorter_at_the_source_is_no_conflict(store: LiveStore, redis_uri: str) -> None:
    for number in range(4):
        stdin = b"password %d" % number
        done(store, "rotate" if number else "generate", "db/main", "--from-file", "-", stdin=stdin)
        done(store, "copy", f"dir:{store.root}", redis_uri)
    assert list(all_values(store, redis_uri).values()) == [b"password %d" % number for number in range(4)]


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("medium", ["directory", "redis"])
def test_rekey_seals_own_keys_anew(
    store: LiveStore, redis_uri: str, tmp_path: Path, medium: str, is_declared: bool
) -> None:
    """Also for whoever forgets to say which there are: the old master key may be thrown away afterwards."""
    before = filled(store)
    uri = f"dir:{store.root}" if medium == "directory" else redis_uri
    if medium == "redis":
        done(store, "copy", f"dir:{store.root}", redis_uri)
    new = tmp_path / "new.key"
    new.touch(0o600)
    new.write_text(new_master_key("v1"))
    environment = {**(store.environment if is_declared else undeclared(store)), "KEYFS_STORE": uri}
    words = ("rekey", "--from", f"file:{store.master_key}", "--to", f"file:{new}")
    assert "7 blobs would be sealed anew" in keyfs(*words, "--dry-run", environment=environment).err
    ran = keyfs(*words, environment=environment)
    assert (ran.code, "7 blobs sealed anew, 0 were already" in ran.err) == (OK, True), ran.err
    shutil.copyfile(new, store.master_key)
    assert all_values(store, uri) == before


def test_own_keys_keep_a_store_from_a_kms_that_has_no_key_for_them(store: LiveStore) -> None:
    filled(store)
    uri = "awskms-per-client:?region=eu-west-1&endpoint=http://127.0.0.1:1"
    somebody = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    ran = run(store, "rekey", "--from", f"file:{store.master_key}", "--to", uri, more=somebody)
    assert (ran.code, "has none for aes/a and 2 others" in ran.refusal()) == (REFUSED, True)
