"""The providers of Vault keep the contract: both key-value stores, and Transit with a wrapped key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import filled_vault, forget_machine, secret_of

from keyfs.core.secret import Secret
from keyfs.errors import MasterKeyUnavailable
from keyfs.master.registry import open_key, open_provider
from keyfs.testing.master_contract import (
    CANARY,
    CANARY_SIGNATURE,
    V1_TEXT,
    V2_TEXT,
    MasterKeyContract,
    Put,
    assert_no_secret,
    base64,
)
from keyfs.testing.vault_double import VaultDouble
from keyfs.testing.vault_engines import KV1, KV2

V2_DOCUMENT = b'{"encryption":"%b","signature":"%b"}' % (base64(CANARY), base64(CANARY_SIGNATURE))


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


class TestTransit(MasterKeyContract):
    """What is wrapped is the raw key or the JSON text, not the base64 around it, so `put` takes that off."""

    @pytest.fixture
    def put(self, vault: VaultDouble, monkeypatch: pytest.MonkeyPatch) -> Put:
        uri = f"vault-transit:acra?address={vault.address}&from=env:WRAPPED_KEY"
        material = {V1_TEXT: CANARY, V2_TEXT: V2_DOCUMENT}

        def put(text: bytes | None) -> str:
            monkeypatch.delenv("WRAPPED_KEY", raising=False)
            if text is not None:
                joined = text.translate(None, b"\r\n")
                wrapped = open_key(uri).wrap(Secret(material.get(joined, text))).decode()
                has_breaks = joined != text  # then put them where they matter here
                monkeypatch.setenv(
                    "WRAPPED_KEY", f"{wrapped[:30]}\r\n{wrapped[30:]}\n" if has_breaks else wrapped
                )
            return uri

        return put

    @pytest.mark.parametrize(
        ("layout", "text"),
        [
            ("v1", b""),
            ("v1", CANARY[:-1]),
            ("v1", V2_DOCUMENT),
            ("v2", b""),
            ("v2", CANARY),
            ("v2", V2_TEXT + b" "),
            ("v2", V2_DOCUMENT[:-1]),
            ("v2", b'{"encryption":"%b"}' % base64(CANARY)),
            ("v2", b'{"encryption":"%b","signature":"%b"}' % (base64(CANARY), base64(CANARY))),
            ("v2", b'{"encryption":"%b","signature":"%b"}' % (base64(CANARY), base64(CANARY[1:]))),
            ("v2", b'{"encryption":"%b","signature":"%b"}' % (CANARY, CANARY_SIGNATURE)),
        ],
        ids=range(11),
    )
    def test_a_bad_text_is_refused_at_once_and_not_repeated(self, put: Put, layout: str, text: bytes) -> None:
        """There is no outer base64 to be wrong, so the cases are those of the bytes inside."""
        provider = open_provider(put(text), layout)
        with pytest.raises(MasterKeyUnavailable) as caught:
            provider.fetch()
        assert "\n" not in str(caught.value)
        assert_no_secret(str(caught.value))
        assert caught.value.__context__ is None
