"""`keyfs master-key` with a real wrapping key, one in SoftHSM2, in processes of their own."""

import base64
from pathlib import Path

import pytest
from softhsm import SoftHSM

from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_real_store

HSM_KEY = "pkcs11:token=keyfs;object=acra"  # without what says where module and PIN are
VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHSM:
    """One token without any key."""
    made = SoftHSM(tmp_path_factory.mktemp("hsm"))
    made.add_token("keyfs")
    return made


@pytest.fixture
def store(tmp_path: Path) -> RealStore:
    return restore_real_store(VECTORS, "v1-dir", tmp_path)


@pytest.fixture
def environment(hsm: SoftHSM, store: RealStore) -> dict[str, str]:
    """With the plain master key where Acra has it."""
    return {**store.environment, "SOFTHSM2_CONF": str(hsm.conf)}


def said(*words: str, environment: dict[str, str], code: int = 0) -> tuple[str, str]:
    done = run_keyfs("master-key", *words, environment=environment)
    assert done.returncode == code, done.stderr
    return done.stdout.decode(), done.stderr.decode()


def test_a_store_of_acra_goes_on_with_its_key_wrapped(
    hsm: SoftHSM, store: RealStore, environment: dict[str, str], tmp_path: Path, fuse_required: None
) -> None:
    """The plain key is gone from everywhere, and a mount still reads what Acra wrote."""
    uri = hsm.uri(options="&from=store:hsm")
    out, err = said("wrap", "--wrap", uri, "--create", environment=environment)
    assert out == ""
    assert "made AES-256 key 'acra' in token 'keyfs'\n" in err or "is in token 'keyfs' already" in err
    assert err.endswith("and it opens: kept in 'hsm' beside the key store\n")
    del environment["ACRA_MASTER_KEY"]
    settings = environment | {"KEYFS_MASTER_KEY": uri}
    out, err = said("unwrap-check", environment=settings)
    assert (out, err) == ("", f"opens: a v1 master key of 32 bytes, {HSM_KEY}\nopens: {store.uri}\n")
    wanted = bytes.fromhex(store.manifest["acra_keys_read"]["client/alice/symmetric"]["hex"])
    with mounted(tmp_path / "mount", environment=settings) as mountpoint:
        assert (mountpoint / "storage-sym/alice/current").read_bytes() == wanted


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_a_new_key_is_printed_wrapped_and_opens(
    hsm: SoftHSM, environment: dict[str, str], layout: str
) -> None:
    alone = environment | {"KEYFS_STORE": "", "KEYFS_LAYOUT": layout}
    text, _ = said("generate", "--wrap", hsm.uri(), "--create", environment=alone)
    assert text.count("\n") == 1
    assert len(base64.b64decode(text)) > 32
    wrapped = alone | {"ACRA_MASTER_KEY": text.strip()}
    said("unwrap-check", "--master-key", hsm.uri(), environment=wrapped)
    elsewhere = hsm.uri("token=keyfs;object=nobody")
    _, err = said("unwrap-check", "--master-key", elsewhere, environment=wrapped, code=7)
    assert "no key 'nobody'" in err


def test_what_is_wrapped_already_is_not_taken_for_a_plain_key(
    hsm: SoftHSM, environment: dict[str, str]
) -> None:
    """It is base64 of many bytes, as a v1 key is, and lies in the same variable."""
    text, _ = said("wrap", "--wrap", hsm.uri(), "--create", environment=environment)
    wrapped = environment | {"ACRA_MASTER_KEY": text.strip()}
    out, err = said("wrap", "--wrap", hsm.uri(), environment=wrapped, code=7)
    assert out == ""
    assert "env:ACRA_MASTER_KEY holds no master key, but one that pkcs11:" in err
    again, _ = said("wrap", "--wrap", hsm.uri(), "--master-key", hsm.uri(), environment=wrapped)
    assert again not in ("", text)
