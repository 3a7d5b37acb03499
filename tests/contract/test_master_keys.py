"""The master key providers keep their contract, and each refuses what only it can meet."""

import os
import shlex
from pathlib import Path

import pytest

from keyfs.errors import InsecurePermissions, InvalidSettings, LayoutUnsupported, MasterKeyUnavailable
from keyfs.master.file import SIZE_LIMIT
from keyfs.master.registry import DEFAULT_URI, known_schemes, open_provider
from keyfs.testing.master_contract import CANARY, V1_TEXT, MasterKeyContract, Put, assert_no_secret, base64


class TestEnvironment(MasterKeyContract):
    @pytest.fixture
    def put(self, monkeypatch: pytest.MonkeyPatch) -> Put:
        def put(text: bytes | None) -> str:
            if text is None:
                monkeypatch.delenv("CONTRACT_KEY", raising=False)
            else:
                monkeypatch.setenv("CONTRACT_KEY", os.fsdecode(text))
            return "env:CONTRACT_KEY"

        return put


class TestFile(MasterKeyContract):
    @pytest.fixture
    def put(self, tmp_path: Path) -> Put:
        def put(text: bytes | None) -> str:
            path = tmp_path / "master key"
            path.unlink(missing_ok=True)
            if text is not None:
                path.touch(mode=0o600)
                path.write_bytes(text)
            return f"file:{path}"

        return put


def key_file(folder: Path, mode: int = 0o600, text: bytes = V1_TEXT) -> Path:
    path = folder / "it's a key"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def refusal(uri: str, layout: str = "v1") -> str:
    with pytest.raises(
        (InvalidSettings, MasterKeyUnavailable, InsecurePermissions, LayoutUnsupported)
    ) as caught:
        open_provider(uri, layout).fetch()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- env ---


def test_the_default_is_where_acra_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACRA_MASTER_KEY", V1_TEXT.decode())
    assert open_provider(DEFAULT_URI, "v1").fetch().encryption.reveal() == CANARY


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTRACT_KEY", raising=False)
    assert "environment variable CONTRACT_KEY is not set" in refusal("env:CONTRACT_KEY")


@pytest.mark.parametrize("name", ["", "A=B", "A B", "1A", "É", V1_TEXT.decode(), "a" * 44, CANARY.hex()])
def test_what_is_no_variable_name_is_refused_and_not_repeated(name: str) -> None:
    message = refusal(f"env:{name}")
    assert "env:ACRA_MASTER_KEY" in message
    assert len(name) < 4 or name not in message


# --- file ---


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o666])
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode)
    message = refusal(f"file:{path}")
    assert f"mode {mode:04o}" in message
    command = message.partition("run: ")[2]
    assert shlex.split(command) == ["chmod", "600", str(path)]
    os.chmod(shlex.split(command)[2], int(shlex.split(command)[1], 8))
    assert open_provider(f"file:{path}", "v1").fetch().encryption.reveal() == CANARY


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_of_its_owner_alone_is_taken(tmp_path: Path, mode: int) -> None:
    assert open_provider(f"file:{key_file(tmp_path, mode)}", "v1").fetch().encryption.reveal() == CANARY


def test_a_link_to_a_key_file_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key_file(tmp_path))
    assert open_provider(f"file:{link}", "v1").fetch().encryption.reveal() == CANARY


def test_three_slashes_are_one(tmp_path: Path) -> None:
    provider = open_provider(f"file://{key_file(tmp_path)}", "v1")
    assert provider.fetch().encryption.reveal() == CANARY
    assert provider.describe() == f"file:{tmp_path}/it's a key"


def test_a_relative_path_survives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    provider = open_provider(f"file:{key_file(tmp_path).name}", "v1")
    monkeypatch.chdir("/")
    assert provider.fetch().encryption.reveal() == CANARY


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in refusal(f"file:{tmp_path}/fifo")


@pytest.mark.parametrize("path", ["/dev/zero", "/proc"])
def test_devices_and_directories_are_refused(path: str) -> None:
    assert "not a regular file" in refusal(f"file:{path}")


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert "longer than" in refusal(f"file:{key_file(tmp_path, text=b'A' * (SIZE_LIMIT + 1))}")
    assert open_provider(f"file:{key_file(tmp_path, text=b'A' * SIZE_LIMIT)}", "v1").fetch()


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    assert "'file:' needs the path" in refusal(f"file:{path}")


def test_the_raw_file_of_acra_keymaker_gets_a_hint(tmp_path: Path) -> None:
    assert "base64 -w0" in refusal(f"file:{key_file(tmp_path, text=CANARY)}")


# --- warnings ---


def test_a_key_in_hex_comes_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_KEY", CANARY.hex())
    key = open_provider("env:CONTRACT_KEY", "v1").fetch()
    assert len(key.encryption) == 48
    (warning,) = key.warnings
    assert warning.startswith("environment variable CONTRACT_KEY is 64 hex digits")
    assert_no_secret(warning)


# --- registry ---


@pytest.mark.parametrize(
    "uri", ["", V1_TEXT.decode(), base64(CANARY * 2).decode(), "/etc/key", ":x", "éa:x", "A" * 44 + ":"]
)
def test_a_key_in_place_of_its_uri_is_not_repeated(uri: str) -> None:
    message = refusal(uri)
    assert "env:ACRA_MASTER_KEY" in message
    assert len(uri) < 4 or uri not in message


def test_an_unknown_scheme_is_refused_with_those_known() -> None:
    assert refusal("gcpkms:x") == f"unknown master key scheme 'gcpkms'; known: {', '.join(known_schemes())}"
    assert {"env", "file"} <= set(known_schemes())


def test_schemes_come_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_KEY", V1_TEXT.decode())
    assert open_provider("ENV:CONTRACT_KEY", "v1").describe() == "env:CONTRACT_KEY"


def test_an_unknown_layout_is_refused() -> None:
    assert "v1 and v2" in refusal(DEFAULT_URI, "v3")


PLUGIN = """
from keyfs.core.secret import Secret
from keyfs.master.base import MasterKey

class Provider:
    def __init__(self, rest, layout):
        self._rest = rest

    def fetch(self):
        return MasterKey(Secret(self._rest.encode()), None)

    def describe(self):
        return "thirdparty:"
"""


def install_plugin(folder: Path, package: str, target: str) -> None:
    """Lay a package with an entry point into *folder* as pip would."""
    info = folder / f"{package}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[keyfs.master_keys]\nthirdparty = {target}\n")
    (folder / f"{package}_module.py").write_text(PLUGIN)


def test_another_package_adds_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "plug_a", "plug_a_module:Provider")
    monkeypatch.syspath_prepend(tmp_path)
    assert open_provider("thirdparty:abc", "v1").fetch().encryption.reveal() == b"abc"
    assert "thirdparty" in refusal("gcpkms:x")


@pytest.mark.parametrize("target", ["plug_b_absent:Provider", "plug_b_module:Absent"])
def test_a_broken_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    install_plugin(tmp_path, "plug_b", target)
    monkeypatch.syspath_prepend(tmp_path)
    assert "package plug_b; reinstall it" in refusal("thirdparty:abc")


def test_two_packages_with_one_scheme_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(tmp_path, "plug_c", "plug_c_module:Provider")
    install_plugin(tmp_path, "plug_d", "plug_d_module:Provider")
    monkeypatch.syspath_prepend(tmp_path)
    assert "keep one of: plug_c, plug_d" in refusal("thirdparty:abc")
