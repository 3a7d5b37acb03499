"""Mounts whose keys a KMS opens: stores by Acra, outages at the start and later, how seldom it is asked."""

import base64
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aws_sites import AwsSite, digests, read_without_a_kms

from keyfs.core.secret import Secret
from keyfs.master.registry import open_key
from keyfs.testing.kms_proxy import Hang, KMSProxy, Refusal
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.mounted import keyfs_environment, mounted
from keyfs.testing.stores import RealStore, restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
AWAY, NO_KEY = 21, 7
pytest_plugins = ["aws_fixtures"]
pytestmark = pytest.mark.usefixtures("fuse_required")


# --- one master key, wrapped ---


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RealStore:
    return restore_real_store(VECTORS, "v1-dir", tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def by_acra(store: RealStore) -> set[str]:
    """What Acra itself reads there."""
    versions = [one for one in store.manifest["versions"] if one["state"] != "destroyed"]
    return {hashlib.sha256(bytes.fromhex(one["plaintext_hex"])).hexdigest() for one in versions}


def wrapped_site(store: RealStore, place: Path, uri: str) -> AwsSite:
    """The store by Acra; its master key wrapped, as Acra has it with kms_encrypted_master_key."""
    wrapped = open_key(uri).wrap(Secret(base64.b64decode(store.master_key))).decode()
    return AwsSite(place, uri, {"KEYFS_STORE": store.uri, "ACRA_MASTER_KEY": wrapped})


def test_a_store_by_acra_is_mounted_with_a_master_key_that_kms_unwraps(
    kms: KMSServer, store: RealStore, by_acra: set[str], tmp_path: Path
) -> None:
    kms.make("alias/acra_master_key")
    site = wrapped_site(store, tmp_path, kms.uri())
    with mounted(tmp_path / "mount", environment=site.environment) as mount:
        assert digests(mount) == by_acra


@pytest.mark.parametrize("place", ["file", "raw file", "store"])
def test_the_wrapped_key_may_lie_in_a_file_or_beside_the_store(
    moto: KMSServer, store: RealStore, by_acra: set[str], tmp_path: Path, place: str
) -> None:
    moto.make("alias/acra_master_key")
    text = wrapped_site(store, tmp_path, moto.uri()).more["ACRA_MASTER_KEY"].encode()
    beside = store.root.with_name(store.root.name + ".keyfs")
    beside.mkdir(0o700, exist_ok=True)
    path = beside / "master-key" if place == "store" else tmp_path / "wrapped"
    path.write_bytes(base64.b64decode(text) if place == "raw file" else text + b"\n")
    uri = moto.uri(**{"from": "store" if place == "store" else f"file:{path}"})
    site = AwsSite(tmp_path, uri, {"KEYFS_STORE": store.uri})
    with mounted(tmp_path / "mount", environment=site.environment) as mount:
        assert digests(mount) == by_acra
    path.unlink()


@pytest.mark.parametrize("for_s", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_a_kms_that_stops_after_the_start_stops_no_reader(
    proxy: KMSProxy, moto: KMSServer, store: RealStore, tmp_path: Path, for_s: float
) -> None:
    moto.make("alias/acra_master_key")
    assert read_without_a_kms(proxy, wrapped_site(store, tmp_path, proxy.uri()), proxy.stop, for_s) == 0
    assert proxy.calls["Decrypt"] == 1


# --- the start ---


@pytest.fixture
def behind(proxy: KMSProxy, moto: KMSServer, store: RealStore, tmp_path: Path) -> AwsSite:
    moto.make("alias/acra_master_key")
    site = wrapped_site(store, tmp_path, proxy.uri())
    (tmp_path / "mount").mkdir()
    return site


def test_a_kms_that_is_away_at_the_start_is_one_line_and_no_mount(behind: AwsSite, proxy: KMSProxy) -> None:
    proxy.stop()
    said = behind.refusal("mount", behind.place / "mount", code=AWAY)
    assert proxy.url in said
    assert not list((behind.place / "mount").iterdir())


def test_a_silent_kms_is_given_up_in_time(behind: AwsSite, proxy: KMSProxy) -> None:
    proxy.fail(Hang())
    began = time.monotonic()
    assert proxy.url in behind.refusal("mount", behind.place / "mount", code=AWAY)
    assert time.monotonic() - began < 30
    proxy.heal()


def test_a_kms_that_comes_in_time_is_waited_for(behind: AwsSite, proxy: KMSProxy, by_acra: set[str]) -> None:
    proxy.stop()
    mountpoint = behind.place / "mount"
    words = [sys.executable, "-m", "keyfs", "mount", "--wait", "50s", str(mountpoint)]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, env=keyfs_environment(behind.environment)
    ) as mounting:
        assert mounting.stderr is not None
        assert b"master_key.waiting" in mounting.stderr.readline()
        proxy.start()
        assert mounting.wait(60) == 0
    try:
        assert digests(mountpoint) == by_acra
    finally:
        behind.keyfs("umount", mountpoint)


def test_the_wait_for_a_kms_has_an_end(behind: AwsSite, proxy: KMSProxy) -> None:
    proxy.stop()
    began = time.monotonic()
    done = behind.run("mount", "--wait", "1s", behind.place / "mount")
    assert time.monotonic() - began >= 1
    assert done.returncode == AWAY
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("keyfs: ")
    assert proxy.url in last
    assert not list((behind.place / "mount").iterdir())


def test_a_disabled_key_is_not_waited_for(behind: AwsSite, proxy: KMSProxy) -> None:
    proxy.fail(Refusal("DisabledException", "arn:aws:kms:… is disabled."))
    said = behind.refusal("mount", "--wait", "50s", behind.place / "mount", code=NO_KEY)
    assert "disabled" in said


def test_what_another_key_wrapped_is_refused(behind: AwsSite, moto: KMSServer, store: RealStore) -> None:
    moto.make("alias/other")
    other = wrapped_site(store, behind.place, moto.uri("alias/other")).more
    wrong = AwsSite(behind.place, behind.master_key, other)
    assert "another key" in wrong.refusal("check", code=NO_KEY)
