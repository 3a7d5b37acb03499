"""A master key fetched in a process of its own: it arrives whole, so do errors, and nothing hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keyfs.errors import (
    InsecurePermissions,
    InvalidSettings,
    KeyfsError,
    KeyServiceUnavailable,
    LayoutUnsupported,
    MasterKeyUnavailable,
)
from keyfs.master import apart
from keyfs.master.apart import ApartMasterKey, provider_of
from keyfs.testing.master_contract import CANARY, CANARY_SIGNATURE, V1_TEXT, V2_TEXT, assert_no_secret

WITHIN_S = 30.0
PROVIDERS = """
import os, signal, sys, time
from keyfs import errors
from keyfs.core.secret import Secret
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode

class Provider:
    def __init__(self, rest, layout):
        self._words, self._layout = rest.split(","), layout

    def fetch(self):
        return getattr(self, self._words[0])(*self._words[1:])

    def describe(self):
        return "apart:described"

    def text(self, value):
        print("what a chatty library prints")
        os.write(1, b"more of it")
        return decode(value.encode(), self._layout, "the text")

    def warned(self):
        return MasterKey(Secret(b"k" * 70_000), None, ("one line", "schlüssel"))

    def error(self, name):
        raise getattr(errors, name)("two\\nlines")

    def bug(self, value):
        raise ValueError(value)

    def hang(self, path):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(path, "w").write(str(os.getpid()))
        time.sleep(1000)

    def signalled(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self):
        os._exit(3)

    def folder(self):
        raise errors.InvalidSettings(os.getcwd())

    def inherited(self):
        from keyfs.custody import core_dumps
        raise errors.InvalidSettings(f"{sorted(os.listdir('/proc/self/fd'))} {core_dumps().forbidden}")
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers the scheme `apart`, where the process apart finds it, too."""
    info = tmp_path / "packages/plug_apart-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_apart\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[keyfs.master_keys]\napart = plug_apart_module:Provider\n")
    (tmp_path / "packages/plug_apart_module.py").write_text(PROVIDERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))


def refusal(
    uri: str,
    error: type[KeyfsError] = MasterKeyUnavailable,
    *,
    layout: str = "v1",
    within_s: float = WITHIN_S,
) -> str:
    with pytest.raises(error) as caught:
        provider_of(uri, layout, None, within_s).fetch()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


# --- keys ---


def test_a_v1_key_arrives_whole() -> None:
    key = provider_of(f"apart:text,{V1_TEXT.decode()}", "v1", None, WITHIN_S).fetch()
    assert (key.encryption.reveal(), key.signature, key.warnings) == (CANARY, None, ())


def test_a_v2_key_arrives_whole() -> None:
    key = provider_of(f"apart:text,{V2_TEXT.decode()}", "v2", None, WITHIN_S).fetch()
    assert key.signature is not None
    assert (key.encryption.reveal(), key.signature.reveal()) == (CANARY, CANARY_SIGNATURE)


def test_a_long_key_and_its_warnings_arrive() -> None:
    """More than a pipe takes at once."""
    key = provider_of("apart:warned", "v1", None, WITHIN_S).fetch()
    assert key.encryption.reveal() == b"k" * 70_000
    assert key.warnings == ("one line", "schlüssel")


def test_each_fetch_gives_a_key_of_its_own() -> None:
    provider = provider_of(f"apart:text,{V1_TEXT.decode()}", "v1", None, WITHIN_S)
    provider.fetch().wipe()
    assert provider.fetch().encryption.reveal() == CANARY


def test_a_description_is_that_of_the_provider_there_and_never_guessed() -> None:
    """What follows the scheme may hold a secret."""
    provider = provider_of(f"Apart:text,{V1_TEXT.decode()}", "v1", None, WITHIN_S)
    assert provider.describe() == "apart:"
    provider.fetch()
    assert provider.describe() == "apart:described"
    assert_no_secret(f"{provider!r} {refusal(f'apart:exits-{V1_TEXT.decode()}')}")


def test_what_our_own_code_reads_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_KEY", V1_TEXT.decode())
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    assert provider_of("ENV:CONTRACT_KEY", "v1", None, 0.0).fetch().encryption.reveal() == CANARY
    assert not isinstance(provider_of("file:x", "v1", None, 0.0), ApartMasterKey)


# --- errors ---


@pytest.mark.parametrize(
    "error",
    [InsecurePermissions, InvalidSettings, KeyServiceUnavailable, LayoutUnsupported, MasterKeyUnavailable],
)
def test_an_error_arrives_with_class_and_text(error: type[KeyfsError]) -> None:
    assert refusal(f"apart:error,{error.__name__}", error) == "two lines"


def test_what_the_registry_refuses_arrives() -> None:
    assert "unknown master key scheme 'gcpkms'; known: " in refusal("gcpkms:x", InvalidSettings)
    assert "the key itself never stands there" in refusal("", InvalidSettings)
    assert "v1 and v2" in refusal("apart:text,x", LayoutUnsupported, layout="v3")


def test_a_bug_of_somebody_else_is_one_line_without_its_text() -> None:
    message = refusal(f"apart:bug,{V1_TEXT.decode()}")
    assert message == "'apart' master keys: internal error ValueError in what fetches them"
    assert_no_secret(message)


def test_a_process_that_a_signal_ends_is_one_line() -> None:
    assert "was ended by SIGKILL; try again" in refusal("apart:signalled", KeyServiceUnavailable)


def test_a_process_that_gives_no_answer_is_one_line() -> None:
    assert "ended without an answer" in refusal("apart:exits")


def test_no_python_to_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(MasterKeyUnavailable, match="cannot start /nonexistent to fetch the master key"):
        provider_of("apart:text,x", "v1", None, WITHIN_S).fetch()


# --- what lies beside the key store ---


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ("?from=store", ["master-key"]),
        ("?region=x&from=store:other", ["other"]),
        ("?from=file:x", []),
        ("", []),
    ],
)
def test_what_lies_beside_the_store_is_read_in_this_process(options: str, asked: list[str]) -> None:
    """The process apart may not reach the store; it is told the text."""
    names: list[str] = []

    def read_beside(name: str) -> bytes:
        names.append(name)
        return b"text \xff"

    told = apart._text_beside(f"pkcs11:token{options}", read_beside)
    assert (told, names) == ("text \xff" if asked else None, asked)
    assert apart._text_beside(f"pkcs11:token{options}", None) is None


# --- the process ---


def ends(pid: int) -> bool:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_process_that_hangs_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """Even one that ignores a polite signal."""
    message = refusal(f"apart:hang,{tmp_path}/pid", KeyServiceUnavailable, within_s=5.0)
    assert message.startswith("apart: gave no master key within 5 s")
    assert ends(int((tmp_path / "pid").read_text()))


def test_the_process_ends_with_us(tmp_path: Path) -> None:
    uri = f"apart:hang,{tmp_path}/pid"
    source = (
        f"from keyfs.master.apart import provider_of\nprovider_of({uri!r}, 'v1', None, {WITHIN_S}).fetch()"
    )
    with subprocess.Popen([sys.executable, "-c", source]) as process:
        deadline = time.monotonic() + WITHIN_S
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert ends(int((tmp_path / "pid").read_text()))


def test_the_process_inherits_no_descriptor_and_dumps_no_core() -> None:
    """0, 1, 2, the answer's, and that of the listing itself."""
    with open(os.devnull) as file:
        os.set_inheritable(file.fileno(), True)
        assert refusal("apart:inherited", InvalidSettings) == "['0', '1', '2', '3', '4'] True"


def test_it_works_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon changes its directory before it fetches again."""
    monkeypatch.chdir(tmp_path)
    provider = provider_of("apart:folder", "v1", None, WITHIN_S)
    monkeypatch.chdir("/")
    with pytest.raises(InvalidSettings, match=str(tmp_path)):
        provider.fetch()
