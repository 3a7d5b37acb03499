"""What stands, or does not stand, at a path in Vault's key-value stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from vaults import TOKEN, filled_vault, forget_machine, refused, secret_of

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import CANARY, CANARY_SIGNATURE, V1_TEXT, V2_TEXT, base64
from keyfs.testing.vault_access import READ, Token
from keyfs.testing.vault_double import VaultDouble
from keyfs.testing.vault_engines import KV1, KV2, Version


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VaultDouble]:
    forget_machine(monkeypatch, tmp_path)
    with filled_vault() as vault:
        yield vault


def uri(vault: VaultDouble, path: str = "secret/acra/keys", more: str = "") -> str:
    return f"vault:{path}?address={vault.address}{more}"


def opens(text: str) -> bool:
    return open_provider(text, "v1").fetch().encryption.reveal() == CANARY


def store(vault: VaultDouble, mount: str = "secret") -> KV2:
    found = vault.mounts[mount]
    assert isinstance(found, KV2)
    return found


@pytest.mark.parametrize("path", ["/secret/acra/keys/", "old/acra/keys", "team/a/kv/acra/keys"])
def test_a_path_is_found_whatever_its_mount_is_called(vault: VaultDouble, path: str) -> None:
    assert opens(uri(vault, path))


def test_of_mounts_inside_each_other_the_longest_counts(vault: VaultDouble) -> None:
    vault.mounts["team/a"] = KV1()
    assert opens(uri(vault, "team/a/kv/acra/keys"))


def test_the_requests_are_those_of_acra(vault: VaultDouble) -> None:
    assert opens(uri(vault))
    assert opens(uri(vault, "old/acra/keys"))
    assert [(seen.method, seen.path) for seen in vault.seen] == [
        ("GET", "sys/internal/ui/mounts"),
        ("GET", "secret/data/acra/keys"),
        ("GET", "sys/internal/ui/mounts"),
        ("GET", "old/acra/keys"),
    ]


def test_a_store_1_may_say_so_itself(vault: VaultDouble) -> None:
    old = vault.mounts["old"]
    for old.options in ({"version": "1"}, {}, None):
        assert opens(uri(vault, "old/acra/keys"))


@pytest.mark.parametrize("name", ["a b", "ä", "100%", "a?b#c", "a+b&c"])
def test_odd_characters_in_a_path_are_quoted(vault: VaultDouble, name: str) -> None:
    store(vault).put(f"{name}/keys", secret_of(V1_TEXT))
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    assert opens(uri(vault, f"secret/{quoted}/keys"))


@pytest.mark.parametrize(
    "path", ["", "/", "secret//keys", "secret/../keys", "secret/./keys", "secret/%2e%2e/keys"]
)
def test_what_is_no_path_is_refused(vault: VaultDouble, path: str) -> None:
    assert "needs a path in Vault" in refused(InvalidSettings, uri(vault, path))


def test_a_whole_mount_is_no_secret(vault: VaultDouble) -> None:
    for mount in ("secret", "old", "team/a/kv"):
        assert "is a whole mount" in refused(InvalidSettings, uri(vault, mount))


def test_no_such_mount_is_one_line_with_those_there_are(vault: VaultDouble) -> None:
    message = refused(MasterKeyUnavailable, uri(vault, "secrets/acra/keys"))
    assert message.endswith("these key-value stores exist: old, secret, team/a/kv")
    assert "team/a/kv" in refused(MasterKeyUnavailable, uri(vault, "team/acra/keys"))


def test_a_mount_that_the_token_cannot_see_is_none(vault: VaultDouble) -> None:
    vault.access.tokens[TOKEN] = Token({"old/acra/keys": READ})
    assert refused(MasterKeyUnavailable, uri(vault)).endswith("these key-value stores exist: old")


def test_a_mount_of_another_kind_is_named_as_such(vault: VaultDouble) -> None:
    assert "of type 'pki'" in refused(MasterKeyUnavailable, uri(vault, "pki/acra/keys"))


def test_an_absent_secret_is_one_line(vault: VaultDouble) -> None:
    message = refused(MasterKeyUnavailable, uri(vault, "secret/acra/absent"))
    assert message.startswith("there is no secret/acra/absent (key-value store 2) in Vault")
    assert "store 1" in refused(MasterKeyUnavailable, uri(vault, "old/acra/absent"))


def test_the_path_of_the_api_instead_of_the_command_gets_a_hint(vault: VaultDouble) -> None:
    assert "without data/" in refused(MasterKeyUnavailable, uri(vault, "secret/data/acra/keys"))


# --- versions of a secret ---


def test_an_older_version_is_read_when_it_is_named(vault: VaultDouble) -> None:
    store(vault).put("acra/keys", secret_of(base64(CANARY_SIGNATURE)))
    newest = open_provider(uri(vault), "v1").fetch()
    assert newest.encryption.reveal() == CANARY_SIGNATURE
    assert opens(uri(vault, more="&version=1"))
    assert "there is no" in refused(MasterKeyUnavailable, uri(vault, more="&version=3"))


@pytest.mark.parametrize("version", ["0", "-1", "x", "1.0", "9" * 30, "٣"])
def test_what_is_no_version_is_refused(vault: VaultDouble, version: str) -> None:
    assert "version=N" in refused(InvalidSettings, uri(vault, more=f"&version={version}"))


def test_a_store_1_has_no_versions(vault: VaultDouble) -> None:
    assert "leave out version=" in refused(InvalidSettings, uri(vault, "old/acra/keys", "&version=1"))


def test_a_deleted_and_a_destroyed_version_are_told_apart(vault: VaultDouble) -> None:
    store(vault).secrets["acra/keys"] = [
        Version(secret_of(V1_TEXT), deleted_at="2026-11-24T07:05:24Z"),
        Version(None),
        Version(None, deleted_at="2026-11-24T07:05:24Z"),
    ]
    message = refused(MasterKeyUnavailable, uri(vault, more="&version=1"))
    assert "version 1 of secret/acra/keys" in message
    assert "is deleted: run: vault kv undelete" in message
    assert "version 2 of" in refused(MasterKeyUnavailable, uri(vault, more="&version=2"))
    assert "version 3 of secret/acra/keys in" in refused(MasterKeyUnavailable, uri(vault))
    assert "is destroyed: put it there again" in refused(MasterKeyUnavailable, uri(vault))


# --- fields ---


def test_another_field_is_read_when_it_is_named(vault: VaultDouble) -> None:
    store(vault).put("other", secret_of(V1_TEXT, "master"))
    assert opens(uri(vault, "secret/other", "&field=master"))
    message = refused(MasterKeyUnavailable, uri(vault, "secret/other"))
    assert "no field 'acra_master_key'; these fields exist: master, owner; name one with field=" in message


@pytest.mark.parametrize("value", [None, 1, True, [V1_TEXT.decode()], {"key": V1_TEXT.decode()}])
def test_a_value_that_is_no_text_is_refused_and_not_repeated(vault: VaultDouble, value: object) -> None:
    store(vault).put("acra/keys", {"acra_master_key": value})
    assert "is no text" in refused(MasterKeyUnavailable, uri(vault))


@pytest.mark.parametrize(
    ("layout", "text", "words"),
    [
        ("v1", V1_TEXT[:-2], "not standard base64"),
        ("v1", V2_TEXT, "v1"),
        ("v1", b"\xed\xa0\x80", "not standard base64"),
        ("v2", V1_TEXT, "v2"),
        ("v2", base64(b'{"encryption":"%b","signature":"%b"}' % (base64(CANARY), base64(CANARY))), "equal"),
    ],
)
def test_what_is_no_master_key_of_the_layout_is_named_with_its_place(
    vault: VaultDouble, layout: str, text: bytes, words: str
) -> None:
    store(vault).put("acra/keys", {"acra_master_key": text.decode("utf-8", "surrogatepass")})
    message = refused(MasterKeyUnavailable, uri(vault), layout)
    assert f"field 'acra_master_key' of secret/acra/keys in Vault at {vault.address}" in message
    assert words in message


# --- kv= ---


def test_where_the_mounts_are_forbidden_the_version_may_be_given(vault: VaultDouble) -> None:
    vault.are_mounts_forbidden = True
    vault.access.tokens[TOKEN] = Token({"secret/data/acra/keys": READ, "old/acra/keys": READ})
    message = refused(MasterKeyUnavailable, uri(vault))
    assert "cannot read sys/internal/ui/mounts" in message
    assert "say with kv=1 or kv=2" in message
    assert opens(uri(vault, more="&kv=2"))
    assert opens(uri(vault, "old/acra/keys", "&kv=1"))


def test_a_wrong_version_of_the_store_gets_a_hint(vault: VaultDouble) -> None:
    message = refused(MasterKeyUnavailable, uri(vault, more="&kv=1"))
    assert message.endswith("is secret really a key-value store 1, as kv= says?")
    message = refused(MasterKeyUnavailable, uri(vault, "old/acra/keys", "&kv=2"))
    assert message.endswith("is old really a key-value store 2, as kv= says?")


def test_a_store_version_that_does_not_exist_is_refused(vault: VaultDouble) -> None:
    assert "kv=1 or kv=2" in refused(InvalidSettings, uri(vault, more="&kv=3"))


def test_a_key_that_travels_without_tls_comes_with_a_warning(
    vault: VaultDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_provider(uri(vault), "v1").fetch().warnings == ()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", vault.port))])
    far = f"vault:secret/acra/keys?address=http://vault.example:{vault.port}"
    (warning,) = open_provider(far, "v1").fetch().warnings
    assert "without TLS" in warning


def test_the_first_store_is_a_store_1_before_there_were_versions(vault: VaultDouble) -> None:
    assert isinstance(vault.mounts["old"], KV1)
    assert vault.mounts["old"].options is None
