"""`awskms:` keeps the contract of master keys at moto and at ministack, wherever the ciphertext is."""

import base64 as b64
from pathlib import Path

import pytest
from kmses import wrapped

from keyfs.core.secret import Secret
from keyfs.master.registry import open_key, open_provider
from keyfs.testing import master_contract as contract
from keyfs.testing.kms_servers import KMSServer
from keyfs.testing.master_contract import (
    CANARY,
    V2_DOCUMENT,
    Put,
    WrappedMasterKeyContract,
    base64,
)

pytest_plugins = ["aws_fixtures"]


class TestInTheVariableOfAcra(WrappedMasterKeyContract):
    """Without `from=` and without a key, as Acra has it."""

    @pytest.fixture
    def put(self, kms: KMSServer, monkeypatch: pytest.MonkeyPatch) -> Put:
        kms.make("alias/acra_master_key")

        def put(text: bytes | None) -> str:
            monkeypatch.delenv("ACRA_MASTER_KEY", raising=False)
            if text is not None:
                monkeypatch.setenv("ACRA_MASTER_KEY", contract.wrapped(kms.uri(), text).decode())
            return kms.uri()

        return put


class TestInAFile(WrappedMasterKeyContract):
    """With a context that is bound in."""

    @pytest.fixture
    def put(self, kms: KMSServer, tmp_path: Path) -> Put:
        path = tmp_path / "wrapped"
        uri = kms.uri("alias/other/name", **{"context.store": "a%20b", "from": f"file:{path}"})
        open_key(uri).create()

        def put(text: bytes | None) -> str:
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_bytes(contract.wrapped(uri, text))
            return uri

        return put


@pytest.mark.parametrize(("layout", "material"), [("v1", CANARY), ("v2", V2_DOCUMENT)])
@pytest.mark.parametrize("is_raw", [False, True])
def test_a_file_holds_base64_or_what_acra_keymaker_wrote(
    kms: KMSServer, tmp_path: Path, layout: str, material: bytes, is_raw: bool
) -> None:
    """acra-keymaker writes KMS's ciphertext as it is, and here a client that is not keyfs makes it."""
    kms.make("alias/acra_master_key")
    made = kms.client().encrypt(KeyId="alias/acra_master_key", Plaintext=material)["CiphertextBlob"]
    path = tmp_path / "wrapped"
    path.write_bytes(made if is_raw else base64(made))
    key = open_provider(kms.uri(**{"from": f"file:{path}"}), layout).fetch()
    assert key.encryption.reveal() == CANARY


def test_the_ciphertext_may_lie_beside_the_store(kms: KMSServer) -> None:
    kms.make("alias/acra_master_key")
    beside = {"master-key": wrapped(kms.uri())}
    provider = open_provider(kms.uri(**{"from": "store"}), "v1", beside.get)
    assert provider.fetch().encryption.reveal() == CANARY


def test_a_client_that_is_not_keyfs_opens_what_keyfs_wraps(kms: KMSServer) -> None:
    kms.make("alias/acra_master_key")
    text = wrapped(kms.uri())
    assert b"\n" not in text
    opened = kms.client().decrypt(
        KeyId="alias/acra_master_key", CiphertextBlob=b64.b64decode(text, validate=True)
    )
    assert opened["Plaintext"] == CANARY


def test_a_key_is_named_by_alias_id_and_arn(kms: KMSServer) -> None:
    arn = kms.make("alias/a/b_c-1")
    text = wrapped(kms.uri("alias/a/b_c-1"))
    alias_arn = arn.rpartition(":")[0] + ":alias/a/b_c-1"
    for name in ("alias/a/b_c-1", arn.rpartition("/")[2], arn, alias_arn, "alias%2Fa%2Fb_c-1"):
        assert open_key(kms.uri(name)).unwrap(text).reveal() == CANARY
        assert (
            open_key(kms.uri(name, region="")).unwrap(text).reveal() == CANARY
            if name.startswith("arn:")
            else True
        )


def test_a_key_of_its_own_is_made_once(kms: KMSServer) -> None:
    made = open_key(kms.uri()).create()
    assert made.startswith(f"made alias/acra_master_key in KMS at {kms.url} (arn:aws:kms:eu-west-1:")
    text = wrapped(kms.uri())
    assert open_key(kms.uri()).create().endswith("is there already and was left as it is")
    assert open_key(kms.uri()).unwrap(text).reveal() == CANARY
    assert len(kms.client().list_keys()["Keys"]) == 1


def test_nothing_is_wrapped_the_same_way_twice(moto: KMSServer) -> None:
    moto.make("alias/acra_master_key")
    key = open_key(moto.uri())
    assert key.wrap(Secret(CANARY)) != key.wrap(Secret(CANARY))
