"""Whatever stands in a URI, and whatever Vault says: an error of keyfs's own, or a key."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vaults import TOKEN, filled_vault, forget_machine, private

from keyfs.errors import KeyfsError
from keyfs.master.registry import open_key, open_provider
from keyfs.master.vault_settings import parse_vault_uri
from keyfs.testing.vault_double import Fault, VaultDouble

NAMES = [
    *(
        "data",
        "secret",
        "metadata",
        "auth",
        "errors",
        "old/",
        "secret/",
        "type",
        "options",
        "version",
        "keys",
    ),
    *("acra_master_key", "plaintext", "ciphertext", "destroyed", "deletion_time", "client_token"),
]
LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(("kv", "1", "2", "AAAA", "")) | st.text()
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
STATUSES = st.sampled_from((200, 204, 400, 403, 404, 405, 412, 429, 500, 503))


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultDouble]:
    with pytest.MonkeyPatch.context() as patch, filled_vault() as vault:
        forget_machine(patch, tmp_path_factory.mktemp("home"))
        yield vault


def harmless(act: Callable[[], object]) -> None:
    """Does it; an error of keyfs is fine if it is one line without the token, any other is not."""
    said = ""
    try:
        act()
    except KeyfsError as exc:
        said = str(exc)
    assert "\n" not in said
    assert TOKEN not in said


@given(rest=st.text(max_size=60), option=st.sampled_from(("address", "auth", "token_file", "role_id", "kv")))
def test_any_uri_is_taken_or_refused(rest: str, option: str) -> None:
    harmless(lambda: parse_vault_uri("vault", f"{rest}?address=http://h&{option}={rest}", ("kv",)))
    harmless(lambda: parse_vault_uri("vault", rest))


@settings(max_examples=60)
@given(status=STATUSES, mounts=DOCUMENTS, secret=DOCUMENTS)
def test_any_answers_of_the_stores_give_a_key_or_an_error(
    vault: VaultDouble, status: int, mounts: object, secret: object
) -> None:
    vault.faults = {
        "sys/internal/ui/mounts": Fault(200, json.dumps({"data": {"secret": mounts}}).encode()),
        "secret/data/acra/keys": Fault(status, json.dumps({"data": secret}).encode()),
        "auth/token/lookup-self": Fault(status, json.dumps(mounts).encode()),
    }
    harmless(open_provider(f"vault:secret/acra/keys?address={vault.address}", "v1").fetch)
    harmless(open_provider(f"vault:secret/acra/keys?address={vault.address}&kv=2", "v2").fetch)


@settings(max_examples=60)
@given(status=STATUSES, answer=DOCUMENTS)
def test_any_answer_to_a_login_or_of_transit_gives_a_key_or_an_error(
    vault: VaultDouble, tmp_path_factory: pytest.TempPathFactory, status: int, answer: object
) -> None:
    place = tmp_path_factory.getbasetemp() / "secret-id-of-oddities"
    login = f"&auth=approle&role_id=x&secret_id_file={private(Path(place), 'x')}"
    vault.faults = {"": Fault(status, json.dumps(answer).encode())}
    key = open_key(f"vault-transit:acra?address={vault.address}")
    harmless(lambda: key.unwrap(b"vault:v1:AAAA"))
    harmless(key.create)
    harmless(open_key(f"vault-transit:acra?address={vault.address}{login}").create)
