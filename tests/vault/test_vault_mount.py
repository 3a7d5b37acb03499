"""Mounts whose master key comes from Vault: a store that Acra made, read through the kernel."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import TOKEN, filled_vault, secret_of

from keyfs.core.secret import Secret
from keyfs.master.registry import open_key
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_real_store
from keyfs.testing.vault_double import VaultDouble
from keyfs.testing.vault_engines import KV1, KV2

VECTORS = Path(__file__).parents[1] / "vectors"
EXIT_NO_KEY_SERVICE = 21


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RealStore:
    return restore_real_store(VECTORS, "v1-dir", tmp_path_factory.mktemp("real"))


@pytest.fixture
def vault(store: RealStore) -> Iterator[VaultDouble]:
    with filled_vault() as vault:
        kv1, kv2 = vault.mounts["old"], vault.mounts["secret"]
        assert isinstance(kv1, KV1)
        assert isinstance(kv2, KV2)
        kv1.secrets["acra/keys"] = secret_of(store.master_key.encode())
        kv2.put("acra/keys", secret_of(store.master_key.encode()))
        yield vault


def environment(store: RealStore, master_key: str, **more: str) -> dict[str, str]:
    token = base64.b64encode(TOKEN.encode()).decode()
    return {"KEYFS_STORE": store.uri, "KEYFS_MASTER_KEY": master_key, "VAULT_API_TOKEN": token, **more}


def digests(mountpoint: Path) -> set[str]:
    """Of every key there is to read. No key is kept: no test shows one."""
    files = [path for path in mountpoint.glob("*/*/*") if path.name != "rotate"]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def by_acra(store: RealStore) -> set[str]:
    """What Acra itself reads there."""
    versions = [one for one in store.manifest["versions"] if one["state"] != "destroyed"]
    return {hashlib.sha256(bytes.fromhex(one["plaintext_hex"])).hexdigest() for one in versions}


@pytest.mark.parametrize("path", ["secret/acra/keys", "old/acra/keys"])
def test_a_mount_reads_what_acra_reads_and_goes_on_without_vault(
    fuse_required: None, store: RealStore, vault: VaultDouble, by_acra: set[str], path: str, tmp_path: Path
) -> None:
    settings = environment(store, f"vault:{path}?address={vault.address}")
    with mounted(tmp_path / "mount", environment=settings) as mountpoint:
        vault.is_sealed = True
        assert digests(mountpoint) == by_acra


def test_a_mount_unwraps_its_master_key_with_transit(
    fuse_required: None,
    store: RealStore,
    vault: VaultDouble,
    by_acra: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    uri = f"vault-transit:acra?address={vault.address}"
    wrapped = open_key(uri).wrap(Secret(base64.b64decode(store.master_key))).decode()
    settings = environment(store, uri, ACRA_MASTER_KEY=wrapped)
    with mounted(tmp_path / "mount", environment=settings) as mountpoint:
        assert digests(mountpoint) == by_acra


def test_a_sealed_vault_is_one_line_and_the_exit_code_of_an_outage(
    store: RealStore, vault: VaultDouble
) -> None:
    vault.is_sealed = True
    settings = environment(store, f"vault:secret/acra/keys?address={vault.address}")
    done = run_keyfs("check", environment=settings)
    assert done.returncode == EXIT_NO_KEY_SERVICE
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert TOKEN not in done.stderr.decode()
    assert "is sealed: run: vault operator unseal" in done.stderr.decode()
