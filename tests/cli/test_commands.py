"""Each command does what it says, prints what scripts rely on, and leaves the rest alone."""

import base64
import json
import os
import re
from datetime import datetime
from pathlib import Path

import pytest
from command_line import keyfs

from keyfs.core.names import Half, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.core.stamps import is_stamp
from keyfs.seal.keypair import generate_pair, public_from_private
from keyfs.testing.live import LiveStore, new_live_store

Rows = list[dict[str, object]]


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    return new_live_store(tmp_path)


def rows(store: LiveStore, *words: str) -> Rows:
    ran = keyfs("list", "--json", *words, environment=store.environment)
    assert (ran.code, ran.err) == (0, "")
    listed: Rows = json.loads(ran.out)
    return listed


# --- init, master-key ---


@pytest.mark.parametrize("place", ["{}", "dir:{}"])
def test_init_makes_a_store_that_acra_would_open(tmp_path: Path, place: str) -> None:
    root = tmp_path / "deep" / "keys"
    ran = keyfs("init", "--store", place.format(root), environment={})
    assert (ran.code, ran.out, ran.err) == (0, b"", f"made dir:{root}: add keys with keyfs generate\n")
    assert (root.stat().st_mode & 0o7777, os.listdir(root)) == (0o700, [])


def test_init_with_public_keys_apart(tmp_path: Path) -> None:
    uri = f"dir:{tmp_path}/private?public={tmp_path}/public"
    assert keyfs("init", "--store", uri, environment={}).code == 0
    key = keyfs("master-key", "generate", environment={}).out.decode().strip()
    environment = {"KEYFS_STORE": uri, "ACRA_MASTER_KEY": key}
    assert keyfs("generate", "storage/alice", environment=environment).code == 0
    assert os.listdir(tmp_path / "private") == ["alice_storage"]
    assert os.listdir(tmp_path / "public") == ["alice_storage.pub"]


def test_a_new_master_key_is_32_random_bytes_for_v1(tmp_path: Path) -> None:
    keys = {keyfs("master-key", "generate", environment={}).out for _ in range(3)}
    assert len(keys) == 3
    assert all(len(base64.b64decode(key, validate=False)) == 32 and key.endswith(b"\n") for key in keys)


def test_a_new_master_key_is_two_keys_in_json_for_v2() -> None:
    ran = keyfs("master-key", "generate", "--layout", "v2", environment={})
    keys = json.loads(base64.b64decode(ran.out))
    assert {name: len(base64.b64decode(key)) for name, key in keys.items()} == {
        "encryption": 32,
        "signature": 32,
    }


# --- generate, rotate, read ---


@pytest.mark.parametrize(
    "label",
    [
        "storage/alice",
        "storage-sym/alice",
        "hmac-sym/a b-c_D9",
        "audit-log",
        "poison-record/@global",
        "poison-record-sym",
    ],
)
def test_generate_rotate_and_read(store: LiveStore, label: str) -> None:
    ref = parse_key_ref(label)
    ran = keyfs("generate", label, environment=store.environment)
    assert (ran.code, ran.out, ran.err) == (0, b"", f"{ref}/current\n")
    first = keyfs("read", label, environment=store.environment).out
    ran = keyfs("rotate", label, environment=store.environment)
    assert (ran.code, ran.out, ran.err) == (0, b"", f"{ref}/current\n")
    second = keyfs("read", f"{label}/current", environment=store.environment).out
    assert list(store.versions(label).values()) == [first, second]
    assert len(first) == len(second) == (45 if ref.purpose.is_pair else 32)
    stamp = next(iter(store.versions(label)))
    assert keyfs("read", f"{label}/{stamp}", environment=store.environment).out == first


@pytest.mark.parametrize("command", ["generate", "rotate"])
@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_keys_are_imported_from_a_file_or_stdin(
    store: LiveStore, tmp_path: Path, command: str, newline: bytes, way: str
) -> None:
    material = generate_pair()[0].reveal()
    source = tmp_path / "key.canary-input"
    source.write_bytes(material + newline)
    if command == "rotate":
        store.make("storage/alice")
    name = {"file": str(source), "stdin": "-"}[way]
    stdin = material + newline if way == "stdin" else b""
    ran = keyfs(command, "storage/alice", "--from-file", name, environment=store.environment, stdin=stdin)
    assert (ran.code, ran.err) == (0, "storage/alice/current\n")
    assert list(store.versions("storage/alice").values())[-1] == material
    assert len(store.versions("storage/alice")) == (2 if command == "rotate" else 1)


def test_the_same_bytes_again_make_no_version(store: LiveStore) -> None:
    store.make("storage-sym/alice", b"k" * 32)
    ran = keyfs(
        "rotate", "storage-sym/alice", "--from-file", "-", environment=store.environment, stdin=b"k" * 32
    )
    assert ran.code == 0
    assert list(store.versions("storage-sym/alice").values()) == [b"k" * 32]


def test_read_prints_public_halves(store: LiveStore) -> None:
    for _ in range(2):
        store.make("storage/alice")
    for version, private in store.versions("storage/alice").items():
        public = public_from_private(Secret(private))
        for words in (
            [f"storage/alice/{version}.pub"],
            [f"storage/alice/{version}", "--public"],
            [f"storage/alice/{version}.pub", "--public"],
        ):
            assert keyfs("read", *words, environment=store.environment).out == public
    without_key = {"KEYFS_STORE": str(store.root)}
    assert keyfs("read", "--public", "storage/alice", environment=without_key).out == public


# --- list ---


def test_list_json_has_one_object_for_each_half_in_the_shape_that_scripts_rely_on(store: LiveStore) -> None:
    for label in ("audit-log", "storage-sym/alice", "storage/alice", "storage/alice", "storage/bobby"):
        store.make(label)
    listed = rows(store, "--versions")
    assert [list(row) for row in listed] == [
        ["purpose", "client", "version", "current", "size", "created", "public", "state", "destroy_at"]
    ] * len(listed)
    stamp = str(listed[0]["version"])
    assert is_stamp(stamp)
    assert [
        (r["purpose"], r["client"], r["version"], r["current"], r["size"], r["public"]) for r in listed
    ] == [
        ("storage", "alice", stamp, False, 45, False),
        ("storage", "alice", stamp, False, 45, True),
        ("storage", "alice", "current", True, 45, False),
        ("storage", "alice", "current", True, 45, True),
        ("storage", "bobby", "current", True, 45, False),
        ("storage", "bobby", "current", True, 45, True),
        ("storage-sym", "alice", "current", True, 32, False),
        ("audit-log", None, "current", True, 32, False),
    ]
    for row in listed:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(row["created"]))
        assert datetime.fromisoformat(str(row["created"])).timestamp() > 1.7e9


def test_list_chooses_by_purpose_and_client(store: LiveStore) -> None:
    for label in ("audit-log", "storage-sym/alice", "storage/alice", "storage/bobby"):
        store.make(label)

    def shown(*words: str) -> set[str]:
        return {f"{row['purpose']}/{row['client']}" for row in rows(store, *words)}

    assert shown() == {"audit-log/None", "storage-sym/alice", "storage/alice", "storage/bobby"}
    assert shown("storage") == {"storage/alice", "storage/bobby"}
    assert shown("storage/alice") == {"storage/alice"}
    assert shown("audit-log") == shown("audit-log/@global") == {"audit-log/None"}
    assert shown("hmac-sym") == set()
    assert keyfs("list", "hmac-sym/alice", environment=store.environment).code == 4


def test_list_without_a_terminal_is_a_table_with_tabs(store: LiveStore) -> None:
    store.make("storage-sym/alice")
    lines = keyfs("list", environment=store.environment).out.decode().splitlines()
    head = ["purpose", "client", "version", "current", "public", "size", "created", "destroy_at", "state"]
    assert lines[0].split("\t") == head
    assert lines[1].split("\t")[:6] == ["storage-sym", "alice", "current", "yes", "no", "32"]
    assert len(lines) == 2


def test_an_empty_store_lists_nothing(store: LiveStore) -> None:
    assert rows(store) == []
    assert keyfs("list", environment={"KEYFS_STORE": str(store.root)}).out.count(b"\n") == 1


# --- destroy, check, doctor ---


def test_destroy_removes_one_retired_version_with_both_halves(store: LiveStore) -> None:
    for _ in range(4):
        store.make("storage/alice")
    first, second, third, _ = store.versions("storage/alice")
    ran = keyfs("destroy", f"storage/alice/{second}", environment=store.environment)
    assert (ran.code, ran.out, ran.err) == (0, b"", f"destroyed storage/alice/{second}\n")
    assert list(store.versions("storage/alice")) == [first, third, "current"]
    assert {row["version"] for row in rows(store, "--versions")} == {first, third, "current"}
    with store.opened() as (keys, _):
        assert keys.read(parse_key_ref("storage/alice"), third, Half.PUBLIC)


def test_check_of_a_sound_store(store: LiveStore) -> None:
    store.make("storage/alice")
    store.make("audit-log")
    ran = keyfs("check", environment=store.environment)
    assert (ran.code, ran.out, ran.err) == (0, b"", "2 keys, 3 blobs: clean\n")
    ran = keyfs("check", "--json", environment=store.environment)
    assert json.loads(ran.out) == {"rings": 2, "blobs": 3, "findings": [], "clean": True}


def test_check_names_what_is_wrong(store: LiveStore) -> None:
    store.make("storage-sym/alice")
    store.make("storage-sym/bobby")
    (store.root / "alice_storage_sym").write_bytes(bytes(76))
    ran = keyfs("check", environment=store.environment)
    assert ran.code == 1
    assert ran.err == "2 keys, 2 blobs: 1 faults\n"
    assert ran.out.decode().split("\t")[:3] == ["fault", "unreadable", "storage-sym/alice/current"]
    [finding] = json.loads(keyfs("check", "--json", environment=store.environment).out)["findings"]
    assert list(finding) == ["code", "where", "message", "is_note", "is_repaired", "set_aside", "repair"]


def test_doctor_has_a_finding_and_a_remedy_for_each_part() -> None:
    ran = keyfs("doctor", "--json", environment={})
    findings = json.loads(ran.out)
    assert all(list(finding) == ["name", "state", "detail", "remedy"] for finding in findings)
    assert {finding["state"] for finding in findings} <= {"ok", "warning", "missing"}
    assert ran.code == any(finding["state"] == "missing" for finding in findings)
    as_text = keyfs("doctor", environment={}).out.decode()
    assert all(finding["name"] in as_text and finding["remedy"] in as_text for finding in findings)
