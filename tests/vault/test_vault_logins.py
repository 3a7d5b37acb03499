"""Every way to log in to Vault, and what is wrong with each."""

import base64
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import JWT, ROLE_ID, SECRET_ID, TOKEN, filled_vault, forget_machine, private, refused

from keyfs.errors import InsecurePermissions, InvalidSettings, KeyServiceUnavailable, MasterKeyUnavailable
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import CANARY
from keyfs.testing.vault_access import READ, Role, Token
from keyfs.testing.vault_double import Fault, VaultDouble


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VaultDouble]:
    forget_machine(monkeypatch, tmp_path, token=None)
    with filled_vault() as vault:
        yield vault


def uri(vault: VaultDouble, **options: object) -> str:
    return "&".join(
        [f"vault:secret/acra/keys?address={vault.address}", *(f"{name}={it}" for name, it in options.items())]
    )


def opens(text: str) -> bool:
    return open_provider(text, "v1").fetch().encryption.reveal() == CANARY


def approle(vault: VaultDouble, folder: Path, **options: object) -> str:
    path = private(folder / "secret-id", f"{SECRET_ID}\n")
    return uri(vault, **{"auth": "approle", "role_id": ROLE_ID, "secret_id_file": path, **options})


def kubernetes(vault: VaultDouble, folder: Path, **options: object) -> str:
    path = folder / "jwt"
    path.write_text(JWT)  # open to others, as Kubernetes itself mounts it
    return uri(vault, **{"auth": "kubernetes", "role": "keyfs", "jwt_file": path, **options})


# --- where Vault is ---


def test_the_address_may_be_in_the_variable_of_vault(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("VAULT_ADDR", f"{vault.address}/")
    assert opens("vault:secret/acra/keys")


def test_without_an_address_nobody_is_asked(vault: VaultDouble) -> None:
    assert "VAULT_ADDR" in refused(InvalidSettings, "vault:secret/acra/keys")
    assert vault.seen == []


@pytest.mark.parametrize(
    "address",
    [
        "vault",
        "ftp://vault",
        "https://",
        "https://u:hvs.secret@vault",
        "https://v?x=1",
        "https://v:x",
        "http://a b",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    message = refused(InvalidSettings, f"vault:secret/acra/keys?address={address.replace('?', '%3F')}")
    assert "the address of Vault" in message
    assert "hvs.secret" not in message


@pytest.mark.parametrize("from_variable", [True, False])
def test_the_namespace_is_sent(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch, from_variable: bool
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    vault.namespace = "team/a"
    assert "namespace" in refused(MasterKeyUnavailable, uri(vault))
    if from_variable:
        monkeypatch.setenv("VAULT_NAMESPACE", "team/a")
    assert opens(uri(vault) if from_variable else uri(vault, namespace="team/a"))


# --- token ---


def test_a_token_file_comes_first(
    vault: VaultDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_API_TOKEN", base64.b64encode(b"hvs.another").decode())
    assert opens(uri(vault, token_file=private(tmp_path / "token", f"{TOKEN}\n")))


def test_the_variable_of_acra_is_base64_and_line_feeds_behind_the_token_do_not_matter(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_API_TOKEN", base64.b64encode(f"{TOKEN}\n".encode()).decode())
    monkeypatch.setenv("VAULT_TOKEN", "hvs.another")
    assert opens(uri(vault))


@pytest.mark.parametrize("value", [TOKEN, base64.b64encode(TOKEN.encode()).decode()[:-1], "!", "AAAA"])
def test_what_is_no_base64_of_a_token_is_not_repeated(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("VAULT_API_TOKEN", value)
    message = refused(InvalidSettings, uri(vault))
    assert "VAULT_API_TOKEN" in message
    assert value not in message


def test_the_token_of_vault_login_comes_last(vault: VaultDouble, tmp_path: Path) -> None:
    private(tmp_path / ".vault-token", TOKEN)
    assert opens(uri(vault))


def test_no_token_anywhere_is_one_line_with_the_places(vault: VaultDouble) -> None:
    message = refused(InvalidSettings, uri(vault))
    assert all(place in message for place in ("token_file=", "VAULT_API_TOKEN", "VAULT_TOKEN", "auth="))


@pytest.mark.parametrize("option", ["token_file", "secret_id_file"])
def test_a_secret_open_to_others_is_refused_with_the_command_that_mends_it(
    vault: VaultDouble, tmp_path: Path, option: str
) -> None:
    path = private(tmp_path / "it's secret", TOKEN if option == "token_file" else SECRET_ID)
    path.chmod(0o640)
    is_token = option == "token_file"
    text = uri(vault, token_file=path) if is_token else approle(vault, tmp_path, secret_id_file=path)
    command = shlex.split(refused(InsecurePermissions, text).partition("run: ")[2])
    assert command == ["chmod", "600", str(path)]
    os.chmod(command[2], int(command[1], 8))
    assert opens(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no login"),
        ("a b", "holds no login"),
        ("a\nX-Header: b", "holds no login"),
        ("é", "no login"),
    ],
)
def test_what_is_no_token_is_refused(vault: VaultDouble, tmp_path: Path, content: str, words: str) -> None:
    assert words in refused(InvalidSettings, uri(vault, token_file=private(tmp_path / "t", content)))
    assert vault.seen == []


def test_a_token_file_that_is_no_file_is_refused(vault: VaultDouble, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in refused(InvalidSettings, uri(vault, token_file=tmp_path / "fifo"))
    assert "not a regular file" in refused(InvalidSettings, uri(vault, token_file=tmp_path))
    assert "cannot be read" in refused(InvalidSettings, uri(vault, token_file=tmp_path / "absent"))
    private(tmp_path / "long", "a" * 70_000)
    assert "longer than" in refused(InvalidSettings, uri(vault, token_file=tmp_path / "long"))


def test_a_relative_token_file_survives_a_change_of_directory(
    vault: VaultDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private(tmp_path / "token", TOKEN)
    monkeypatch.chdir(tmp_path)
    provider = open_provider(uri(vault, token_file="token"), "v1")
    monkeypatch.chdir("/")
    assert provider.fetch().encryption.reveal() == CANARY


@pytest.mark.parametrize("token", [Token(ends_at=0.0), None])
def test_an_expired_token_is_told_from_one_that_may_not(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch, token: Token | None
) -> None:
    vault.access.tokens = {} if token is None else {TOKEN: token}
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    message = refused(MasterKeyUnavailable, uri(vault))
    assert "expired, revoked" in message
    vault.access.tokens = {TOKEN: Token({"secret/data/other": READ})}
    message = refused(MasterKeyUnavailable, uri(vault))
    assert message.endswith("allow read on secret/data/acra/keys")


# --- AppRole and Kubernetes ---


def test_an_app_role_logs_in_and_its_token_is_given_back(vault: VaultDouble, tmp_path: Path) -> None:
    assert opens(approle(vault, tmp_path))
    assert list(vault.access.tokens) == [TOKEN]


def test_a_login_sends_no_token_that_lies_around(
    vault: VaultDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    private(tmp_path / ".vault-token", TOKEN)
    assert opens(approle(vault, tmp_path))
    assert TOKEN not in [seen.headers.get("X-Vault-Token") for seen in vault.seen]


def test_a_vault_that_went_away_is_not_asked_to_take_a_token_back(vault: VaultDouble, tmp_path: Path) -> None:
    vault.faults["secret/data/acra/keys"] = Fault(503)
    assert "answers 503" in refused(KeyServiceUnavailable, approle(vault, tmp_path))
    assert "auth/token/revoke-self" not in [seen.path for seen in vault.seen]


def test_a_secret_id_may_be_in_a_variable(vault: VaultDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    text = uri(vault, auth="approle", role_id=ROLE_ID, secret_id_env="KEYFS_TEST_SECRET_ID")
    assert "which is not set" in refused(InvalidSettings, text)
    monkeypatch.setenv("KEYFS_TEST_SECRET_ID", SECRET_ID)
    assert opens(text)


def test_a_pod_logs_in_with_its_service_account(vault: VaultDouble, tmp_path: Path) -> None:
    assert opens(kubernetes(vault, tmp_path))
    assert list(vault.access.tokens) == [TOKEN]


def test_logins_may_be_mounted_elsewhere(vault: VaultDouble, tmp_path: Path) -> None:
    vault.access.app_roles["team/a"] = {ROLE_ID: Role(SECRET_ID)}
    vault.access.pods["cluster-2"] = {"keyfs": Role(JWT)}
    del vault.access.app_roles["approle"], vault.access.pods["kubernetes"]
    assert opens(approle(vault, tmp_path, auth_mount="team/a"))
    assert opens(kubernetes(vault, tmp_path, auth_mount="/cluster-2/"))
    assert "auth_mount=" in refused(MasterKeyUnavailable, approle(vault, tmp_path))


def test_a_refused_login_says_what_to_check(vault: VaultDouble, tmp_path: Path) -> None:
    message = refused(MasterKeyUnavailable, approle(vault, tmp_path, role_id="another"))
    assert "refuses the login at auth/approle (invalid role or secret ID)" in message
    message = refused(MasterKeyUnavailable, kubernetes(vault, tmp_path, role="another"))
    assert "refuses the login at auth/kubernetes (invalid role name)" in message
    vault.access.pods["kubernetes"] = {"keyfs": Role("another.jwt")}
    message = refused(MasterKeyUnavailable, kubernetes(vault, tmp_path))
    assert "refuses the login at auth/kubernetes (permission denied)" in message


def test_a_login_that_must_not_read_says_so_and_its_token_is_given_back(
    vault: VaultDouble, tmp_path: Path
) -> None:
    vault.access.app_roles["approle"][ROLE_ID].policy = {"secret/data/other": READ}
    assert "allow read on" in refused(MasterKeyUnavailable, approle(vault, tmp_path))
    assert list(vault.access.tokens) == [TOKEN]


def test_a_token_that_cannot_be_given_back_does_not_matter(vault: VaultDouble, tmp_path: Path) -> None:
    vault.faults["auth/token/revoke-self"] = Fault(500)
    assert opens(approle(vault, tmp_path))


def test_a_login_without_a_token_is_refused(vault: VaultDouble, tmp_path: Path) -> None:
    for body in (b'{"auth":null}', b'{"auth":{"client_token":""}}', b'{"auth":{"mfa_requirement":{}}}'):
        vault.faults["auth/approle/login"] = Fault(200, body)
        assert "refuses the login" in refused(MasterKeyUnavailable, approle(vault, tmp_path))


def test_a_pod_without_a_service_account_is_one_line(vault: VaultDouble, tmp_path: Path) -> None:
    text = kubernetes(vault, tmp_path, jwt_file=tmp_path / "absent")
    assert "service account token" in refused(InvalidSettings, text)


def test_an_outage_at_the_login_is_an_outage(vault: VaultDouble, tmp_path: Path) -> None:
    vault.faults["auth/approle/login"] = Fault(502, b"<html>bad gateway</html>")
    assert "answers 502" in refused(KeyServiceUnavailable, approle(vault, tmp_path))
