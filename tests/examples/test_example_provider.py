"""A package as somebody else could write it: installed as one, it adds a scheme that keeps the contract."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keyfs.errors import InvalidSettings, MasterKeyUnavailable
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import MasterKeyContract, Put, assert_no_secret
from keyfs.testing.mounted import mounted, run_keyfs
from keyfs.testing.stores import RealStore, restore_real_store

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
MEMBER = "acra_master_key"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip put it, offline; built from a copy, so that nothing is left in the tree."""
    place = tmp_path_factory.mktemp("example")
    shutil.copytree(HERE / "keyfs_example_provider", place / "source")
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", place / "site", place / "source"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "site"


@pytest.fixture
def in_reach(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)


def put_in(path: Path, content: str) -> str:
    path.touch(mode=0o600)
    path.write_text(content)
    return f"example-json:{path}#{MEMBER}"


class TestExampleProvider(MasterKeyContract):
    @pytest.fixture
    def put(self, tmp_path: Path, in_reach: None) -> Put:
        def put(text: bytes | None) -> str:
            value = None if text is None else text.decode()
            return put_in(tmp_path / "secret.json", json.dumps({"user": "acra", MEMBER: value}))

        return put


@pytest.mark.parametrize("content", ["", "[1]", "7", '{"acra_master_key": 7}', '{"acra_master_key": "AAAA'])
def test_a_file_without_that_member_is_refused(in_reach: None, tmp_path: Path, content: str) -> None:
    with pytest.raises(MasterKeyUnavailable) as caught:
        open_provider(put_in(tmp_path / "secret.json", content), "v1").fetch()
    assert "member 'acra_master_key' of" in str(caught.value)
    assert caught.value.__context__ is None
    assert_no_secret(str(caught.value))


@pytest.mark.parametrize("rest", ["", "#", "/a/path", "#member", "/a/path#"])
def test_a_uri_without_file_or_member_is_refused(in_reach: None, rest: str) -> None:
    with pytest.raises(InvalidSettings, match="needs a file and a member"):
        open_provider(f"example-json:{rest}", "v1")


# --- as a user has it ---


@pytest.fixture
def store(tmp_path: Path) -> RealStore:
    return restore_real_store(VECTORS, "v1-dir", tmp_path)


@pytest.fixture
def environment(store: RealStore, installed: Path, tmp_path: Path) -> dict[str, str]:
    uri = put_in(tmp_path / "secret.json", json.dumps({MEMBER: store.master_key}))
    return {"KEYFS_STORE": store.uri, "KEYFS_MASTER_KEY": uri, "PYTHONPATH": str(installed)}


def test_its_scheme_mounts_what_acra_wrote(
    environment: dict[str, str], store: RealStore, tmp_path: Path, fuse_required: None
) -> None:
    [wanted] = [
        bytes.fromhex(answer["hex"])
        for question, answer in store.manifest["acra_keys_read"].items()
        if question.startswith("client/alice/symmetric") and "hex" in answer
    ]
    with mounted(tmp_path / "mount", environment=environment) as mountpoint:
        assert (mountpoint / "storage-sym/alice/current").read_bytes() == wanted


def test_commands_take_its_scheme_and_its_errors(environment: dict[str, str]) -> None:
    done = run_keyfs("master-key", "unwrap-check", environment=environment)
    assert done.returncode == 0, done.stderr
    done = run_keyfs("check", environment=environment)
    assert b"blobs" in done.stderr, done.stderr
    elsewhere = environment | {"KEYFS_MASTER_KEY": "example-json:/no/file#key"}
    done = run_keyfs("check", environment=elsewhere)
    assert (done.returncode, done.stdout) == (7, b"")
    assert done.stderr == b"keyfs: /no/file cannot be read (No such file or directory); " + (
        b"mend that, or name another place\n"
    )


def test_its_scheme_is_listed_where_it_is_installed_and_only_there(environment: dict[str, str]) -> None:
    unknown = environment | {"KEYFS_MASTER_KEY": "gcpkms:x"}
    for lacks in (False, True):
        settings = unknown | ({"PYTHONPATH": ""} if lacks else {})
        done = run_keyfs("check", environment=settings)
        assert done.returncode == 2
        assert (b"example-json" in done.stderr) is not lacks
