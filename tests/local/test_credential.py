"""`credential:` keeps the contract, and refuses what systemd would not have made."""

import os
from pathlib import Path

import pytest
from refused import refusal

from keyfs.errors import InsecurePermissions, InvalidSettings
from keyfs.master.file import SIZE_LIMIT
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import CANARY, V1_TEXT, MasterKeyContract, Put

URI = "credential:acra.key"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def lay(folder: Path, mode: int = 0o400, text: bytes = V1_TEXT) -> Path:
    path = folder / "acra.key"
    path.unlink(missing_ok=True)
    path.write_bytes(text)
    path.chmod(mode)
    return path


class TestCredential(MasterKeyContract):
    @pytest.fixture
    def put(self, folder: Path) -> Put:
        def put(text: bytes | None) -> str:
            if text is None:
                (folder / "acra.key").unlink(missing_ok=True)
            else:
                lay(folder, text=text)
            return URI

        return put


@pytest.mark.parametrize("folder", ["", "relative/place", None])
def test_without_a_credentials_directory_the_line_says_how_a_unit_gets_one(
    folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if folder is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", folder)
    message = refusal(URI)
    assert message.startswith("no credentials directory")
    assert "LoadCredentialEncrypted=acra.key:PATH" in message


def test_a_credential_that_is_not_there_is_named_with_the_line_that_adds_it(folder: Path) -> None:
    message = refusal(URI)
    assert str(folder / "acra.key") in message
    assert "LoadCredential=acra.key:PATH" in message


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "/a", "a:b", "a b", "a\n", "schlüssel", "a" * 44, V1_TEXT.decode(), CANARY.hex()],
)
def test_what_is_no_name_of_a_credential_is_refused_and_not_repeated(folder: Path, name: str) -> None:
    message = refusal(f"credential:{name}", InvalidSettings)
    assert "such as credential:acra" in message
    assert len(name) < 4 or name not in message


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o402, 0o401, 0o420, 0o410])
def test_a_credential_open_to_others_is_refused(folder: Path, mode: int) -> None:
    lay(folder, mode)
    assert f"mode {mode:04o}" in refusal(URI, InsecurePermissions)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600])
def test_what_systemd_makes_is_taken(folder: Path, mode: int) -> None:
    """0440 is 0400 with an access list for the unit's user."""
    lay(folder, mode)
    assert open_provider(URI, "v1").fetch().encryption.reveal() == CANARY


def test_a_fifo_is_refused_without_waiting_for_a_writer(folder: Path) -> None:
    os.mkfifo(folder / "acra.key", 0o400)
    assert "not a regular file" in refusal(URI)


def test_an_endless_credential_is_not_read_to_its_end(folder: Path) -> None:
    lay(folder, text=b"A" * (SIZE_LIMIT + 1))
    assert "longer than" in refusal(URI)
