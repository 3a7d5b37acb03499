"""TLS with Vault: whom keyfs believes, and whom it shows a certificate."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import assert_harmless, filled_vault, forget_machine, private, refused

from keyfs.errors import InvalidSettings, KeyServiceUnavailable
from keyfs.master.registry import open_provider
from keyfs.testing.certificates import SERVER_NAME, Authority
from keyfs.testing.master_contract import CANARY
from keyfs.testing.vault_double import VaultDouble


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Its server is called by a name only, not by its address."""
    return Authority(tmp_path_factory.mktemp("names"), (SERVER_NAME,))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_machine(monkeypatch, tmp_path)


@pytest.fixture
def vault(authority: Authority) -> Iterator[VaultDouble]:
    with filled_vault(authority.server) as vault:
        yield vault


@pytest.fixture
def strict(authority: Authority) -> Iterator[VaultDouble]:
    """It wants certificates of its clients."""
    with filled_vault(authority.server, authority.ca) as vault:
        yield vault


def uri(vault: VaultDouble, **options: object) -> str:
    return "&".join(
        [f"vault:secret/acra/keys?address={vault.address}", *(f"{name}={it}" for name, it in options.items())]
    )


def opens(text: str) -> bool:
    return open_provider(text, "v1").fetch().encryption.reveal() == CANARY


def assert_wants_certificate(text: str) -> None:
    """In TLS 1.3 the server refuses after the handshake; its alert may come too late to be read."""
    with pytest.raises((InvalidSettings, KeyServiceUnavailable), match="tls_cert=") as caught:
        open_provider(text, "v1").fetch()
    assert_harmless(caught.value)


def test_the_right_authority_is_believed(vault: VaultDouble, authority: Authority) -> None:
    assert opens(uri(vault, tls_ca=authority.ca))


def test_the_variable_of_vault_names_the_authority(
    vault: VaultDouble, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_CACERT", str(authority.ca))
    assert opens(uri(vault))


def test_an_unknown_authority_is_not_believed_and_gets_no_token(
    vault: VaultDouble, by_name: Authority
) -> None:
    for text in (uri(vault), uri(vault, tls_ca=by_name.ca)):
        message = refused(InvalidSettings, text)
        assert "is not accepted" in message
        assert "tls_ca=" in message
    assert vault.seen == []


def test_a_server_of_another_name_is_not_believed_unless_that_name_is_given(by_name: Authority) -> None:
    with filled_vault(by_name.server) as vault:
        assert "tls_sni=" in refused(InvalidSettings, uri(vault, tls_ca=by_name.ca))
        assert "is not accepted" in refused(
            InvalidSettings, uri(vault, tls_ca=by_name.ca, tls_sni="other.example")
        )
        assert vault.seen == []
        assert opens(uri(vault, tls_ca=by_name.ca, tls_sni=SERVER_NAME))


def test_a_wrong_name_is_refused_even_where_the_address_would_do(
    vault: VaultDouble, authority: Authority
) -> None:
    text = uri(vault, tls_ca=authority.ca, tls_sni="other.example")
    assert "is not accepted" in refused(InvalidSettings, text)


def test_a_client_certificate_is_shown(strict: VaultDouble, authority: Authority) -> None:
    cert, key = authority.client
    assert opens(uri(strict, tls_ca=authority.ca, tls_cert=cert, tls_key=key))


def test_a_server_that_wants_a_client_certificate_says_so(strict: VaultDouble, authority: Authority) -> None:
    assert_wants_certificate(uri(strict, tls_ca=authority.ca))
    assert strict.seen == []


def test_a_client_certificate_of_another_authority_is_refused(
    strict: VaultDouble, authority: Authority, by_name: Authority
) -> None:
    cert, key = by_name.client
    assert_wants_certificate(uri(strict, tls_ca=authority.ca, tls_cert=cert, tls_key=key))


@pytest.mark.parametrize("option", ["tls_ca", "tls_cert"])
def test_a_file_that_holds_no_certificate_is_named(
    vault: VaultDouble, authority: Authority, tmp_path: Path, option: str
) -> None:
    options: dict[str, object] = {"tls_ca": authority.ca, option: private(tmp_path / "garbage", "garbage")}
    assert f"{option}=" in refused(InvalidSettings, uri(vault, **options))


@pytest.mark.parametrize("option", ["tls_ca", "tls_cert"])
def test_a_file_that_is_not_there_is_a_wrong_setting(
    vault: VaultDouble, authority: Authority, tmp_path: Path, option: str
) -> None:
    options: dict[str, object] = {"tls_ca": authority.ca, option: tmp_path / "absent"}
    assert "tls_" in refused(InvalidSettings, uri(vault, **options))


def test_a_port_that_nobody_listens_at_is_no_question_of_certificates(authority: Authority) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        text = f"vault:secret/a?address=https://127.0.0.1:{unused.getsockname()[1]}&tls_ca={authority.ca}"
        assert refused(KeyServiceUnavailable, text).endswith("cannot be reached (Connection refused)")


def test_http_to_a_port_of_https_and_the_reverse_are_told(vault: VaultDouble, authority: Authority) -> None:
    plain = f"vault:secret/acra/keys?address=http://127.0.0.1:{vault.port}"
    refused(KeyServiceUnavailable, plain)
    with filled_vault() as other:
        text = f"vault:secret/acra/keys?address=https://127.0.0.1:{other.port}&tls_ca={authority.ca}"
        assert "check address=" in refused(InvalidSettings, text)
