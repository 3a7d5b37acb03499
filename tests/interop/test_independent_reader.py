"""The independent reader reads what Acra wrote, refuses what Acra refuses, and has nothing of keyfs in it."""

import ast
import base64
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import independent_reader
import pytest
from independent_reader import (
    StoreRefused,
    check_listed,
    container_payload,
    public_of,
    read_redis,
    read_store,
    unseal,
)

from keyfs.testing.stores import RealStore, restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
CELLS = json.loads((VECTORS / "secure_cell.json").read_text())["cases"]
CONTAINERS = json.loads((VECTORS / "themis_keys.json").read_text())["cases"]
IDS = json.loads((VECTORS / "client_ids.json").read_text())["cases"]


def public_directory(store: RealStore) -> Path | None:
    public = store.manifest.get("public_dir")
    return store.root.with_name(public) if public else None


def read_real(store: RealStore) -> independent_reader.Contents:
    return read_store(store.root, public_directory(store), base64.b64decode(store.master_key))


def imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_it_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    imported = imported_by(Path(independent_reader.__file__))
    assert imported <= sys.stdlib_module_names | {"cryptography"}
    assert "importlib" not in imported


@pytest.mark.parametrize("name", ["v1-dir", "v1-split", "v1-master48", "v1-legacy"])
def test_it_reads_every_version_that_acra_wrote(name: str, tmp_path: Path) -> None:
    store = restore_real_store(VECTORS, name, tmp_path)
    contents = read_real(store)
    versions = [version for version in store.manifest["versions"] if "path" in version]
    modern = {v["path"]: bytes.fromhex(v["plaintext_hex"]) for v in versions if "legacy" not in v["kind"]}
    roots = (store.root, public_directory(store) or store.root)
    found = {
        str(
            key.path.relative_to(next(root for root in roots if key.path.is_relative_to(root)))
        ): key.plaintext
        for key in contents.keys
    }
    assert found == modern
    assert len(contents.keys) + len(contents.ignored) == len(versions)


def test_it_reads_every_version_that_acra_wrote_to_redis() -> None:
    dump = json.loads((VECTORS / "v1-redis.json").read_bytes())
    values = {entry["key"]: base64.b64decode(entry["value_base64"]).decode() for entry in dump["keys"]}
    master_key = base64.b64decode(dump["manifest"]["master_key_env"]["ACRA_MASTER_KEY"])
    contents = read_redis(values, ".acrakeys", master_key)
    assert {str(key.path): key.plaintext for key in contents.keys} == {
        f".acrakeys/{version['path']}": bytes.fromhex(version["plaintext_hex"])
        for version in dump["manifest"]["versions"]
        if version["state"] != "destroyed"
    }
    assert not contents.ignored


def small_redis() -> tuple[dict[str, str], bytes]:
    dump = json.loads((VECTORS / "small-redis.json").read_bytes())
    values = {entry["key"]: entry["value"] for entry in dump["entries"]}
    return values, bytes.fromhex(dump["master_key_hex"])


def test_it_takes_only_what_lies_under_the_prefix() -> None:
    values, master_key = small_redis()
    contents = read_redis(values, ".acrakeys", master_key)
    assert len(contents.keys) == len([name for name in values if name.startswith(".acrakeys/")])
    assert len(contents.keys) == len(values) - 2


SPOILED_IN_REDIS: dict[str, Callable[[dict[str, str]], object]] = {
    "no base64": lambda values: values.update({".acrakeys/alice1_hmac": "*"}),
    "no padding": lambda values: values.update(
        {".acrakeys/alice1_hmac": values[".acrakeys/alice1_hmac"][:-1]}
    ),
    "line break": lambda values: values.update(
        {".acrakeys/alice1_hmac": values[".acrakeys/alice1_hmac"] + "\n"}
    ),
    "empty temporary": lambda values: values.update({".acrakeys/alice1_hmac77": ""}),
    "no stamp": lambda values: values.update(
        {".acrakeys/alice1_hmac.old/1": values[".acrakeys/alice1_hmac"]}
    ),
    "a directory": lambda values: values.update({".acrakeys/x/alice1_hmac": values[".acrakeys/alice1_hmac"]}),
    "half missing": lambda values: values.pop(".acrakeys/alice1_storage.pub"),
    "blob of another key": lambda values: values.update(
        {".acrakeys/alice1_hmac": values[".acrakeys/secure_log_key"]}
    ),
}


@pytest.mark.parametrize("spoil", SPOILED_IN_REDIS.values(), ids=SPOILED_IN_REDIS)
def test_it_refuses_what_acra_never_writes_to_redis(spoil: Callable[[dict[str, str]], object]) -> None:
    values, master_key = small_redis()
    spoil(values)
    with pytest.raises(StoreRefused):
        read_redis(values, ".acrakeys", master_key)


@pytest.mark.parametrize("cell", [c for c in CELLS if c["mode"] == "key"], ids=lambda cell: str(cell["id"]))
def test_it_opens_no_cell_that_libthemis_does_not_open(cell: dict[str, str]) -> None:
    sealed, key, context = (bytes.fromhex(cell[f"{part}_hex"]) for part in ("sealed", "key", "context"))
    if cell["expect"] == "ok" and cell["group"] == "positive":
        assert unseal(sealed, key, context).hex() == cell["plaintext_hex"]
    elif cell["expect"] != "ok":
        with pytest.raises(StoreRefused):
            unseal(sealed, key, context)


@pytest.mark.parametrize("case", CONTAINERS, ids=lambda case: str(case["id"]))
def test_it_takes_only_the_containers_that_libthemis_takes(case: dict[str, str]) -> None:
    data = bytes.fromhex(case["hex"])
    if case["valid"] and len(data) == 45:
        container_payload(data, data[:4])
        if "public_hex" in case:
            assert public_of(data).hex() == case["public_hex"]
    else:
        with pytest.raises(StoreRefused):
            container_payload(data, b"UEC2" if data[:4] == b"UEC2" else b"REC2")


@pytest.mark.parametrize("name", [name for case in IDS for name in case.get("files", ())])
def test_it_lists_what_acra_lists(name: str) -> None:
    assert check_listed(name)


@pytest.mark.parametrize(
    "name",
    ["my_client", "notes_1.txt", "subdir_x", "alice_storage_sym7491238890363647508", "alice_hmac1", "_"],
)
def test_it_refuses_names_that_stop_acra(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="lister"):
        check_listed(name)
    store = restore_real_store(VECTORS, "v1-master48", tmp_path)
    (store.root / name).touch(0o600)
    with pytest.raises(StoreRefused):
        read_real(store)


@pytest.mark.parametrize("name", ["README.md", "lost", "alice"])
def test_it_passes_over_names_that_acra_only_warns_of(name: str, tmp_path: Path) -> None:
    store = restore_real_store(VECTORS, "v1-master48", tmp_path)
    (store.root / name).touch(0o600)
    assert read_real(store).ignored == (store.root / name,)


SPOILED: dict[str, Callable[[Path], object]] = {
    "root mode": lambda root: root.chmod(0o750),
    "file mode": lambda root: (root / "alice_hmac").chmod(0o640),
    "public mode": lambda root: (root / "alice_storage.pub").chmod(0o600),
    "history directory mode": lambda root: (root / "alice_hmac.old").chmod(0o755),
    "poison directory mode": lambda root: (root / ".poison_key").chmod(0o755),
    "trailing zero": lambda root: retire(root, "2026-11-24T02:46:53.10"),
    "zone suffix": lambda root: retire(root, "2026-11-24T02:46:53Z"),
    "stray directory": lambda root: (root / "extra").mkdir(),
    "symbolic link": lambda root: (root / "extra").symlink_to("alice_hmac"),
    "blob of another key": lambda root: shutil.copy2(root / ".poison_key/poison_key", root / "alice_storage"),
    "half of another pair": lambda root: shutil.copy2(
        root / ".poison_key/poison_key.pub", root / "alice_storage.pub"
    ),
    "half missing": lambda root: (root / "alice_storage.pub").unlink(),
    "client id too short": lambda root: shutil.copy2(root / "alice_hmac", root / "bob_hmac"),
}


def retire(root: Path, label: str) -> None:
    shutil.copy2(root / "alice_hmac", root / "alice_hmac.old" / label)


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_it_refuses_what_acra_never_writes(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    store = restore_real_store(VECTORS, "v1-master48", tmp_path)
    read_real(store)
    spoil(store.root)
    with pytest.raises(StoreRefused):
        read_real(store)


def test_it_refuses_a_public_key_in_the_private_directory(tmp_path: Path) -> None:
    store = restore_real_store(VECTORS, "v1-split", tmp_path)
    public = public_directory(store)
    assert public is not None
    shutil.move(public / "alice_storage.pub", store.root)
    with pytest.raises(StoreRefused, match="wrong directory"):
        read_real(store)


def test_both_halves_of_a_pair_carry_the_label_of_the_private_one(tmp_path: Path) -> None:
    contents = read_real(restore_real_store(VECTORS, "v1-master48", tmp_path))
    labels = {(half, label) for purpose, _, half, label in contents.by_label() if purpose == "storage"}
    stamp = "2026-11-24T02:46:53.407182593"
    assert labels == {(half, label) for half in ("private", "public") for label in (stamp, "current")}
