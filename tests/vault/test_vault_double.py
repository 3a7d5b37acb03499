"""The double is as strict as the API pages: what they do not describe it refuses."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from vaults import ROLE_ID, SECRET_ID, TOKEN, filled_vault

from keyfs.testing.vault_access import READ, Token
from keyfs.testing.vault_double import VaultDouble


@pytest.fixture
def vault() -> Iterator[VaultDouble]:
    with filled_vault() as vault:
        yield vault


def ask(
    vault: VaultDouble, method: str, path: str, body: object = None, token: str | None = TOKEN
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", vault.port, timeout=5)
    headers = {} if token is None else {"X-Vault-Token": token}
    text = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, text, headers)
        response = connection.getresponse()
        answer = response.read()
        return response.status, json.loads(answer) if answer else None
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/sys/seal-status", None, 404),
        ("GET", "/v1/absent/x", None, 404),
        ("GET", "/v1/secret/acra/keys", None, 404),
        ("GET", "/v1/secret/data/absent", None, 404),
        ("POST", "/v1/secret/data/acra/keys", {}, 405),
        ("DELETE", "/v1/old/acra/keys", None, 405),
        ("GET", "/v1/secret/data/acra/keys?verison=1", None, 400),
        ("GET", "/v1/transit/encrypt/acra", None, 405),
        ("GET", "/v1/transit/decrypt/acra", None, 405),
        ("GET", "/v1/transit/keys", None, 405),
        ("GET", "/v1/transit/unknown/acra", None, 404),
        ("POST", "/v1/transit/keys/new", {"size": 1}, 400),
        ("POST", "/v1/transit/keys/new", {"type": "rot13"}, 400),
        ("POST", "/v1/transit/encrypt/acra", {"text": "AAAA"}, 400),
        ("POST", "/v1/transit/encrypt/acra", {"plaintext": "not base64"}, 400),
        ("POST", "/v1/transit/decrypt/acra", {"ciphertext": "AAAA"}, 400),
        ("POST", "/v1/transit/decrypt/acra", {"ciphertext": "vault:v1:AAAA", "key": "x"}, 400),
        ("POST", "/v1/transit/decrypt/acra", b"not JSON", 400),
        ("POST", "/v1/transit/decrypt/acra", [], 400),
        ("GET", "/v1/auth/approle/login", None, 405),
        ("POST", "/v1/auth/approle/login", {"role_id": ROLE_ID}, 400),
        ("POST", "/v1/auth/approle/login", {"role_id": ROLE_ID, "secret_id": "x"}, 400),
        ("POST", "/v1/auth/kubernetes/login", {"role": "keyfs"}, 400),
        ("POST", "/v1/auth/kubernetes/login", {"role": "keyfs", "jwt": "x"}, 403),
    ],
)
def test_what_no_page_describes_is_refused(
    vault: VaultDouble, method: str, path: str, body: object, status: int
) -> None:
    assert ask(vault, method, path, body)[0] == status


@pytest.mark.parametrize("token", [None, "hvs.unknown"])
def test_without_a_token_there_is_nothing(vault: VaultDouble, token: str | None) -> None:
    assert ask(vault, "GET", "/v1/secret/data/acra/keys", token=token)[0] == 403
    assert ask(vault, "POST", "/v1/transit/encrypt/acra", {"plaintext": "AAAA"}, token)[0] == 403
    assert ask(vault, "GET", "/v1/auth/token/lookup-self", token=token)[0] == 403


def test_mounts_are_shown_by_what_a_token_may_do(vault: VaultDouble) -> None:
    path = "/v1/sys/internal/ui/mounts"
    assert ask(vault, "GET", path, token=None)[1]["data"] == {"auth": {}, "secret": {}}
    assert ask(vault, "GET", path, token="hvs.unknown")[0] == 403
    vault.access.tokens["hvs.some"] = Token({"old/acra/*": READ})
    shown = ask(vault, "GET", path, token="hvs.some")[1]["data"]["secret"]
    assert shown == {"old/": {"type": "kv", "description": "", "options": None}}


def test_a_policy_is_about_what_is_done(vault: VaultDouble) -> None:
    vault.access.tokens["hvs.some"] = Token({"transit/*": READ})
    assert ask(vault, "GET", "/v1/transit/keys/acra", token="hvs.some")[0] == 200
    assert ask(vault, "POST", "/v1/transit/encrypt/acra", {"plaintext": "AAAA"}, "hvs.some")[0] == 403


def test_a_token_has_an_end(vault: VaultDouble) -> None:
    vault.access.tokens[TOKEN] = Token(ends_at=time.monotonic() + 600)
    assert ask(vault, "GET", "/v1/auth/token/lookup-self")[0] == 200
    vault.access.tokens[TOKEN] = Token(ends_at=time.monotonic())
    assert ask(vault, "GET", "/v1/auth/token/lookup-self")[0] == 403


def test_a_login_gives_a_token_that_can_be_given_back(vault: VaultDouble) -> None:
    status, answer = ask(
        vault, "POST", "/v1/auth/approle/login", {"role_id": ROLE_ID, "secret_id": SECRET_ID}, token=None
    )
    token = answer["auth"]["client_token"]
    assert (status, answer["data"]) == (200, None)
    assert ask(vault, "GET", "/v1/secret/data/acra/keys", token=token)[0] == 200
    assert ask(vault, "POST", "/v1/auth/token/revoke-self", token=token)[0] == 204
    assert ask(vault, "GET", "/v1/secret/data/acra/keys", token=token)[0] == 403


def test_sealed_it_tells_only_that(vault: VaultDouble) -> None:
    vault.is_sealed = True
    assert ask(vault, "GET", "/v1/sys/seal-status")[1]["sealed"] is True
    status, answer = ask(vault, "GET", "/v1/secret/data/acra/keys")
    assert (status, answer) == (503, {"errors": ["Vault is sealed"]})
