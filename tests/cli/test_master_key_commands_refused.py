"""What `keyfs master-key` refuses is refused before anything is made, and leaves everything as it was."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import keyfs
from pictures import picture
from wrapping_site import TEXTS, master_key, site, transit, transit_vault

from keyfs.core.secret import Secret
from keyfs.master.encoding import encode_v1
from keyfs.testing.mounted import keyfs_environment
from keyfs.testing.vault_double import VaultDouble

WRITING = {"POST", "PUT", "DELETE"}


@pytest.fixture(autouse=True)
def guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not raised: that would last as long as this process."""
    monkeypatch.setattr("keyfs.cli.master.raise_guards", lambda: None)


@pytest.fixture
def vault() -> Iterator[VaultDouble]:
    with transit_vault() as vault:
        yield vault


@pytest.fixture
def environment(vault: VaultDouble, tmp_path: Path) -> dict[str, str]:
    """With a master key in the usual variable, and all the places that are taken already."""
    (tmp_path / "taken").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "keys.keyfs").mkdir(mode=0o700)
    (tmp_path / "keys.keyfs" / "taken").write_bytes(b"vault:v1:AAAA\n")
    return site(vault, tmp_path) | {"ACRA_MASTER_KEY": TEXTS["v1"], "V2": TEXTS["v2"]}


def requests_that_change(vault: VaultDouble) -> list[str]:
    return [seen.path for seen in vault.seen if seen.method in WRITING]


NEW = "vault-transit:new"  # nobody has made it: whoever tries to leaves a trace
TAKEN_OR_NO_PLACE = {
    "file": (f"{NEW}?from=file:{{}}/taken", 5, "/taken is there already"),
    "dangling link": (f"{NEW}?from=file:{{}}/dangling", 5, "/dangling is there already"),
    "folder": (f"{NEW}?from=file:{{}}/folder", 5, "/folder is there already"),
    "no folder": (f"{NEW}?from=file:{{}}/no/wrapped", 2, "there is no folder "),
    "beside": (f"{NEW}?from=store:taken", 5, "'taken' beside the key store is there already"),
    "the lock": (f"{NEW}?from=store:lock", 3, "cannot name anything beside a key store"),
    "no place": (f"{NEW}?from=nowhere", 2, "'from=' says where"),
    "twice": (f"{NEW}?from=store&from=env:A", 2, ""),
}
NO_WRAPPING_KEY = {
    "env": ("env:ACRA_MASTER_KEY", 2, "'env' wraps no keys; these do: awskms, pkcs11, vault-transit"),
    "file": ("file:{}/taken", 2, "'file' wraps no keys"),
    "vault": ("vault:secret/acra", 2, "'vault' wraps no keys"),
    "a key in place of a URI": (TEXTS["v1"], 2, "is named by a URI such as env:ACRA_MASTER_KEY"),
    "empty": ("", 2, "is named by a URI"),
}
CASES = TAKEN_OR_NO_PLACE | NO_WRAPPING_KEY


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("command", ["generate", "wrap"])
def test_a_wrong_place_or_key_changes_nothing_anywhere(
    environment: dict[str, str], vault: VaultDouble, tmp_path: Path, command: str, case: tuple[str, int, str]
) -> None:
    uri, code, said = case
    before = picture(tmp_path)
    words = (command, "--wrap", uri.format(tmp_path), "--create")
    assert said in master_key(*words, environment=environment, code=code).refusal()
    assert picture(tmp_path) == before
    assert requests_that_change(vault) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("generate", "--create"), 2, "--create makes the key that --wrap names"),
        (("generate", "--wrap", f"{NEW}?from=store", "--create", "--store", ""), 2, "needs --store URI"),
        (("generate", "--wrap", f"{NEW}?from=store", "--create", "--store", "/no/store"), 17, "/no/store"),
        (
            ("generate", "--wrap", f"{NEW}?from=store", "--create", "--layout", "v2"),
            2,
            "has layout v1, not v2",
        ),
        (("wrap",), 2, "Missing option '--wrap'"),
        (("wrap", "--wrap", NEW, "--create", "--layout", "v2"), 2, "has layout v1, not v2"),
        (("wrap", "--wrap", NEW, "--create", "--layout", "v2", "--store", ""), 7, "a v1 key does not do"),
        (("wrap", "--wrap", NEW, "--create", "--master-key", "env:V2"), 7, "is a v2 master key (JSON)"),
        (("wrap", "--wrap", NEW, "--create", "--master-key", "env:NOT_SET"), 7, "NOT_SET is not set"),
        (
            ("wrap", "--wrap", NEW, "--create", "--master-key", f"{NEW}?from=store"),
            7,
            "is not there; make one",
        ),
        (
            ("wrap", "--wrap", NEW, "--create", "--master-key", "awskms-per-client:a"),
            2,
            "a key for each client",
        ),
    ],
    ids=str,
)
def test_nor_do_options_that_do_not_fit(
    environment: dict[str, str],
    vault: VaultDouble,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    before = picture(tmp_path)
    assert said in master_key(*words, environment=environment, code=code).refusal()
    assert picture(tmp_path) == before
    assert requests_that_change(vault) == []


@pytest.mark.parametrize("place", ["file:{}/taken", "store:taken"])
def test_what_appears_meanwhile_is_not_overwritten(
    environment: dict[str, str], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look comes before the key service is asked; another command may be quicker."""
    monkeypatch.setattr("keyfs.cli.master.check_free", lambda *_: None)
    before = {path: path.read_bytes() for path in (tmp_path / "taken", tmp_path / "keys.keyfs" / "taken")}
    uri = f"vault-transit:acra?from={place.format(tmp_path)}"
    said = master_key("generate", "--wrap", uri, environment=environment, code=5).refusal()
    assert "is there already, and is left as it is" in said
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir(tmp_path)) == ["dangling", "folder", "keys", "keys.keyfs", "taken"]


@pytest.mark.parametrize("place", ["file:{}/raced", "store:raced"])
def test_of_many_at_once_one_keeps_its_key(
    environment: dict[str, str], vault: VaultDouble, tmp_path: Path, place: str
) -> None:
    uri = f"vault-transit:acra?from={place.format(tmp_path)}"
    command = [sys.executable, "-m", "keyfs", "master-key", "generate", "--wrap", uri]
    racing = [
        subprocess.Popen(command, env=keyfs_environment(environment), stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    told = [process.communicate(timeout=60)[1].decode() for process in racing]
    assert sorted(process.returncode for process in racing) == [0, 5, 5, 5], told
    assert sum("is there already" in line for line in told) == 3
    assert len(requests_that_change(vault)) >= 2, "one at least has come to wrap and unwrap"
    assert (
        "opens: a v1 master key"
        in master_key("unwrap-check", "--master-key", uri, environment=environment).err
    )
    assert not list(tmp_path.glob(".keyfs-*"))


def test_a_medium_without_hard_links_keeps_it_too(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr("keyfs.cli.keeping.os.link", refuse)
    uri = f"vault-transit:acra?from=file:{tmp_path}/wrapped"
    assert master_key("generate", "--wrap", uri, environment=environment)
    assert (tmp_path / "wrapped").read_bytes().startswith(b"vault:v1:")
    assert not list(tmp_path.glob(".keyfs-*"))
    again = f"vault-transit:acra?from=file:{tmp_path}/taken"
    monkeypatch.setattr("keyfs.cli.master.check_free", lambda *_: None)
    assert master_key("generate", "--wrap", again, environment=environment, code=5)
    assert (tmp_path / "taken").read_bytes() == b""


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 15), (errno.EROFS, 13), (errno.EIO, 16), (errno.EACCES, 10)]
)
def test_a_file_that_cannot_be_written_is_not_left_in_part(
    environment: dict[str, str], tmp_path: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    before = {name: facts for name, facts in picture(tmp_path).items() if name != "."}
    monkeypatch.setattr("keyfs.store.files.os.fsync", refuse)
    uri = f"vault-transit:acra?from=file:{tmp_path}/wrapped"
    said = master_key("generate", "--wrap", uri, environment=environment, code=code).refusal()
    assert said.startswith(f"cannot write {tmp_path}/wrapped: ")
    assert {name: facts for name, facts in picture(tmp_path).items() if name != "."} == before


def test_a_token_that_may_not_make_keys_gets_nothing(environment: dict[str, str], vault: VaultDouble) -> None:
    wrong = environment | {"VAULT_API_TOKEN": "d3Jvbmc="}
    master_key("generate", "--wrap", NEW, "--create", environment=wrong, code=7).refusal()
    assert list(transit(vault).keys) == ["acra"]


def test_a_plain_key_is_printed_by_generate_alone(environment: dict[str, str]) -> None:
    """And by that only without --wrap, wherever that was said."""
    key = keyfs("master-key", "generate", environment={}).out
    assert len(key) == len(encode_v1(Secret(bytes(32)))) + 1
    told = environment | {"KEYFS_WRAP": "vault-transit:acra"}
    assert master_key("generate", environment=told).out.startswith(b"vault:v1:")
