"""`keyfs export`, `verify` and `import`: files, words, exit codes; stores by Acra to Redis and back."""

import json
import stat
from pathlib import Path

import pytest
from bundle_site import BROKEN, BUNDLES, EXISTS, FAULTS, NOT_FOUND, Site, new_site
from copied_stores import Place, files_in, key_file, materials, new_directory

from keyfs.seal.bundles import Format, recognise
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.shared_store import SharedStore
from keyfs.testing.stores import restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
STORES = ("v1-dir", "v1-split", "v1-master48", "v1-legacy")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return new_site(tmp_path)


@pytest.mark.parametrize("name", STORES)
def test_stores_by_acra_come_back_through_redis_to_the_byte(
    name: str, server: RedisServer, tmp_path: Path
) -> None:
    """History, split directories, awkward ids, global, poison, audit and legacy keys; order and times."""
    server.ask("FLUSHALL")
    store = restore_real_store(VECTORS, name, tmp_path / "real")
    real = Place(store.uri, key_file(tmp_path, store.master_key), name == "v1-legacy")
    here = Site(real, tmp_path / "first.bundle")
    redis = Site(Place(server.unix_uri(), real.master_key, real.legacy), tmp_path / "second.bundle")
    back = new_directory(real, tmp_path / "back")
    assert here.export().code == 0
    assert here.verify("--store", real.uri).code == 0
    assert here.at(redis.place).restore().code == 0
    assert redis.export().code == 0
    assert redis.at(back).restore().code == 0
    assert materials(redis.place.contents()) == materials(real.contents())
    assert materials(back.contents()) == materials(real.contents())
    direct = new_directory(real, tmp_path / "direct")
    assert here.at(direct).restore().code == 0
    assert direct.contents() == real.contents()  # times, too
    assert direct.check().returncode == 0
    for path in (tmp_path / "direct").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o644 if ".pub" in str(path) else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted


def test_the_files_are_for_the_owner_alone_and_no_key_lies_in_them(site: Site) -> None:
    ran = site.export()
    assert ran.code == 0
    assert ran.out == b""
    assert ran.err.splitlines() == [
        f"5 keys with 15 versions written to {site.bundle}, its key to {site.key}: keep them apart"
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (site.bundle, site.key)} == {0o600}
    assert len(site.key.read_bytes()) == 32
    assert sorted(path.name for path in site.bundle.parent.glob(".keyfs-*")) == []
    for found in site.place.contents().values():
        assert found.material not in site.bundle.read_bytes()


def test_two_exports_share_no_key_and_no_byte_behind_the_head(site: Site) -> None:
    site.export()
    first = (site.bundle.read_bytes(), site.key.read_bytes())
    assert site.export("--force").code == 0
    assert site.key.read_bytes() != first[1]
    assert site.bundle.read_bytes() != first[0]
    assert site.verify().code == 0
    assert not site.key.with_name(site.key.name + ".new").exists()


def test_a_full_day(site: Site, tmp_path: Path) -> None:
    """Back up, verify, lose the store, look at what would be restored, restore, and once more."""
    before = site.place.contents()
    assert site.export().code == 0
    assert site.verify("--store", site.place.uri).code == 0
    anew = site.at(new_directory(site.place, tmp_path / "anew"))
    shown = anew.restore("--dry-run")
    assert shown.code == 0
    head, *rows = shown.out.decode().splitlines()
    assert head == "purpose\tclient\tversion\taction\tthere\treason"
    assert len(rows) == 15
    assert all(row.split("\t")[3] == "add" for row in rows)
    assert files_in(tmp_path / "anew") == {}
    assert anew.restore().err == "versions: 15 add\n"
    assert anew.place.contents() == before
    again = anew.restore("--json")
    assert again.code == 0
    assert json.loads(again.out)["counts"]["equal"] == 15
    assert anew.place.contents() == before


def test_json_says_what_is_in_it(site: Site) -> None:
    facts = json.loads(site.export("--json").out)
    assert facts["bundle"] == str(site.bundle)
    assert facts["key_file"] == str(site.key)
    assert (facts["format"], facts["keys"], facts["versions"], facts["halves"]) == ("keyfs", 5, 15, 21)
    assert facts["failed"] == facts["left_out"] == {}
    assert facts["archived_not_exported"] == 0
    found = json.loads(site.verify("--json").out)
    assert found.pop("made").endswith("Z")
    assert found == {
        "format": "keyfs",
        "layout": "v1",
        "keys": 5,
        "versions": 15,
        "halves": 21,
        "findings": [],
        "restorable": True,
    }


def test_what_is_archived_is_said_not_to_be_in_it(site: Site) -> None:
    assert site.run("archive", "fill", "--keep", "1", "--purpose", "storage").code == 0
    assert site.run("archive", "fill", "--keep", "1", "--purpose", "audit-log").code == 0
    ran = site.export()
    assert (ran.code, ran.out) == (0, b"")
    assert ran.err.startswith(
        "2 archived versions are not in it: copy archive.jsonl beside the key store, too"
    )
    assert json.loads(site.export("--json", "--force").out)["archived_not_exported"] == 2
    for name, count in (("storage", 1), ("storage/alice", 1), ("storage-sym", 0), ("audit-log/@global", 1)):
        facts = json.loads(site.export(name, "--json", "--force").out)
        assert (name, facts["archived_not_exported"]) == (name, count)


def test_an_archive_that_is_damaged_is_no_reason_to_be_without_a_backup(site: Site) -> None:
    assert site.run("archive", "fill", "--keep", "1").code == 0
    [path] = site.bundle.parent.rglob("archive.jsonl")
    path.write_bytes(b"{")
    ran = site.export()
    assert ran.code == 0
    assert "not looked at: line 1 of archive.jsonl" in ran.err
    assert site.verify().code == 0


def test_only_what_was_named_is_exported(site: Site) -> None:
    ran = site.export("storage", "poison-record-sym", "--json")
    assert json.loads(ran.out)["keys"] == 2
    assert site.export("storage/nobody", "--force").code == NOT_FOUND
    assert site.export("hmac-sym", "--force").code == NOT_FOUND
    assert site.export("no-purpose", "--force").code == 3
    assert json.loads(site.verify("--json").out)["keys"] == 2


@pytest.mark.parametrize("kind", ["env", "file"])
def test_a_passphrase_opens_it_and_another_one_does_not(site: Site, tmp_path: Path, kind: str) -> None:
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("wrong horse")
    right = "env:RIGHT" if kind == "env" else f"file:{tmp_path / 'right'}"
    words = {"RIGHT": "correct horse", "WRONG": "wrong horse"}
    ran = site.export("--passphrase-from", right, **words)
    assert ran.code == 0
    assert "horse" not in ran.err
    assert not site.key.exists()
    assert site.verify("--passphrase-from", right, **words).code == 0
    assert site.verify(KEYFS_PASSPHRASE_FROM=right, **words).code == 0
    wrong = site.verify(
        "--passphrase-from", right.replace("RIGHT", "WRONG").replace("right", "wrong"), **words
    )
    assert wrong.code == BROKEN
    assert "sealed under another passphrase" in wrong.refusal()
    assert "nobody is here to ask" in site.verify().refusal()


def test_a_damaged_version_is_named_and_the_rest_is_in_the_bundle(site: Site, tmp_path: Path) -> None:
    (retired, *_) = sorted((tmp_path / "source" / "alice_storage_sym.old").iterdir())
    retired.write_bytes(retired.read_bytes()[:-1] + b"?")
    ran = site.export()
    assert ran.code == BROKEN
    assert f"not exported storage-sym/alice/{retired.name}: " in ran.err
    assert json.loads(site.verify("--json").out)["versions"] == 14
    (fault,) = json.loads(site.verify("--json", "--store", site.place.uri).out)["findings"]
    assert (fault["code"], fault["where"]) == ("unreadable", f"storage-sym/alice/{retired.name}")


def test_verify_tells_what_the_key_store_has_and_the_bundle_has_not(site: Site) -> None:
    site.export()
    live = SharedStore(site.place.uri, site.place.master_key)
    live.make("storage-sym/alice", "hmac-sym/alice")
    assert site.verify().code == 0  # KEYFS_STORE alone asks for nothing
    ran = site.verify("--store", site.place.uri)
    assert ran.code == FAULTS
    lines = [line.split("\t")[:3] for line in ran.out.decode().splitlines()]
    assert ["fault", "missing", "hmac-sym/alice"] in lines
    assert ["fault", "missing", "storage-sym/alice/current"] in lines


def test_a_conflict_is_refused_skipped_or_superseded_as_one_says(site: Site, tmp_path: Path) -> None:
    site.export()
    anew = site.at(new_directory(site.place, tmp_path / "anew"))
    SharedStore(anew.place.uri, anew.place.master_key).make("storage/alice")
    ours = {label: found.material for label, found in anew.place.contents().items()}
    dry = anew.restore("--dry-run")
    assert dry.code == EXISTS
    assert "storage\talice\tcurrent\tconflict\t" in dry.out.decode()
    ran = anew.restore()
    assert ran.code == EXISTS
    assert "not imported storage/alice: " in ran.err
    assert "--on-conflict" in ran.err
    left = {label: f.material for label, f in anew.place.contents().items() if label[0] == "storage"}
    assert left == ours
    assert anew.restore("--on-conflict", "skip").code == 0
    assert anew.restore("--on-conflict", "newer-version").code == 0
    found = {label: f.material for label, f in anew.place.contents().items() if label[0] == "storage"}
    assert set(ours.values()) < set(found.values())
    wanted = {label: f.material for label, f in site.place.contents().items()}
    assert found["storage", "alice", "current", False] == wanted["storage", "alice", "current", False]
    assert anew.place.check().returncode == 0


def test_acras_format_has_what_acra_can_import_and_the_rest_is_named(site: Site, tmp_path: Path) -> None:
    ran = site.export("--format", "acra", "--json")
    assert ran.code == FAULTS  # not everything is in it
    assert recognise(site.bundle.read_bytes()) is Format.ACRA_V1
    assert len(site.key.read_bytes()) == 32
    facts = json.loads(ran.out)
    assert "poison-record-sym/@global" in facts["left_out"]
    assert len([name for name in facts["left_out"] if name.startswith("poison-record/")]) == 2
    assert facts["versions"] == 10
    anew = site.at(new_directory(site.place, tmp_path / "anew"))
    assert anew.restore().code == 0
    there = {label: found.material for label, found in site.place.contents().items()}
    for label, found in anew.place.contents().items():
        assert there[label] == found.material


def test_acras_format_without_loss_ends_well(site: Site) -> None:
    assert site.export("--format", "acra", "storage", "storage-sym", "audit-log").code == 0


def test_a_bundle_of_acras_is_restored_with_its_history(site: Site, tmp_path: Path) -> None:
    anew = Site(new_directory(site.place, tmp_path / "anew"), BUNDLES / "v1-all.dat")
    ran = anew.restore("--key-file", BUNDLES / "v1-all.key")
    assert ran.code == 0
    (vector,) = [v for v in json.loads((BUNDLES / "manifest.json").read_bytes()) if v["name"] == "v1-all"]
    assert set(files_in(tmp_path / "anew")) == set(vector["keys"])
    assert len(anew.place.contents()) == len(vector["keys"])
    assert anew.place.check().returncode == 0


def test_export_and_import_leave_a_line_beside_the_key_store(site: Site, tmp_path: Path) -> None:
    site.export()
    site.restore()
    site.restore("--dry-run")
    log = next((tmp_path / "source.keyfs").glob("audit*")).read_text()
    assert [json.loads(line)["action"] for line in log.splitlines()] == ["export", "import"]
