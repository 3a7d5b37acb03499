"""The providers of Vault keep the contract: both key-value stores, and Transit with a wrapped key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import filled_vault, forget_machine, secret_of

from keyfs.errors import MasterKeyUnavailable
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import (
    MasterKeyContract,
    Put,
    WrappedMasterKeyContract,
    wrapped,
)
from keyfs.testing.vault_double import VaultDouble
from keyfs.testing.vault_engines import KV1, KV2


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VaultDouble]:
    forget_machine(monkeypatch, tmp_path)
    with filled_vault() as vault:
        yield vault


class TestKeyValue1(MasterKeyContract):
    @pytest.fixture
    def put(self, vault: VaultDouble) -> Put:
        store = vault.mounts["old"]
        assert isinstance(store, KV1)

        def put(text: bytes | None) -> str:
            store.secrets = {} if text is None else {"acra/keys": secret_of(text)}
            return f"vault:old/acra/keys?address={vault.address}"

        return put


class TestKeyValue2(MasterKeyContract):
    @pytest.fixture
    def put(self, vault: VaultDouble) -> Put:
        store = vault.mounts["secret"]
        assert isinstance(store, KV2)

        def put(text: bytes | None) -> str:
            store.secrets.clear()
            if text is not None:
                store.put("acra/keys", secret_of(text))
            return f"vault:secret/acra/keys?address={vault.address}"

        return put


class TestTransit(WrappedMasterKeyContract):
    @pytest.fixture
    def put(self, vault: VaultDouble, monkeypatch: pytest.MonkeyPatch) -> Put:
        uri = f"vault-transit:acra?address={vault.address}&from=env:WRAPPED_KEY"

        def put(text: bytes | None) -> str:
            monkeypatch.delenv("WRAPPED_KEY", raising=False)
            if text is not None:
                monkeypatch.setenv("WRAPPED_KEY", wrapped(uri, text).decode())
            return uri

        return put

    @pytest.mark.parametrize("layout", ["v1", "v2"])
    def test_an_empty_key_is_refused(self, put: Put, layout: str) -> None:
        """Others do not even wrap it."""
        with pytest.raises(MasterKeyUnavailable):
            open_provider(put(b""), layout).fetch()
