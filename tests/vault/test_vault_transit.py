"""Transit: wrapping, unwrapping, making a key, and what is refused."""

import binascii
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vaults import TOKEN, assert_harmless, filled_vault, forget_machine

from keyfs.core.secret import Secret
from keyfs.errors import InvalidSettings, KeyfsError, MasterKeyUnavailable
from keyfs.master.registry import open_key, open_provider
from keyfs.testing.master_contract import CANARY
from keyfs.testing.vault_access import READ, WRITE, Token
from keyfs.testing.vault_double import Fault, VaultDouble
from keyfs.testing.vault_engines import Transit, TransitKeyDouble


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VaultDouble]:
    forget_machine(monkeypatch, tmp_path)
    with filled_vault() as vault:
        yield vault


def uri(vault: VaultDouble, name: str = "acra", more: str = "") -> str:
    return f"vault-transit:{name}?address={vault.address}{more}"


def transit(vault: VaultDouble) -> Transit:
    found = vault.mounts["transit"]
    assert isinstance(found, Transit)
    return found


def wrapped(vault: VaultDouble, more: str = "") -> bytes:
    return open_key(uri(vault, more=more)).wrap(Secret(CANARY))


def refused(act: Callable[[], object], kind: type[KeyfsError] = MasterKeyUnavailable) -> str:
    with pytest.raises(KeyfsError) as caught:
        act()
    assert_harmless(caught.value)
    assert type(caught.value) is kind, caught.value
    return str(caught.value)


def test_what_is_wrapped_opens(vault: VaultDouble) -> None:
    text = wrapped(vault)
    assert text.startswith(b"vault:v1:")
    assert open_key(uri(vault)).unwrap(text).reveal() == CANARY
    assert wrapped(vault) != text


def test_the_wrapped_text_is_ciphertext(vault: VaultDouble) -> None:
    assert CANARY not in binascii.a2b_base64(wrapped(vault).rpartition(b":")[2])


@pytest.mark.parametrize("name", ["acra", "transit/acra", "/transit/acra"])
def test_the_mount_may_be_left_out(vault: VaultDouble, name: str) -> None:
    assert open_key(uri(vault, name)).unwrap(wrapped(vault)).reveal() == CANARY


def test_a_mount_may_have_slashes(vault: VaultDouble) -> None:
    vault.mounts["team/a/transit"] = Transit({"acra": TransitKeyDouble()})
    key = open_key(uri(vault, "team/a/transit/acra"))
    assert key.unwrap(key.wrap(Secret(CANARY))).reveal() == CANARY


def test_after_a_rotation_in_vault_older_texts_go_on_opening(vault: VaultDouble) -> None:
    old = wrapped(vault)
    transit(vault).keys["acra"].rotate()
    assert wrapped(vault).startswith(b"vault:v2:")
    assert open_key(uri(vault)).unwrap(old).reveal() == CANARY
    transit(vault).keys["acra"].oldest = 2
    assert "too old" in refused(lambda: open_key(uri(vault)).unwrap(old))


def test_unwrapping_needs_no_right_but_to_decrypt(vault: VaultDouble) -> None:
    text = wrapped(vault)
    vault.access.tokens[TOKEN] = Token({"transit/decrypt/acra": WRITE})
    assert open_key(uri(vault)).unwrap(text).reveal() == CANARY
    assert "rights on transit/keys/acra" in refused(lambda: open_key(uri(vault)).wrap(Secret(CANARY)))


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("position", [20, 40, -6])
def test_a_damaged_text_is_refused_whatever_the_version_of_vault_says(
    vault: VaultDouble, status: int, position: int
) -> None:
    transit(vault).damaged_status = status
    text = bytearray(wrapped(vault))
    text[position] = ord("A") if text[position] != ord("A") else ord("B")
    assert "is damaged, or another key's" in refused(lambda: open_key(uri(vault)).unwrap(bytes(text)))


def test_the_text_of_another_key_is_refused(vault: VaultDouble) -> None:
    transit(vault).keys["other"] = TransitKeyDouble()
    text = open_key(uri(vault, "other")).wrap(Secret(CANARY))
    assert "another key's" in refused(lambda: open_key(uri(vault)).unwrap(text))


@pytest.mark.parametrize(
    "text",
    [b"", b"AQICAHh", b"vault:v1:", b"vault:v0:AAAA", b"vault:v1:A-_A", b"vault:AAAA", b"x vault:v1:AAAA"],
)
def test_what_is_no_text_of_transit_never_leaves(vault: VaultDouble, text: bytes) -> None:
    assert "damaged or not Vault's" in refused(lambda: open_key(uri(vault)).unwrap(text))
    assert vault.seen == []


@pytest.mark.parametrize(
    "text", [b"vault:v1:AAAA", b"vault:v9:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"vault:v1:AAA"]
)
def test_a_text_that_vault_cannot_read_is_refused(vault: VaultDouble, text: bytes) -> None:
    assert "does not open" in refused(lambda: open_key(uri(vault)).unwrap(text))


# --- context ---


def test_a_context_derives_a_key_of_its_own(vault: VaultDouble) -> None:
    transit(vault).keys["acra"] = TransitKeyDouble(is_derived=True)
    text = wrapped(vault, "&context=store%20a")
    assert open_key(uri(vault, more="&context=store%20a")).unwrap(text).reveal() == CANARY
    other = open_key(uri(vault, more="&context=store%20b"))
    assert "another context's" in refused(lambda: other.unwrap(text))
    assert "missing 'context'" in refused(lambda: open_key(uri(vault)).unwrap(text))


# --- making and finding keys ---


def test_wrapping_with_an_absent_key_makes_none_and_says_which_there_are(vault: VaultDouble) -> None:
    message = refused(lambda: open_key(uri(vault, "absent")).wrap(Secret(CANARY)))
    assert "there is no Transit key 'absent' at transit" in message
    assert message.endswith("there are: acra")
    assert list(transit(vault).keys) == ["acra"]
    del transit(vault).keys["acra"]
    assert "there are" not in refused(lambda: open_key(uri(vault)).wrap(Secret(CANARY)))


def test_unwrapping_with_an_absent_key_is_refused(vault: VaultDouble) -> None:
    text = wrapped(vault)
    assert "there is no Transit key 'absent'" in refused(lambda: open_key(uri(vault, "absent")).unwrap(text))


def test_a_key_is_made_once_and_not_exportable(vault: VaultDouble) -> None:
    key = open_key(uri(vault, "new"))
    assert key.create() == (
        f"made Transit key 'new' at transit in Vault at {vault.address} (aes256-gcm96, not exportable)"
    )
    made = transit(vault).keys["new"]
    assert made.settings == {
        "type": "aes256-gcm96",
        "derived": False,
        "exportable": False,
        "allow_plaintext_backup": False,
    }
    text = key.wrap(Secret(CANARY))
    assert "is there already" in key.create()
    assert transit(vault).keys["new"] is made
    assert key.unwrap(text).reveal() == CANARY


def test_with_a_context_a_key_that_derives_is_made(vault: VaultDouble) -> None:
    key = open_key(uri(vault, "new", "&context=a"))
    assert "made" in key.create()
    assert transit(vault).keys["new"].is_derived
    assert key.unwrap(key.wrap(Secret(CANARY))).reveal() == CANARY


@pytest.mark.parametrize("allowed", [{}, {"transit/keys/new": READ}, {"transit/keys/new": WRITE}])
def test_a_token_that_may_not_see_and_make_keys_makes_none(
    vault: VaultDouble, allowed: dict[str, frozenset[str]]
) -> None:
    vault.access.tokens[TOKEN] = Token(allowed)
    assert "rights on transit/keys/new" in refused(open_key(uri(vault, "new")).create)
    assert list(transit(vault).keys) == ["acra"]


def test_where_transit_is_not_mounted_the_command_is_said(vault: VaultDouble) -> None:
    key = open_key(uri(vault, "elsewhere/acra"))
    for act in (key.create, lambda: key.wrap(Secret(CANARY)), lambda: key.unwrap(b"vault:v1:AAAA")):
        assert "vault secrets enable -path=elsewhere transit" in refused(act)


# --- the rest ---


@pytest.mark.parametrize("body", [b"{}", b'{"data":{}}', b'{"data":{"ciphertext":1,"plaintext":"?"}}'])
def test_an_answer_that_is_none_of_transit_is_refused(vault: VaultDouble, body: bytes) -> None:
    text = wrapped(vault)
    vault.faults |= {f"transit/{action}/acra": Fault(200, body) for action in ("encrypt", "decrypt")}
    assert "no answer of Transit's" in refused(lambda: open_key(uri(vault)).unwrap(text))
    assert "no answer of Transit's" in refused(lambda: open_key(uri(vault)).wrap(Secret(CANARY)))


def test_a_single_name_is_a_key_whatever_it_is_called(vault: VaultDouble) -> None:
    assert "'transit' at transit" in refused(lambda: open_key(uri(vault, "transit/")).wrap(Secret(CANARY)))


@pytest.mark.parametrize("name", ["", "/", "../acra", "transit//acra"])
def test_what_names_no_key_is_refused(vault: VaultDouble, name: str) -> None:
    assert "needs a path" in refused(lambda: open_key(uri(vault, name)), InvalidSettings)


def test_the_place_of_the_wrapped_key_is_no_business_of_the_key(vault: VaultDouble, tmp_path: Path) -> None:
    (tmp_path / "wrapped").write_bytes(wrapped(vault))
    text = uri(vault, more=f"&from=file:{tmp_path}/wrapped")
    assert open_provider(text, "v1").fetch().encryption.reveal() == CANARY
    assert open_key(text).describe() == text


def test_options_of_the_key_value_store_are_refused(vault: VaultDouble) -> None:
    assert "has no option 'field'" in refused(lambda: open_key(uri(vault, more="&field=x")), InvalidSettings)


def test_no_request_after_a_refused_login(vault: VaultDouble) -> None:
    text = wrapped(vault)
    vault.seen.clear()
    key = open_key(uri(vault, more="&auth=kubernetes&role=keyfs&jwt_file=/absent"))
    assert "service account token" in refused(lambda: key.unwrap(text), InvalidSettings)
    assert vault.seen == []
