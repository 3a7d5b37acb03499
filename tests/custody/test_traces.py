"""What Python and the C library keep of a key is overwritten, and nothing that somebody else uses."""

import os
import subprocess
import sys

import pytest

from keyfs.custody import hide_variable, wipe_immutable
from keyfs.testing import canary

TEXT = canary.MASTER_KEY.hex()


def run(source: str, environment: dict[str, str] | None = None) -> None:
    environment = os.environ | (environment or {})
    ran = subprocess.run([sys.executable, "-c", source], env=environment, check=False, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def test_a_hidden_variable_is_gone_from_proc_and_from_children() -> None:
    source = """
import os, subprocess
from pathlib import Path
from keyfs.custody import hide_variable
value = os.environ["OTHER"].encode()
assert value in Path("/proc/self/environ").read_bytes().split(b"HIDDEN_KEY=")[1]
secret = hide_variable("HIDDEN_KEY")
assert secret.reveal() == value
assert hide_variable("HIDDEN_KEY") is None and "HIDDEN_KEY" not in os.environ
entries = Path("/proc/self/environ").read_bytes().split(b"\\0")
assert b"HIDDEN_KEY=" in entries and b"HIDDEN_KEY=" + value not in entries
assert b"OTHER=" + value in entries and b"HIDDEN_KEY_2=" + value in entries
assert os.environ["OTHER"] == os.environ["HIDDEN_KEY_2"] == value.decode()
children = subprocess.run(["env"], capture_output=True).stdout.splitlines()
assert b"OTHER=" + value in children and not [line for line in children if line.startswith(b"HIDDEN_KEY=")]
"""
    run(source, {"HIDDEN_KEY": TEXT, "HIDDEN_KEY_2": TEXT, "OTHER": TEXT})


def test_a_repeated_variable_is_overwritten_each_time() -> None:
    """execve(2) takes any list. In Python the first one counts."""
    child = """
from pathlib import Path
from keyfs.custody import hide_variable
assert hide_variable("TWICE").reveal() == b"first"
assert Path("/proc/self/environ").read_bytes().count(b"TWICE=\\0") == 2
assert b"second" not in Path("/proc/self/environ").read_bytes()
"""
    source = f"""
import ctypes, os, sys
words = [sys.executable.encode(), b"-c", {child.encode()!r}]
environment = [b"TWICE=first", b"TWICE=second"]
pack = lambda texts: (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
ctypes.CDLL(None).execve(words[0], pack(words), pack(environment))
"""
    run(source)


def test_a_variable_set_while_running_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_LATER", TEXT)
    secret = hide_variable("SET_LATER")
    assert secret is not None
    assert secret.reveal() == TEXT.encode()
    assert "SET_LATER" not in os.environ


def test_what_is_not_set_is_not_hidden() -> None:
    assert hide_variable("KEYFS_NO_SUCH_VARIABLE") is None


@pytest.mark.parametrize("length", [2, 31, 5000])
def test_our_own_bytes_and_text_are_overwritten(length: int) -> None:
    material = bytearray(b"k" * length)
    data, text = bytes(material), material.decode()
    assert wipe_immutable(data)
    assert wipe_immutable(text)
    assert data == bytes(length)
    assert text == "\0" * length


def test_what_others_see_is_left_alone() -> None:
    shared = bytes(bytearray(b"shared"))
    other = [shared]
    values: list[bytes | str] = [b"", b"k", "k", b"constant", "constant", "schlüssel" * len(other), shared]
    for value in values:
        before = repr(value)
        assert not wipe_immutable(value)
        assert repr(value) == before
