"""The master key moves to a KMS, and from one way of sealing to the other and back: no version is lost."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from aws_sites import LABELS, AwsSite

from keyfs import app
from keyfs.core.names import Half
from keyfs.master.generate import generate
from keyfs.testing.kms_proxy import KMSProxy, Refusal
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.mounted import mounted
from keyfs.testing.reading import reading_loop
from keyfs.testing.redis_servers import RedisServer, redis_server

pytest_plugins = ["aws_fixtures"]
REFUSED, WRONG_KEY, AWAY = 12, 8, 21
Contents = dict[tuple[str, str], bytes]


def contents(store: str, master_key: str) -> Contents:
    """Every private part of every version."""
    keys, _ = app.open_keys(app.Access(store, master_key))
    with closing(keys):
        keys.load()
        return {
            (str(ring.ref), version.id): keys.read(ring.ref, version.id, Half.SECRET)[0].material.reveal()
            for ring in keys.rings()
            for version in ring.versions
        }


@dataclass(frozen=True)
class Move:
    """A key store under a master key in a file, and the same keys behind a KMS."""

    site: AwsSite
    store: str
    key: str  # in a file
    kms: KMSProxy

    def rekey(self, old: str, new: str, *words: str, code: int = 0) -> dict[str, object]:
        out = self.site.keyfs(
            "rekey", "--store", self.store, "--from", old, "--to", new, "--json", *words, code=code
        )
        report = json.loads(out)
        assert isinstance(report, dict)
        return report


def key_file(folder: Path, name: str) -> str:
    path = folder / name
    path.touch(0o600)
    path.write_text(generate("v1"))
    return f"file:{path}"


@pytest.fixture
def move(proxy: KMSProxy, tmp_path: Path) -> Move:
    key = key_file(tmp_path, "key")
    site = AwsSite(tmp_path, key)
    site.fill()
    return Move(site, f"dir:{site.root}", key, proxy)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def test_a_master_key_moves_to_one_that_a_kms_wraps(
    move: Move, moto: KMSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(move.store, move.key)
    new = move.kms.uri("alias/new")
    wrapped = move.site.keyfs("master-key", "generate", "--wrap", new, "--create").decode().strip()
    moved = Move(
        AwsSite(move.site.place, move.key, {"ACRA_MASTER_KEY": wrapped}), move.store, move.key, move.kms
    )
    assert moved.rekey(move.key, new)["rewrapped"] == 2 * len(LABELS)
    monkeypatch.setenv("ACRA_MASTER_KEY", wrapped)
    assert contents(move.store, new) == before
    opened = moto.client().decrypt(KeyId="alias/new", CiphertextBlob=base64.b64decode(wrapped))
    assert len(opened["Plaintext"]) == 32  # the raw key, as Acra wraps it
    assert move.site.refusal("check", code=WRONG_KEY)


@pytest.mark.parametrize("medium", ["directory", "Redis"])
def test_one_master_key_becomes_a_key_for_each_client_and_one_again(
    move: Move, redis: RedisServer, medium: str
) -> None:
    if medium == "Redis":
        uri = redis.unix_uri()
        move.site.keyfs("copy", move.store, uri)
        move = Move(move.site, uri, move.key, move.kms)
    before, listing = (
        contents(move.store, move.key),
        move.site.keyfs("list", "--store", move.store, "--versions"),
    )
    kms = move.kms.per_client(create="yes")
    assert move.rekey(move.key, kms)["rewrapped"] == 2 * len(LABELS)
    assert contents(move.store, move.kms.per_client()) == before
    assert move.site.keyfs("list", "--store", move.store, "--versions") == listing
    other = key_file(move.site.place, "other")
    assert move.rekey(kms, other)["rewrapped"] == 2 * len(LABELS)
    assert contents(move.store, other) == before
    assert move.site.keyfs("list", "--store", move.store, "--versions") == listing


@pytest.mark.usefixtures("fuse_required")
def test_readers_notice_nothing_of_a_move(move: Move) -> None:
    kms = move.kms.per_client(create="yes")
    site = AwsSite(move.site.place, f"{kms},{move.key}")
    with mounted(site.place / "mount", environment=site.environment) as mount:
        files = [path for path in mount.glob("*/*/*") if path.name != "rotate" and path.suffix != ".pub"]
        with reading_loop({path: {path.read_bytes()} for path in files}) as readings:
            move.rekey(move.key, kms)
            move.rekey(kms, move.key)
        assert not readings.errors
        assert readings.wrong == 0
        assert readings.reads > len(files)
        (mount / "storage-sym/alice/rotate").write_bytes(b"\n")
        assert move.rekey(kms, move.key)["rewrapped"] == 1


def test_a_missing_key_of_one_client_leaves_that_client_as_it_was(move: Move, moto: KMSServer) -> None:
    for name in ("alice", "audit_log", "poison"):
        moto.make(f"alias/acra_{name}")
    before = contents(move.store, move.key)
    report = move.rekey(move.key, move.kms.per_client(), code=7)
    failed = report["failed"]
    assert isinstance(failed, dict)
    assert {name.partition("_")[0] for name in failed} == {"bob-1"}
    assert all("alias/acra_bob-1" in why for why in failed.values())
    assert contents(move.store, f"{move.kms.per_client()},{move.key}") == before
    moto.make("alias/acra_bob-1")
    assert move.rekey(move.key, move.kms.per_client())["rewrapped"] == 2
    assert contents(move.store, move.kms.per_client()) == before


def test_a_client_id_that_no_kms_key_can_have_is_named_and_stays(move: Move) -> None:
    move.site.keyfs("generate", "storage-sym/with space")
    kms = move.kms.per_client(create="yes")
    report = move.rekey(move.key, kms, code=REFUSED)
    assert isinstance(report["failed"], dict)
    assert list(report["failed"]) == ["with space_storage_sym"]
    assert move.site.keyfs("read", "storage-sym/with space")


def test_a_kms_that_goes_away_stops_the_move_and_a_second_run_ends_it(move: Move) -> None:
    before = contents(move.store, move.key)
    kms = move.kms.per_client(create="yes")
    move.kms.fail(Refusal("KMSInternalException", status=500), action="Encrypt")
    said = move.site.refusal("rekey", "--store", move.store, "--from", move.key, "--to", kms, code=AWAY)
    assert move.kms.url in said
    assert contents(move.store, move.key) == before
    move.kms.heal()
    move.rekey(move.key, kms)
    assert contents(move.store, kms) == before


def test_a_dry_run_seals_nothing_and_makes_no_keys(move: Move, moto: KMSServer) -> None:
    before = contents(move.store, move.key)
    report = move.rekey(move.key, move.kms.per_client(create="yes"), "--dry-run")
    assert report["rewrapped"] == 2 * len(LABELS)
    assert contents(move.store, move.key) == before
    assert not [one for one in moto.client().list_aliases()["Aliases"] if "acra" in one["AliasName"]]
    assert move.kms.calls["Encrypt"] == 0
