"""The hunt for canaries finds them in every dress, and a run that shows one fails."""

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_conftest import run_pytest

from keyfs.seal.containers import check_private
from keyfs.testing import canary

KEYS = {
    "master": canary.MASTER_KEY,
    "symmetric": canary.SYMMETRIC,
    "text": canary.TEXT,
    "private": canary.PRIVATE,
}
DRESSES = {
    "raw": lambda key: key,
    "in the middle": lambda key: b"x" * 5 + key + b"\n",
    "half": lambda key: key[-26:],
    "hex": lambda key: key.hex().encode(),
    "HEX": lambda key: key.hex().upper().encode(),
    "hex, colons": lambda key: key.hex(":").encode(),
    "hex, spaces": lambda key: key.hex(" ").encode(),
    "repr": lambda key: repr(key).encode(),
    "repr of a bytearray": lambda key: repr(bytearray(key)).encode(),
    "list": lambda key: str(list(key)).encode(),
    "base64": base64.b64encode,
    "base64 of more": lambda key: base64.b64encode(b"xy" + key + b"z"),
    "base64 of yet more": lambda key: base64.b64encode(b"x" + key),
    "URL-safe base64": base64.urlsafe_b64encode,
}


def test_the_keys_are_keys() -> None:
    check_private(canary.PRIVATE)
    assert (len(canary.MASTER_KEY), len(canary.SYMMETRIC), len(canary.TEXT)) == (48, 32, 32)
    assert canary.TEXT.isalnum()


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_is_found_in_any_dress(key: bytes, dress: Callable[[bytes], bytes]) -> None:
    assert canary.found_in(dress(key))


def test_what_is_no_key_is_not_found() -> None:
    assert canary.found_in(Path(canary.__file__).read_bytes()) == []
    assert canary.found_in("REC2\0\0\0-" + "0123456789abcdef" * 1000) == []
    assert canary.found_in(canary.SYMMETRIC[:11]) == []


def test_a_key_in_a_file_is_found_unless_it_was_put_there_on_purpose(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    leaks = [tmp_path / "leak", tmp_path / "deep/leak", tmp_path / canary.SYMMETRIC.hex()]
    for path in leaks[:2]:
        path.write_bytes(b"..." + canary.PRIVATE)
    leaks[2].touch()
    (tmp_path / "key.canary-input").write_bytes(canary.PRIVATE)
    (tmp_path / "link").symlink_to("leak")
    (tmp_path / "innocent").write_bytes(bytes(100_000))
    assert set(canary.left_below(tmp_path)) == set(leaks)
    for path in leaks:
        path.unlink()
    assert canary.left_below(tmp_path) == {}


HEAD = "import logging, sys, pytest\nfrom keyfs.testing import canary\n"
SHOWN = {
    "stdout": "print(canary.SYMMETRIC.hex())",
    "stderr": "print(canary.MASTER_KEY, file=sys.stderr)",
    "log": "logging.getLogger('other').error('%s', canary.SYMMETRIC)",
    "failure": "pytest.fail(canary.SYMMETRIC.hex())",
    "error": "raise ValueError(list(canary.PRIVATE))",
}
IN_SET_UP = "@pytest.fixture\ndef f(): print(canary.TEXT)\ndef test_set_up(f): pass\n"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """By a run of tests that all show a key."""
    tests = "".join(f"def test_{name}(): {body}\n" for name, body in SHOWN.items())
    wide = {"COLUMNS": "200"}
    ran = run_pytest(tmp_path_factory.mktemp("run"), HEAD + tests + IN_SET_UP, environment=wide)
    assert ran.returncode == 1
    assert canary.found_in(ran.stdout + ran.stderr) == []
    return ran.stdout


@pytest.mark.parametrize("name", [*SHOWN, "set_up"])
def test_a_test_that_shows_a_key_fails_and_the_report_does_not_show_it_again(name: str, said: str) -> None:
    line = rf"^(FAILED|ERROR) test_it.py::test_{name} - \w+: key bytes were shown: "
    assert re.search(line, said, re.MULTILINE), said


@pytest.mark.parametrize(("name", "fails"), [("key", True), ("key.canary-input", False)])
def test_a_run_that_leaves_a_key_in_a_file_fails(tmp_path: Path, name: str, fails: bool) -> None:
    test = f"def test_it(tmp_path): (tmp_path / {name!r}).write_bytes(canary.SYMMETRIC)"
    ran = run_pytest(tmp_path, HEAD + test)
    shutil.rmtree(tmp_path / "tmp")
    assert ran.returncode == fails
    assert ("key bytes were left on disk: " in ran.stdout) == fails
