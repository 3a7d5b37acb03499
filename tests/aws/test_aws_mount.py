"""Mounts whose keys a KMS opens: stores by Acra, outages at the start and later, how seldom it is asked."""

import base64
import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_sites import LABELS, AwsSite, digests

from keyfs.core.secret import Secret
from keyfs.master.registry import open_key
from keyfs.testing.kms_proxy import Hang, KMSProxy, Refusal
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.mounted import mounted
from keyfs.testing.reading import reading_loop
from keyfs.testing.stores import RealStore, restore_real_store
from keyfs.testing.waiting import wait_until

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


def read_without_a_kms(proxy: KMSProxy, site: AwsSite, place: Path, for_s: float) -> None:
    with mounted(place / "mount", environment=site.environment) as mount:
        files = [path for path in mount.glob("*/*/*") if path.name != "rotate"]
        contents = {path: {path.read_bytes()} for path in files}
        asked = proxy.calls["Decrypt"]
        with reading_loop(contents) as readings:
            proxy.stop()
            time.sleep(for_s)
        assert not readings.errors
        assert readings.wrong == 0
        assert readings.reads > 100
        assert proxy.calls["Decrypt"] == asked


@pytest.mark.parametrize("for_s", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_a_kms_that_stops_after_the_start_stops_no_reader(
    proxy: KMSProxy, moto: KMSServer, store: RealStore, tmp_path: Path, for_s: float
) -> None:
    moto.make("alias/acra_master_key")
    read_without_a_kms(proxy, wrapped_site(store, tmp_path, proxy.uri()), tmp_path, for_s)
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
    comes = threading.Timer(1.0, proxy.start)
    comes.start()
    with mounted(behind.place / "mount", "--wait", "50s", environment=behind.environment) as mount:
        assert digests(mount) == by_acra
    comes.join()


def test_the_wait_for_a_kms_has_an_end(behind: AwsSite, proxy: KMSProxy) -> None:
    proxy.stop()
    with pytest.raises(AssertionError, match=r"(?s)master_key\.waiting.*\nkeyfs: .*"):
        behind.keyfs("mount", "--wait", "1s", behind.place / "mount", code=0)
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


# --- a key for each client ---


@pytest.fixture
def per_client(proxy: KMSProxy, tmp_path: Path) -> AwsSite:
    site = AwsSite(tmp_path, proxy.per_client(create="yes"))
    site.fill()
    return site


@pytest.fixture
def mount(per_client: AwsSite, proxy: KMSProxy) -> Iterator[Path]:
    with mounted(
        per_client.place / "mount", "--log-file", str(per_client.place / "log"),
        environment=per_client.environment,
    ) as mount:  # fmt: skip
        yield mount


def test_what_keyfs_wrote_opens_without_keyfs_under_the_names_that_acra_knows(
    per_client: AwsSite, moto: KMSServer
) -> None:
    aliases = moto.client().list_aliases()["Aliases"]
    assert {alias["AliasName"] for alias in aliases if alias["AliasName"].startswith("alias/acra")} == {
        "alias/acra_alice", "alias/acra_bob-1", "alias/acra_audit_log", "alias/acra_poison"
    }  # fmt: skip
    wanted = {
        "alice_storage": ("alias/acra_alice", "storage/alice"),
        "alice_storage_sym": ("alias/acra_alice", "storage-sym/alice"),
        "alice_hmac": ("alias/acra_alice", "hmac-sym/alice"),
        "bob-1_storage_sym": ("alias/acra_bob-1", "storage-sym/bob-1"),
        "secure_log_key": ("alias/acra_audit_log", "audit-log"),
        ".poison_key/poison_key": ("alias/acra_poison", "poison-record"),
    }
    for name, (key, label) in wanted.items():
        current = (per_client.root / name).read_bytes()
        (retired,) = (per_client.root / f"{name}.old").iterdir()
        for blob, version in ((current, "current"), (retired.read_bytes(), retired.name)):
            opened = moto.client().decrypt(KeyId=key, CiphertextBlob=blob)["Plaintext"]
            path = f"{label}/{version}" if "/" in label else f"{label}/@global/{version}"
            assert opened == per_client.keyfs("read", path)


def test_a_mount_reads_and_rotates_and_tells_the_size_of_each_key(
    per_client: AwsSite, mount: Path, moto: KMSServer
) -> None:
    for label in LABELS:
        ring = mount / (label if "/" in label else f"{label}/@global")
        current = ring / "current"
        before = current.read_bytes()
        assert current.stat().st_size == len(before) == (45 if (ring / "current.pub").exists() else 32)
        (ring / "rotate").write_bytes(b"\n")
        assert current.read_bytes() != before
        newest = max(path for path in ring.iterdir() if path.name.startswith("2") and path.suffix != ".pub")
        assert newest.read_bytes() == before
    (mount / "storage-sym/alice/current").write_bytes(b"k" * 32)
    blob = (per_client.root / "alice_storage_sym").read_bytes()
    assert moto.client().decrypt(CiphertextBlob=blob)["Plaintext"] == b"k" * 32
    assert per_client.keyfs("check") == b""
    assert (per_client.place / "log").read_text() == ""


def test_a_read_does_not_mean_a_call(mount: Path, proxy: KMSProxy) -> None:
    path = mount / "storage-sym/alice/current"
    first = path.read_bytes()
    asked = proxy.calls["Decrypt"]
    assert [path.read_bytes() for _ in range(500)] == [first] * 500
    assert proxy.calls["Decrypt"] - asked <= 1


def test_a_cache_of_so_many_uses_is_asked_so_often(per_client: AwsSite, proxy: KMSProxy) -> None:
    few = AwsSite(per_client.place, proxy.per_client(cache_uses="10"))
    with mounted(few.place / "mount", environment=few.environment) as mount:
        asked = proxy.calls["Decrypt"]
        for _ in range(100):
            (mount / "storage-sym/alice/current").read_bytes()
        assert 9 <= proxy.calls["Decrypt"] - asked <= 11


@pytest.mark.parametrize("for_s", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_keys_of_clients_are_read_on_while_the_kms_is_stopped(
    per_client: AwsSite, proxy: KMSProxy, for_s: float
) -> None:
    read_without_a_kms(proxy, per_client, per_client.place, for_s)


def test_when_the_answers_are_old_an_outage_is_seen_and_survived(
    per_client: AwsSite, proxy: KMSProxy
) -> None:
    short = AwsSite(per_client.place, proxy.per_client(cache_age="1s"))
    words = ("--log-file", str(short.place / "log"))
    with mounted(short.place / "mount", *words, environment=short.environment) as mount:
        warm, cold = mount / "storage-sym/alice/current", mount / "hmac-sym/alice/current"
        content = warm.read_bytes()
        proxy.stop()
        time.sleep(1.2)
        assert [warm.read_bytes() for _ in range(50)] == [content] * 50
        with pytest.raises(OSError, match="temporarily unavailable"):
            cold.read_bytes()
        with pytest.raises(OSError, match="temporarily unavailable"):
            (mount / "storage-sym/alice/rotate").write_bytes(b"\n")
        assert warm.read_bytes() == content
        proxy.start()
        wait_until(lambda: cold_opens(cold), 20)
    assert "kms.away" in (short.place / "log").read_text()
    assert "kms.back" in (short.place / "log").read_text()


def cold_opens(path: Path) -> bool:
    try:
        return len(path.read_bytes()) == 32
    except OSError:
        return False


@pytest.mark.parametrize("command", ["check", "mount"])
def test_a_kms_of_clients_that_is_away_at_the_start_is_one_line(
    per_client: AwsSite, proxy: KMSProxy, command: str
) -> None:
    proxy.stop()
    words = ["mount", str(per_client.place / "mount")] if command == "mount" else ["check"]
    (per_client.place / "mount").mkdir(exist_ok=True)
    assert proxy.url in per_client.refusal(*words, code=AWAY)


def test_a_client_without_a_key_is_told_with_the_keys_there_are(per_client: AwsSite, proxy: KMSProxy) -> None:
    strict = AwsSite(per_client.place, proxy.per_client())
    said = strict.refusal("generate", "storage-sym/carol", code=NO_KEY)
    assert "alias/acra_carol" in said
    assert "alias/acra_alice" in said
    assert not (per_client.root / "carol_storage_sym").exists()


def test_a_client_id_that_no_alias_can_have_is_refused(per_client: AwsSite) -> None:
    assert "alias" in per_client.refusal("generate", "storage-sym/with space", code=12)
    assert not (per_client.root / "with space_storage_sym").exists()


def test_the_daemon_asks_the_kms_in_threads_only(per_client: AwsSite, mount: Path, proxy: KMSProxy) -> None:
    """While it hangs, what needs no KMS is answered at once."""
    warm = mount / "storage-sym/alice/current"
    content = warm.read_bytes()
    proxy.fail(Hang())
    cold = subprocess.Popen(["cat", str(mount / "hmac-sym/alice/current")], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    began = time.monotonic()
    assert warm.read_bytes() == content
    assert json.loads((mount / ".keyfs/status.json").read_bytes())["sealer"] == "awskms"
    assert time.monotonic() - began < 2
    proxy.heal()
    cold.wait(30)
