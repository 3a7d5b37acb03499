"""Vault when it is away, sealed, busy or somebody else: one line, in time, and no token to strangers."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import TOKEN, filled_vault, forget_machine, refused

from keyfs.errors import InvalidSettings, KeyServiceUnavailable, MasterKeyUnavailable
from keyfs.master import vault_answers
from keyfs.master.registry import open_key, open_provider
from keyfs.testing.vault_double import Fault, VaultDouble

BOUND_S = 20.0  # far more than our own time-outs, far less than hvac's 30 s and requests' for ever


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VaultDouble]:
    forget_machine(monkeypatch, tmp_path)
    with filled_vault() as vault:
        yield vault


def uri(vault: VaultDouble) -> str:
    return f"vault:secret/acra/keys?address={vault.address}"


def test_a_sealed_vault_is_an_outage_with_the_command_that_ends_it(vault: VaultDouble) -> None:
    vault.is_sealed = True
    message = refused(KeyServiceUnavailable, uri(vault))
    assert message == f"Vault at {vault.address} is sealed: run: vault operator unseal"
    vault.is_sealed = False
    assert open_provider(uri(vault), "v1").fetch()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "limits the rate"),
        (412, "412"),
        (500, "500"),
        (501, "501"),
        (502, "502"),
        (503, "503"),
        (504, "504"),
    ],
)
@pytest.mark.parametrize("path", ["sys/internal/ui/mounts", "secret/data/acra/keys"])
@pytest.mark.parametrize("body", [b'{"errors":["internal error"]}', b"<html>try again</html>", b""])
def test_what_may_pass_is_an_outage(
    vault: VaultDouble, status: int, words: str, path: str, body: bytes
) -> None:
    vault.faults[path] = Fault(status, body)
    assert words in refused(KeyServiceUnavailable, uri(vault))
    assert len([seen for seen in vault.seen if seen.path == path]) == 1, "nothing is retried"


def test_words_of_vault_that_may_hold_a_secret_are_not_repeated(vault: VaultDouble) -> None:
    vault.faults[""] = Fault(500, b'{"errors":["token %b is unknown","Vault is odd"]}' % TOKEN.encode())
    assert "odd" not in refused(KeyServiceUnavailable, uri(vault))
    vault.faults[""] = Fault(400, b'{"errors":["token %b is unknown"]}' % TOKEN.encode())
    refused(MasterKeyUnavailable, uri(vault))


def test_a_silent_vault_is_left_after_the_time_out(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vault_answers.ANSWER_WITHIN_S == 3.0
    monkeypatch.setattr("keyfs.master.vault_client.ANSWER_WITHIN_S", 0.2)
    vault.faults["secret/data/acra/keys"] = Fault(hangs=True)
    before = time.monotonic()
    assert "does not answer within" in refused(KeyServiceUnavailable, uri(vault))
    assert time.monotonic() - before < BOUND_S


def test_a_port_that_nobody_listens_at_is_an_outage(vault: VaultDouble) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        message = refused(KeyServiceUnavailable, f"vault:secret/a?address=http://127.0.0.1:{port}")
    assert message == f"Vault at http://127.0.0.1:{port} cannot be reached (Connection refused)"


def test_a_host_that_no_resolver_knows_is_an_outage(vault: VaultDouble) -> None:
    message = refused(KeyServiceUnavailable, "vault:secret/a?address=http://vault.invalid:8200")
    assert "cannot be reached" in message


def test_a_connection_that_ends_without_an_answer_is_an_outage_and_not_tried_again(
    vault: VaultDouble,
) -> None:
    vault.faults[""] = Fault(hangs=True)
    vault.released.set()
    assert "cannot be reached" in refused(KeyServiceUnavailable, uri(vault))
    assert len(vault.seen) == 1


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_breaks_off_is_an_outage(vault: VaultDouble, status: int) -> None:
    vault.faults[""] = Fault(status, b'{"data":', {"Content-Length": "100"})
    assert "cannot be reached" in refused(KeyServiceUnavailable, uri(vault))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(vault: VaultDouble, status: int) -> None:
    with filled_vault() as stranger:
        headers = {"Location": f"{stranger.address}/v1/secret/data/acra/keys"}
        vault.faults[""] = Fault(status, b"", headers)
        assert "redirects to another address" in refused(KeyServiceUnavailable, uri(vault))
        assert stranger.seen == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (200, b"[]"), (200, b"[" * 100_000), (404, b"no page"), (400, b'"x"')],
)
def test_a_server_that_is_no_vault_is_a_wrong_address(vault: VaultDouble, status: int, body: bytes) -> None:
    vault.faults[""] = Fault(status, body)
    assert "check address=" in refused(InvalidSettings, uri(vault))


@pytest.mark.parametrize(
    "body", [b"{}", b'{"data":null}', b'{"data":{"secret":null}}', b'{"data":{"secret":[]}}']
)
def test_an_answer_without_mounts_is_one_line(vault: VaultDouble, body: bytes) -> None:
    vault.faults["sys/internal/ui/mounts"] = Fault(200, body)
    assert "there are no key-value stores" in refused(MasterKeyUnavailable, uri(vault))


@pytest.mark.parametrize(
    "body", [b"{}", b'{"data":null}', b'{"data":{"data":null}}', b'{"data":{"data":[]}}']
)
def test_a_secret_without_fields_is_one_line(vault: VaultDouble, body: bytes) -> None:
    vault.faults["secret/data/acra/keys"] = Fault(200, body)
    assert "there are no fields" in refused(MasterKeyUnavailable, uri(vault))


def test_a_method_that_is_not_allowed_is_a_refusal(vault: VaultDouble) -> None:
    vault.faults["secret/data/acra/keys"] = Fault(
        405, b'{"errors":["1 error occurred: unsupported operation"]}'
    )
    assert "answers 405 (unsupported operation)" in refused(MasterKeyUnavailable, uri(vault))
    assert "auth/token/lookup-self" not in [seen.path for seen in vault.seen]


def test_an_outage_between_two_fetches_ends_with_it(vault: VaultDouble) -> None:
    provider = open_provider(uri(vault), "v1")
    first = provider.fetch()
    vault.faults[""] = Fault(503, b'{"errors":[]}')
    with pytest.raises(KeyServiceUnavailable):
        provider.fetch()
    vault.faults.clear()
    assert provider.fetch() == first


@pytest.mark.parametrize("status", [429, 500, 503])
def test_outages_of_transit_are_outages(vault: VaultDouble, status: int) -> None:
    key = open_key(f"vault-transit:acra?address={vault.address}")
    vault.faults["transit/decrypt/acra"] = Fault(status)
    with pytest.raises(KeyServiceUnavailable):
        key.unwrap(b"vault:v1:AAAA")


def test_a_netrc_of_the_user_is_not_sent(vault: VaultDouble, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password something\n")
    assert open_provider(uri(vault), "v1").fetch()
    assert not [seen for seen in vault.seen if "Authorization" in seen.headers]
