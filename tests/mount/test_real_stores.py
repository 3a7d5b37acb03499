"""Key stores that real Acra tools made, through a real mount: every key, every version, every half."""

import hashlib
import json
import stat
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from acra_expectations import (
    LEGACY,
    MODERN,
    Expected,
    View,
    expected_of_real,
    listed_by_acra,
    view_of,
)

from keyfs.app import Access, open_keys
from keyfs.core.names import parse_version_path
from keyfs.core.tree import parse_key_label
from keyfs.errors import KeyNotFound
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
STORES = ("v1-dir", "v1-split", "v1-master48", "v1-legacy")
EXIT_KEY_NOT_FOUND = 4


@dataclass(frozen=True)
class Mounts:
    """One store, seen through two mounts, one after the other."""

    store: RealStore
    environment: dict[str, str]
    expected: dict[str, Expected]
    writable: View
    read_only: View

    @property
    def is_legacy(self) -> bool:
        return "KEYFS_LEGACY" in self.environment


@pytest.fixture(scope="module", params=STORES)
def real(
    request: pytest.FixtureRequest, fuse_required: None, tmp_path_factory: pytest.TempPathFactory
) -> Mounts:
    place = tmp_path_factory.mktemp("real")
    store = restore_real_store(VECTORS, request.param, place)
    environment = store.environment | ({"KEYFS_LEGACY": "1"} if request.param == "v1-legacy" else {})
    with mounted(place / "mount", environment=environment) as mountpoint:
        writable = view_of(mountpoint)
    with mounted(place / "mount", "--read-only", environment=environment) as mountpoint:
        read_only = view_of(mountpoint)
    expected = {one.path: one for one in expected_of_real(store.manifest)}
    return Mounts(store, environment, expected, writable, read_only)


@pytest.fixture(params=["writable", "read_only"])
def view(request: pytest.FixtureRequest, real: Mounts) -> View:
    found: View = getattr(real, request.param)
    return found


ACRA_KINDS = {"symmetric": "storage-sym", "storage": "storage", "poison-record": "poison-record"}
API_CALLS = {
    "GetLogSecretKey": ("audit-log", ""),
    "GetPoisonKeyPair": ("poison-record", ""),
    "GetPoisonPrivateKeys": ("poison-record", ""),
    "GetPoisonSymmetricKey": ("poison-record-sym", ""),
    "GetPoisonSymmetricKeys": ("poison-record-sym", ""),
    "GetClientIDEncryptionPublicKey": ("storage", ".pub"),
    "GetClientIDSymmetricKey": ("storage-sym", ""),
    "GetClientIDSymmetricKeys": ("storage-sym", ""),
    "GetHMACSecretKey": ("hmac-sym", ""),
    "GetServerDecryptionPrivateKey": ("storage", ""),
    "GetServerDecryptionPrivateKeys": ("storage", ""),
}


def is_rotate(path: str) -> bool:
    return path.endswith("/rotate")


def test_every_version_of_every_key_reads_byte_for_byte(real: Mounts, view: View) -> None:
    shown = {path: one.content for path, one in view.files.items() if not is_rotate(path)}
    assert shown == {path: one.content for path, one in real.expected.items()}


def test_the_directories_are_the_purposes_and_their_clients(real: Mounts, view: View) -> None:
    purposes = {*MODERN, *LEGACY} if real.is_legacy else {*MODERN}
    clients = {path.rpartition("/")[0] for path in real.expected}
    assert set(view.directories) == {".", *purposes, *clients}


def test_rotate_stands_beside_every_key_that_can_be_written(real: Mounts) -> None:
    clients = {path.rpartition("/")[0] for path in real.expected if not path.startswith("legacy-")}
    assert {path for path in real.writable.files if is_rotate(path)} == {f"{c}/rotate" for c in clients}
    assert not [path for path in real.read_only.files if is_rotate(path)]


def test_stat_and_fstat_and_the_bytes_read_agree(view: View) -> None:
    for path, shown in view.files.items():
        if is_rotate(path):
            continue
        assert shown.fstat is not None
        fields = ("st_size", "st_mode", "st_mtime_ns", "st_ino", "st_uid", "st_gid", "st_nlink")
        assert [getattr(shown.stat, f) for f in fields] == [getattr(shown.fstat, f) for f in fields], path
        assert shown.stat.st_size == len(view.content(path)), path


def test_mtime_is_when_the_private_half_was_written(real: Mounts, view: View) -> None:
    shown = {path: one.stat.st_mtime_ns for path, one in view.files.items() if not is_rotate(path)}
    assert shown == {path: one.written_ns for path, one in real.expected.items()}


def test_only_what_can_be_written_has_the_write_bit(real: Mounts, view: View) -> None:
    is_writable = view is real.writable
    for path, shown in view.files.items():
        expected = real.expected.get(path)
        can_write = is_writable and not path.startswith("legacy-")
        wanted = 0o444 if expected is not None and expected.public else 0o400
        if can_write and (is_rotate(path) or path.endswith("/current")):
            wanted |= 0o200
        assert stat.filemode(shown.stat.st_mode) == stat.filemode(stat.S_IFREG | wanted), path
    for path, facts in view.directories.items():
        takes_names = "/" in path or path in ("storage", "storage-sym", "hmac-sym")
        can_write = is_writable and takes_names and not path.startswith("legacy-")
        wanted = 0o755 if can_write else 0o555
        assert stat.filemode(facts.st_mode) == stat.filemode(stat.S_IFDIR | wanted), path


def test_inode_numbers_are_those_of_the_mount_before(real: Mounts) -> None:
    before = {path: one.stat.st_ino for path, one in real.writable.files.items() if not is_rotate(path)}
    before |= {path: facts.st_ino for path, facts in real.writable.directories.items()}
    after = {path: one.stat.st_ino for path, one in real.read_only.files.items()}
    after |= {path: facts.st_ino for path, facts in real.read_only.directories.items()}
    assert before == after
    assert len(set(before.values())) == len(before)


def list_rows(environment: dict[str, str]) -> list[dict[str, Any]]:
    done = run_keyfs("list", "--json", "--versions", environment=environment)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def read_all(real: Mounts, paths: Iterable[str]) -> dict[str, bytes | None]:
    """What `keyfs read` gives for each path, None for what it does not find; two at a time."""

    def read(path: str) -> tuple[str, bytes | None]:
        done = run_keyfs("read", path, environment=real.environment)
        assert done.returncode in (0, EXIT_KEY_NOT_FOUND), done.stderr
        return path, done.stdout if done.returncode == 0 else None

    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(read, paths))


def test_list_agrees_with_the_manifest(real: Mounts) -> None:
    wanted = {
        (
            one.purpose,
            one.client,
            one.version,
            one.version == "current",
            one.public,
            len(one.content),
            one.created,
        )
        for one in real.expected.values()
    }
    columns = ("purpose", "client", "version", "current", "public", "size", "created")
    rows = list_rows(real.environment)
    assert {tuple(row[column] for column in columns) for row in rows} == wanted
    assert len(rows) == len(wanted)


def test_list_agrees_with_what_acra_lists(real: Mounts) -> None:
    rows = Counter(
        (row["purpose"], row["client"], row["public"], row["current"])
        for row in list_rows(real.environment)
        if not row["purpose"].startswith("legacy-")
    )
    assert rows == listed_by_acra(real.store.manifest["acra_list_json_rotated"])


def test_the_legacy_view_changes_no_modern_key(real: Mounts) -> None:
    """Names of legacy keys are ambiguous; the modern reading wins."""
    modern = list_rows(real.environment | {"KEYFS_LEGACY": ""})
    legacy = list_rows(real.environment | {"KEYFS_LEGACY": "1"})
    assert [row for row in legacy if not row["purpose"].startswith("legacy-")] == modern
    assert (legacy == modern) == (not real.is_legacy)


def test_read_gives_what_acra_keys_read_gives(real: Mounts) -> None:
    wanted: dict[str, bytes | None] = {}
    for question, answer in real.store.manifest["acra_keys_read"].items():
        kind, _, half = question.partition(" --")
        _, _, key = kind.rpartition("client/")
        client, _, purpose = key.rpartition("/")
        path = f"{ACRA_KINDS[purpose]}/{client or '@global'}/current{'.pub' if half == 'public' else ''}"
        wanted[path] = bytes.fromhex(answer["hex"]) if "hex" in answer else None
    assert read_all(real, wanted) == wanted


def test_keyfs_reads_what_the_library_of_acra_reads(real: Mounts, monkeypatch: pytest.MonkeyPatch) -> None:
    api = dict(real.store.manifest["acra_api"])
    by_client = {"@global": api, **api.pop("clients")}
    wanted: dict[str, bytes | None] = {}
    for client, answers in by_client.items():
        for call, answer in answers.items():
            wanted |= answered(real, client, call, answer)
    monkeypatch.setenv("ACRA_MASTER_KEY", real.store.master_key)
    keys, _ = open_keys(Access(real.store.uri))
    keys.load()
    for path, content in wanted.items():
        ref, label = parse_version_path(path)
        if content is None:
            with pytest.raises(KeyNotFound):
                keys.read(ref, *parse_key_label(label))
        else:
            opened, _ = keys.read(ref, *parse_key_label(label))
            assert opened.material.reveal() == content, path
    keys.close()


def answered(real: Mounts, client: str, call: str, answer: Any) -> dict[str, bytes | None]:
    """Contents by path, None for what Acra cannot read: it has no current version."""
    purpose, suffix = API_CALLS[call]
    ring = f"{purpose}/{client}"
    if isinstance(answer, str):
        return {f"{ring}/current{suffix}": bytes.fromhex(answer)}
    if isinstance(answer, list):  # all versions, newest first
        versions = {one.version for path, one in real.expected.items() if path.startswith(f"{ring}/")}
        newest_first = sorted(versions, key=lambda version: (version == "current", version), reverse=True)
        return {f"{ring}/{v}": bytes.fromhex(key) for v, key in zip(newest_first, answer, strict=True)}
    if "error" in answer:
        return {f"{ring}/current{suffix}": None}
    pair = {"current": answer["private"], "current.pub": answer["public"]}
    return {f"{ring}/{label}": bytes.fromhex(key) for label, key in pair.items()}


def test_looking_at_a_store_leaves_it_as_it_was(real: Mounts) -> None:
    top = real.store.root.parent if "private_dir" in real.store.manifest else real.store.root
    found = {".": top, **{str(path.relative_to(top)): path for path in top.rglob("*")}}
    for entry in real.store.manifest["entries"]:
        path = found.pop(entry["path"])
        assert f"{stat.S_IMODE(path.stat().st_mode):04o}" == entry["mode"], path
        if entry["type"] == "file":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"], path
            assert path.stat().st_mtime_ns == entry["mtime_ns"], path
    assert not found
