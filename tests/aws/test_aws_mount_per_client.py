"""Mounts of key stores with a KMS key for each client: what they write, and how seldom they ask."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_sites import LABELS, AwsSite, read_without_a_kms
from kmses import forget_machine

from keyfs.testing.kms_proxy import Hang, KMSProxy
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.mounted import mounted
from keyfs.testing.waiting import wait_until

AWAY, NO_KEY = 21, 7
pytest_plugins = ["aws_fixtures"]
pytestmark = pytest.mark.usefixtures("fuse_required")


@pytest.fixture(scope="module")
def filled(running_moto: KMSServer, tmp_path_factory: pytest.TempPathFactory) -> AwsSite:
    """A key store that is made once: the tests have copies of it."""
    place = tmp_path_factory.mktemp("filled")
    running_moto.forget()
    with pytest.MonkeyPatch.context() as patch:
        forget_machine(patch, place)
        site = AwsSite(place, running_moto.per_client(create="yes"))
        site.fill()
    return site


@pytest.fixture
def moto(running_moto: KMSServer, aws: None, filled: AwsSite) -> KMSServer:
    """Not empty: with the keys of that store."""
    return running_moto


@pytest.fixture
def per_client(filled: AwsSite, proxy: KMSProxy, tmp_path: Path) -> AwsSite:
    site = AwsSite(tmp_path, proxy.per_client(create="yes"))
    shutil.copytree(filled.root, site.root)
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
    assert read_without_a_kms(proxy, per_client, proxy.stop, for_s) == 0


@pytest.mark.parametrize("for_s", [4, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("silent", [False, True], ids=["stopped", "silent"])
def test_when_answers_are_old_a_kms_that_is_away_is_asked_seldom_and_stops_no_reader(
    per_client: AwsSite, proxy: KMSProxy, for_s: float, *, silent: bool
) -> None:
    short = AwsSite(per_client.place, proxy.per_client(cache_age="1s"))
    asked = read_without_a_kms(proxy, short, (lambda: proxy.fail(Hang())) if silent else proxy.stop, for_s)
    assert asked < 100
    proxy.heal()


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
        assert "sealer: awskms (does not answer)\n" in (mount / ".keyfs/status").read_text()
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


@pytest.mark.parametrize("command", ["check", "mount"])
def test_a_way_to_kms_that_lacks_something_is_one_line_at_the_start(
    per_client: AwsSite, proxy: KMSProxy, command: str
) -> None:
    (per_client.place / "mount").mkdir(exist_ok=True)
    words = ["mount", str(per_client.place / "mount")] if command == "mount" else ["check"]
    credentials = per_client.place / "aws.json"
    credentials.write_text("{}")
    credentials.chmod(0o644)
    for options, code, said in (
        ({"region": ""}, 2, "no region"),
        ({"profile": "nobody"}, 2, "profile"),
        ({"credentials": str(credentials)}, 11, "chmod 600"),
    ):
        site = AwsSite(per_client.place, proxy.per_client(**options))
        assert said in site.refusal(*words, code=code)
    assert not list((per_client.place / "mount").iterdir())


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
