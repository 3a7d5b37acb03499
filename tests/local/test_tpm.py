"""A master key sealed in a TPM 2.0, fetched with `command:` and tpm2-tools, nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from refused import refusal
from soft_tpm import SoftTPM

from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import CANARY, V1_TEXT
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.redis_servers import short_folder
from keyfs.testing.stores import restore_real_store

VECTORS = Path(__file__).parents[1] / "vectors"
PLAIN, LOCKED, BOUND = "0x81000001", "0x81000002", "0x81000003"


@pytest.fixture(scope="module")
def filled() -> Iterator[SoftTPM]:
    """One key free, one behind a password, one only for a machine that booted as this one did."""
    with short_folder() as folder:
        tpm = SoftTPM(folder)
        with tpm.running():
            tpm.seal(V1_TEXT, PLAIN)
            tpm.seal(V1_TEXT, LOCKED, "-p", "opensesame")
            tpm.tool("createpolicy", "--policy-pcr", "-l", "sha256:8", "-L", "policy")
            tpm.seal(V1_TEXT, BOUND, "-L", "policy")
        yield tpm


@pytest.fixture
def tpm(filled: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftTPM]:
    """After a restart of the TPM: sealed keys outlive it."""
    monkeypatch.setenv("TPM2TOOLS_TCTI", filled.tcti)
    with filled.running():
        yield filled


def unseal(handle: str, *options: str) -> str:
    return " ".join(["command:/usr/bin/tpm2_unseal -c", handle, *options])


def test_a_sealed_key_comes_out_of_the_tpm(tpm: SoftTPM) -> None:
    provider = open_provider(unseal(PLAIN), "v1")
    assert provider.fetch().encryption.reveal() == CANARY
    assert provider.fetch() == provider.fetch()


def test_a_sealed_key_opens_what_acra_wrote(tpm: SoftTPM, tmp_path: Path) -> None:
    store = restore_real_store(VECTORS, "v1-dir", tmp_path)
    handle = "0x81000010"
    tpm.seal(store.master_key.encode(), handle)
    environment = {
        "KEYFS_STORE": store.uri,
        "KEYFS_MASTER_KEY": unseal(handle),
        "TPM2TOOLS_TCTI": tpm.tcti,
    }
    done = run_keyfs("read", "storage-sym/alice", environment=environment)
    assert done.stdout.hex() == store.manifest["acra_keys_read"]["client/alice/symmetric"]["hex"], done.stderr


def test_the_password_of_a_sealed_key_comes_from_a_file(tpm: SoftTPM, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("opensesame")
    wrong.write_text("opensezame")
    key = open_provider(unseal(LOCKED, "-p", f"file:{right}"), "v1").fetch()
    assert key.encryption.reveal() == CANARY
    assert "tpm2_unseal failed with exit status" in refusal(unseal(LOCKED, "-p", f"file:{wrong}"))


def test_a_machine_that_booted_otherwise_gets_no_key(tpm: SoftTPM) -> None:
    uri = unseal(BOUND, "-p", "pcr:sha256:8")
    assert open_provider(uri, "v1").fetch().encryption.reveal() == CANARY
    tpm.tool("pcrextend", f"8:sha256={'1' * 64}")
    assert "tpm2_unseal failed with exit status" in refusal(uri)


def test_a_handle_that_holds_nothing_is_no_key(tpm: SoftTPM) -> None:
    assert "tpm2_unseal failed with exit status" in refusal(unseal("0x810000ff"))


def test_without_its_tpm_the_key_is_not_there(filled: SoftTPM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPM2TOOLS_TCTI", filled.tcti)
    assert "tpm2_unseal failed with exit status" in refusal(unseal(PLAIN))
