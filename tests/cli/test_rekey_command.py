"""`keyfs rekey`: the master key of stores by Acra; what it says, refuses and leaves behind."""

import json
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import Ran, keyfs

from keyfs import app
from keyfs.core.names import Half
from keyfs.master.generate import generate as new_master_key
from keyfs.testing.redis_servers import RedisServer
from keyfs.testing.stores import RealStore, restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
STORES = ("v1-dir", "v1-split", "v1-master48", "v1-legacy")
MASTER_KEY, UNSEALED, USAGE = 8, 9, 2


@dataclass(frozen=True)
class Site:
    """A key store by Acra, its master key and the one it is to have."""

    real: RealStore
    old: str
    new: str

    def rekey(self, *words: str, **environment: str) -> Ran:
        where = ("--store", self.real.uri, "--from", self.old, "--to", self.new)
        return keyfs("rekey", *where, *words, environment=environment)

    def contents(self, master_key: str) -> dict[tuple[str, ...], bytes]:
        """Both halves of every version, legacy keys too."""
        keys, _ = app.open_keys(app.Access(self.real.uri, master_key, legacy=True))
        keys.load()
        return {
            (str(ring.ref), version.id, half.value): keys.read(ring.ref, version.id, half)[
                0
            ].material.reveal()
            for ring in keys.rings()
            for version in ring.versions
            for half, part in ((Half.SECRET, version.secret), (Half.PUBLIC, version.public))
            if part is not None
        }

    def listing(self) -> bytes:
        """What people see of it."""
        return keyfs("list", "--versions", "--json", environment={"KEYFS_STORE": self.real.uri}).out

    def files(self) -> dict[str, bytes]:
        root = self.real.root
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    @property
    def beside(self) -> Path:
        return self.real.root.with_name(self.real.root.name + ".keyfs")


def key_file(place: Path, name: str, key: str) -> str:
    path = place / name
    path.touch(0o600)
    path.write_text(key)
    return f"file:{path}"


def site_of(name: str, place: Path) -> Site:
    real = restore_real_store(VECTORS, name, place)
    return Site(real, key_file(place, "old", real.master_key), key_file(place, "new", new_master_key("v1")))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_of("v1-dir", tmp_path)


@pytest.mark.parametrize("name", STORES)
def test_a_store_by_acra_opens_to_the_same_under_another_master_key(tmp_path: Path, name: str) -> None:
    site = site_of(name, tmp_path)
    before, listing = site.contents(site.old), site.listing()
    ran = site.rekey("--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["rewrapped"] > 0
    assert (told["already"], told["failed"], told["dry_run"]) == (0, {}, False)
    assert site.contents(site.new) == before
    assert site.listing() == listing
    checked = keyfs("check", environment={"KEYFS_STORE": site.real.uri, "KEYFS_MASTER_KEY": site.old})
    assert checked.code == MASTER_KEY


def test_a_store_in_redis_opens_to_the_same_under_another_master_key(site: Site, server: RedisServer) -> None:
    uri = server.unix_uri()
    assert keyfs("copy", site.real.uri, uri, environment={"KEYFS_MASTER_KEY": site.old}).code == 0
    there = Site(RealStore(uri, site.real.root, site.real.master_key, {}), site.old, site.new)
    before, listing = there.contents(site.old), there.listing()
    assert there.rekey().code == 0
    assert there.contents(site.new) == before
    assert there.listing() == listing
    (line,) = server.ask("GET", "ks.keyfs/audit.log").splitlines()
    assert json.loads(line)["outcome"] == "complete"


# --- what it says and leaves ---


def test_one_line_says_what_was_done_and_a_second_run_has_nothing_to_do(site: Site) -> None:
    first, second = site.rekey(), site.rekey()
    assert (first.code, first.out, second.code, second.out) == (0, b"", 0, b"")
    count = int(first.err.split()[0])
    assert first.err == f"{count} blobs sealed anew, 0 were already\n"
    assert second.err == f"0 blobs sealed anew, {count} were already\n"


def test_each_run_leaves_a_line_beside_the_store(site: Site) -> None:
    site.rekey()
    site.rekey()
    log = site.beside / "audit.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    first, second = map(json.loads, log.read_text().splitlines())
    assert first["action"] == second["action"] == "rekey"
    assert (first["from"], first["to"], first["outcome"]) == (site.old, site.new, "complete")
    assert first["rewrapped"] == second["already"] > 0
    assert first["user"] == pwd.getpwuid(os.getuid()).pw_name
    assert first["host"]
    assert first["time"] < second["time"]


def test_the_line_holds_no_argument_of_a_program(site: Site) -> None:
    """One may be a secret."""
    path = site.old.removeprefix("file:")
    assert Site(site.real, f"command:/bin/cat {path}", site.new).rekey().code == 0
    line = json.loads((site.beside / "audit.log").read_text())
    assert (line["from"], line["to"]) == ("command:/bin/cat", site.new)
    assert path not in str(line)


def test_a_dry_run_counts_and_leaves_nothing_at_all(site: Site) -> None:
    before = site.files()
    ran = site.rekey("--dry-run", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["dry_run"]
    assert told["rewrapped"] > 0
    assert site.files() == before
    assert not site.beside.exists()
    assert int(site.rekey().err.split()[0]) == told["rewrapped"]


def test_the_options_can_come_from_the_environment(site: Site) -> None:
    before = site.files()
    environment = {"KEYFS_STORE": site.real.uri, "KEYFS_FROM": site.old, "KEYFS_TO": site.new}
    assert keyfs("rekey", environment={**environment, "KEYFS_DRY_RUN": "1"}).code == 0
    assert site.files() == before
    assert keyfs("rekey", environment=environment).code == 0
    assert site.files() != before


# --- what it refuses ---


def test_a_wrong_old_master_key_changes_nothing(site: Site, tmp_path: Path) -> None:
    before = site.files()
    wrong = key_file(tmp_path, "wrong", new_master_key("v1"))
    ran = Site(site.real, wrong, site.new).rekey()
    assert ran.code == MASTER_KEY
    assert ran.refusal().startswith("the master key opens none of the ")
    assert site.files() == before
    assert not site.beside.exists()


def test_the_same_master_key_twice_is_a_mistake(site: Site) -> None:
    before = site.files()
    ran = Site(site.real, site.old, site.old).rekey()
    assert ran.code == USAGE
    assert "--to" in ran.refusal()
    assert site.files() == before


def test_the_keys_of_a_mount_can_be_given_as_they_are(site: Site) -> None:
    """The new one among them: a run that was stopped needs it, too."""
    before = site.contents(site.old)
    assert Site(site.real, f"{site.new},{site.old}", site.new).rekey().code == 0
    assert site.contents(site.new) == before


@pytest.mark.parametrize("missing", ["--from", "--to"])
def test_both_master_keys_have_to_be_named(site: Site, missing: str) -> None:
    words = {"--store": site.real.uri, "--from": site.old, "--to": site.new}
    given = [word for name, value in words.items() if name != missing for word in (name, value)]
    ran = keyfs("rekey", *given, environment={})
    assert ran.code == USAGE
    assert missing in ran.refusal()


def test_a_blob_that_opens_under_no_key_is_named_and_the_rest_is_done(site: Site) -> None:
    [damaged, *_] = sorted(path for path in site.real.root.rglob("*_storage_sym") if path.is_file())
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    ran = site.rekey("--json")
    assert ran.code == UNSEALED
    told = json.loads(ran.out)
    assert list(told["failed"]) == [damaged.name]
    assert told["rewrapped"] > 0
    assert damaged.read_bytes() == data
    assert f"not sealed anew {damaged.name}: " in ran.err
    assert json.loads((site.beside / "audit.log").read_text())["outcome"] == "incomplete"
    assert site.rekey().code == UNSEALED
