"""`keyfs master-key`: what is wrapped opens, nothing plain is shown, and a refusal leaves nothing anywhere.

The key service is Transit of a double of Vault, see `keyfs.testing.vault_double`; SoftHSM2 is in tests/local.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Ran, keyfs
from pictures import picture
from wrapping_site import TEXTS, V1, V2, master_key, site, transit, transit_vault

from keyfs.core.secret import Secret
from keyfs.master.base import MasterKey
from keyfs.master.encoding import encode_v1
from keyfs.master.registry import open_provider
from keyfs.testing import canary
from keyfs.testing.mounted import mounted
from keyfs.testing.vault_double import Fault, VaultDouble

KEYS = {"v1": V1, "v2": V2}
PLACES = ["", "&from=file:{}/wrapped", "&from=store"]


@pytest.fixture(autouse=True)
def guards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often the guards were raised; not really, for that would last as long as this process."""
    raised: list[str] = []
    monkeypatch.setattr("keyfs.cli.master.raise_guards", lambda: raised.append("raised"))
    return raised


@pytest.fixture
def vault() -> Iterator[VaultDouble]:
    with transit_vault() as vault:
        yield vault


@pytest.fixture
def environment(vault: VaultDouble, tmp_path: Path) -> dict[str, str]:
    return site(vault, tmp_path)


def kept(ran: Ran, uri: str, environment: dict[str, str]) -> dict[str, str]:
    """The environment in which *uri* opens what was wrapped: with what was printed, if anything was."""
    text = ran.out.decode()
    assert (text == "") is ("from=" in uri)
    assert text == "" or (text.startswith("vault:v1:") and text.count("\n") == 1)
    return environment | {"KEYFS_MASTER_KEY": uri} | ({"ACRA_MASTER_KEY": text} if text else {})


def forms_of(key: Secret) -> list[bytes]:
    """How it would look if it were shown somewhere."""
    return [key.reveal(), key.reveal().hex().encode(), encode_v1(key)]


def opened(vault: VaultDouble, environment: dict[str, str], text: bytes, layout: str) -> MasterKey:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | {"WRAPPED": text.decode()}).items():
            patch.setenv(name, value)
        return open_provider(f"vault-transit:acra?address={vault.address}&from=env:WRAPPED", layout).fetch()


# --- generate ---


@pytest.mark.parametrize("place", PLACES)
def test_a_store_lives_on_a_key_that_nobody_saw(
    vault: VaultDouble, environment: dict[str, str], tmp_path: Path, place: str, guards: list[str]
) -> None:
    uri = f"vault-transit:acra?address={vault.address}" + place.format(tmp_path)
    ran = master_key("generate", "--wrap", uri, environment=environment)
    assert guards == ["raised"]
    assert ran.err.startswith(f"wrapped by {uri}, and it opens: ")
    settings = kept(ran, uri, environment)
    assert keyfs("generate", "storage-sym/alice", environment=settings).code == 0
    assert keyfs("check", environment=settings).err == "1 keys, 1 blobs: clean\n"
    checked = master_key("unwrap-check", environment=settings)
    assert checked.out == b""
    assert checked.err == f"opens: a v1 master key of 32 bytes, {uri}\nopens: dir:{tmp_path}/keys\n"


def test_a_mount_opens_what_was_wrapped(
    environment: dict[str, str], tmp_path: Path, fuse_required: None
) -> None:
    """From the variables alone, as in a unit file."""
    wrapping = environment | {"KEYFS_WRAP": "vault-transit:acra?from=store", "KEYFS_CREATE": "1"}
    assert "kept in 'master-key' beside" in master_key("generate", environment=wrapping).err
    settings = environment | {"KEYFS_MASTER_KEY": "vault-transit:acra?from=store"}
    assert keyfs("generate", "storage-sym/alice", environment=settings).code == 0
    with mounted(tmp_path / "mount", environment=settings) as mountpoint:
        assert len((mountpoint / "storage-sym/alice/current").read_bytes()) == 32


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_the_new_key_is_nowhere_in_plain(
    vault: VaultDouble, environment: dict[str, str], tmp_path: Path, layout: str
) -> None:
    uri = f"vault-transit:acra?from=file:{tmp_path}/wrapped"
    ran = master_key("generate", "--layout", layout, "--wrap", uri, environment=environment)
    text = (tmp_path / "wrapped").read_bytes()
    key = opened(vault, environment, text, layout)
    halves = [half for half in (key.encryption, key.signature) if half is not None]
    assert [len(half) for half in halves] == ([32] if layout == "v1" else [32, 32])
    shown = ran.out + ran.err.encode() + b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert not [form for half in halves for form in forms_of(half) if form in shown]
    assert (tmp_path / "wrapped").stat().st_mode & 0o7777 == 0o600


# --- wrap ---


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_a_key_that_is_there_is_wrapped_and_shown_nowhere(
    vault: VaultDouble, environment: dict[str, str], tmp_path: Path, layout: str, place: str
) -> None:
    """The plain key is in the very variable that is to hold the wrapped one."""
    uri = "vault-transit:acra?address=" + vault.address + place.format(tmp_path)
    if layout == "v2":
        (tmp_path / "keys" / "version").write_bytes(b"Acra Keystore v2")
        (tmp_path / "keys" / "version").chmod(0o600)
    plain = environment | {"ACRA_MASTER_KEY": TEXTS[layout]}
    ran = master_key("wrap", "--wrap", uri, environment=plain)
    found = {"": ran.out, PLACES[1]: b"", PLACES[2]: b""}[place]
    for path in (tmp_path / "wrapped", tmp_path / "keys.keyfs" / "master-key"):
        found += path.read_bytes() if path.exists() else b""
    assert opened(vault, environment, found, layout) == KEYS[layout]
    assert canary.left_below(tmp_path) == {}


def test_a_wrapped_key_moves_to_another_service_key(
    vault: VaultDouble, environment: dict[str, str], tmp_path: Path
) -> None:
    first = f"vault-transit:acra?from=file:{tmp_path}/first"
    second = f"vault-transit:new?from=file:{tmp_path}/second"
    plain = environment | {"ACRA_MASTER_KEY": TEXTS["v1"]}
    master_key("wrap", "--wrap", first, environment=plain)
    said = master_key("wrap", "--master-key", first, "--wrap", second, "--create", environment=environment)
    assert said.err.startswith("made Transit key 'new' at transit in Vault")
    again = master_key("unwrap-check", "--master-key", second, environment=environment)
    assert again.err == (
        f"opens: a v1 master key of 48 bytes, {second}\nnothing is sealed yet in dir:{tmp_path}/keys\n"
    )
    del transit(vault).keys["acra"]
    assert master_key("unwrap-check", "--master-key", second, environment=environment)


def test_a_wrapped_text_is_not_wrapped_once_more(environment: dict[str, str]) -> None:
    plain = environment | {"ACRA_MASTER_KEY": TEXTS["v1"]}
    text = master_key("wrap", "--wrap", "vault-transit:acra", environment=plain).out.decode()
    wrapped = environment | {"ACRA_MASTER_KEY": text}
    said = master_key("wrap", "--wrap", "vault-transit:acra", environment=wrapped, code=7).refusal()
    assert "is not standard base64" in said


def test_what_looks_odd_about_a_key_is_said(environment: dict[str, str]) -> None:
    digits = environment | {"ACRA_MASTER_KEY": "0123456789abcdef" * 4}
    assert "warning: environment variable ACRA_MASTER_KEY is 64 hex digits" in (
        master_key("wrap", "--wrap", "vault-transit:acra", environment=digits).err
    )


# --- create ---


def test_a_service_key_is_made_only_when_told(
    vault: VaultDouble, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ("generate", "--wrap", f"vault-transit:new?from=file:{tmp_path}/wrapped")
    said = master_key(*words, environment=environment, code=7).refusal()
    assert "there is no Transit key 'new'" in said
    assert list(transit(vault).keys) == ["acra"]
    assert not (tmp_path / "wrapped").exists()
    made, wrapped = master_key(*words, "--create", environment=environment).err.splitlines()
    assert made.startswith("made Transit key 'new' at transit in Vault")
    assert wrapped.endswith(f"and it opens: kept in file {tmp_path}/wrapped")
    (tmp_path / "wrapped").unlink()
    assert "is there already" in master_key(*words, "--create", environment=environment).err


# --- proof ---


MISLEADING = {
    "another key": (
        Fault(200, b'{"data":{"plaintext":"%b"}}' % base64.b64encode(b"k" * 32)),
        "to another key",
    ),
    "no key": (Fault(200, b'{"data":{"plaintext":"AAAA"}}'), "a key of 3 bytes, 32 is the least"),
    "damaged": (Fault(400, b'{"errors":["cipher: message authentication failed"]}'), "does not open with"),
}


@pytest.mark.parametrize(("fault", "said"), MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("place", PLACES)
def test_what_does_not_open_again_is_neither_printed_nor_kept(
    environment: dict[str, str], vault: VaultDouble, tmp_path: Path, place: str, fault: Fault, said: str
) -> None:
    vault.faults["transit/decrypt/acra"] = fault
    before = picture(tmp_path)
    uri = "vault-transit:acra?address=" + vault.address + place.format(tmp_path)
    assert said in master_key("generate", "--wrap", uri, environment=environment, code=7).refusal()
    assert picture(tmp_path) == before


def test_a_service_that_goes_away_between_wrap_and_proof(
    environment: dict[str, str], vault: VaultDouble
) -> None:
    vault.faults["transit/decrypt/acra"] = Fault(503, b'{"errors":["Vault is sealed"]}')
    master_key("generate", "--wrap", "vault-transit:acra", environment=environment, code=21).refusal()


# --- unwrap-check ---


@pytest.mark.parametrize(("layout", "size"), [("v1", "48"), ("v2", "48 and 32")])
def test_a_key_is_tried_without_a_store(
    environment: dict[str, str], layout: str, size: str, guards: list[str]
) -> None:
    alone = environment | {"ACRA_MASTER_KEY": TEXTS[layout], "KEYFS_STORE": "", "KEYFS_LAYOUT": layout}
    ran = master_key("unwrap-check", environment=alone)
    assert (ran.out, ran.err) == (b"", f"opens: a {layout} master key of {size} bytes, env:ACRA_MASTER_KEY\n")
    assert guards == ["raised"]


def test_each_of_several_keys_is_tried(environment: dict[str, str], tmp_path: Path) -> None:
    old = environment | {"ACRA_MASTER_KEY": TEXTS["v1"], "NEW": encode_v1(Secret(b"k" * 32)).decode()}
    assert keyfs("generate", "storage-sym/alice", environment=old).code == 0
    several = old | {"KEYFS_MASTER_KEY": "env:NEW,env:ACRA_MASTER_KEY"}
    assert master_key("unwrap-check", environment=several).err.splitlines() == [
        "opens: a v1 master key of 32 bytes, env:NEW",
        "opens: a v1 master key of 48 bytes, env:ACRA_MASTER_KEY",
        f"opens: dir:{tmp_path}/keys",
    ]
    one_is_missing = several | {"KEYFS_MASTER_KEY": "env:ACRA_MASTER_KEY,env:NOT_SET"}
    assert "NOT_SET" in master_key("unwrap-check", environment=one_is_missing, code=7).refusal()


def test_a_key_for_each_client_is_no_master_key(environment: dict[str, str]) -> None:
    alone = environment | {"KEYFS_STORE": "", "KEYFS_MASTER_KEY": "awskms-per-client:alias/acra"}
    said = master_key("unwrap-check", environment=alone, code=2).refusal()
    assert "has a key for each client and no master key" in said


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("env:OTHER", 8, "opens none of the 1 keys tried"),
        ("env:V2", 7, "is a v2 master key (JSON), but the key store has layout v1"),
        ("env:NOT_SET", 7, "NOT_SET is not set"),
        ("vault-transit:acra", 7, "the wrapped master key is damaged or not Vault's"),
        ("vault-transit:acra?from=store", 7, "beside the key store is not there"),
        ("vault-transit:acra?address=http://127.0.0.1:1&from=env:WRAPPED", 21, "127.0.0.1:1"),
        ("gcpkms:acra", 2, "unknown master key scheme 'gcpkms'"),
    ],
)
def test_what_does_not_open_says_why(
    vault: VaultDouble, environment: dict[str, str], uri: str, code: int, said: str
) -> None:
    settings = environment | {
        "ACRA_MASTER_KEY": TEXTS["v1"],
        "OTHER": encode_v1(Secret(b"k" * 32)).decode(),
        "V2": TEXTS["v2"],
        "WRAPPED": "vault:v1:AAAA",
    }
    assert keyfs("generate", "storage-sym/alice", environment=settings).code == 0
    ran = master_key("unwrap-check", "--master-key", uri, environment=settings, code=code)
    assert said in ran.refusal()
