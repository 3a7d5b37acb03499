"""A Vault double with something in it, and what every refusal is held to."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keyfs.errors import KeyfsError
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import V1_TEXT, assert_no_secret
from keyfs.testing.vault_access import Role, Token
from keyfs.testing.vault_double import VaultDouble
from keyfs.testing.vault_engines import KV1, KV2, Other, Transit, TransitKeyDouble

TOKEN = "hvs.CAESIJ0tokenOfTheTests4fJq7Zx2"
SECRET_ID = "84896a0c-1347-aa90-a4f6-aca8b7558780"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
ROLE_ID = "59d6d1ca-47bb-4e7e-a40b-8be3bc5a0ba8"
VARIABLES = [
    "VAULT_ADDR",
    "VAULT_NAMESPACE",
    "VAULT_TOKEN",
    "VAULT_API_TOKEN",
    "VAULT_CACERT",
    "VAULT_CAPATH",
]
VARIABLES += ["VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_TLS_SERVER_NAME"]


@contextmanager
def filled_vault(
    server: tuple[Path, Path] | None = None, client_ca: Path | None = None
) -> Iterator[VaultDouble]:
    """One mount of each kind, a v1 master key in both stores, a token, a role of each login."""
    with VaultDouble(server, client_ca) as vault:
        kv1, kv2, nested, transit = KV1(), KV2(), KV2(), Transit()
        vault.mounts = {"old": kv1, "secret": kv2, "team/a/kv": nested, "transit": transit, "pki": Other()}
        kv1.secrets["acra/keys"] = secret_of(V1_TEXT)
        kv2.put("acra/keys", secret_of(V1_TEXT))
        nested.put("acra/keys", secret_of(V1_TEXT))
        transit.keys["acra"] = TransitKeyDouble()
        vault.access.tokens[TOKEN] = Token()
        vault.access.app_roles["approle"] = {ROLE_ID: Role(SECRET_ID)}
        vault.access.pods["kubernetes"] = {"keyfs": Role(JWT)}
        yield vault


def secret_of(text: bytes, field: str = "acra_master_key") -> dict[str, Any]:
    return {field: text.decode(), "owner": "keyfs"}


def forget_machine(monkeypatch: pytest.MonkeyPatch, home: Path, token: str | None = TOKEN) -> None:
    """Leave no way to Vault that belongs to the machine; offer *token* in VAULT_TOKEN."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    if token is not None:
        monkeypatch.setenv("VAULT_TOKEN", token)


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def refused(kind: type[KeyfsError], uri: str, layout: str = "v1") -> str:
    """The line with which opening and fetching fails."""
    with pytest.raises(KeyfsError) as caught:
        open_provider(uri, layout).fetch()
    assert_harmless(caught.value, *(secret for secret in (TOKEN, SECRET_ID, JWT) if secret in uri))
    assert type(caught.value) is kind, caught.value
    return str(caught.value)


def assert_harmless(error: BaseException, *handed_in: str) -> None:
    """One line, and no secret in it, nor in its traceback, nor in what keyfs's frames hold of their own."""
    assert "\n" not in str(error)
    behind = error.__cause__ or error.__context__
    assert behind is None or type(behind) in (OSError, FileNotFoundError, PermissionError), type(behind)
    seen = traceback.TracebackException.from_exception(error, capture_locals=True)
    inside = [frame for frame in seen.stack if "/keyfs/master/vault" in frame.filename]
    shown = "".join([str(error), *traceback.format_exception(error)])
    held = "".join(str(frame.locals) for frame in inside)
    for secret in (TOKEN, SECRET_ID, JWT):
        assert secret not in shown
        assert secret not in held or secret in handed_in
    assert_no_secret("".join(traceback.format_exception(error)))
