"""A machine without AWS settings of its own, and what every refusal is held to."""

import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from keyfs.core.secret import Secret
from keyfs.errors import KeyfsError, MasterKeyUnavailable
from keyfs.master.registry import open_key
from keyfs.testing.kms_uris import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from keyfs.testing.master_contract import CANARY, assert_no_secret

SESSION_TOKEN = "FwoGZXIvYXdzEKeyfsTestsSessionTokenAAAABBBBCCCC"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def forget_machine(monkeypatch: pytest.MonkeyPatch, home: Path, *, logged_in: bool = True) -> None:
    """Leave no way to AWS that belongs to the machine; offer an access key in the environment."""
    for name in [*os.environ]:
        if name.startswith("AWS_") or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
    if logged_in:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)


def wrapped(uri: str, material: bytes = CANARY) -> bytes:
    """What keyfs wraps *material* to."""
    return open_key(uri).wrap(Secret(material))


def refused(
    act: Callable[[], object], kind: type[KeyfsError] = MasterKeyUnavailable, handed_in: str = ""
) -> str:
    """The line with which *act* is refused."""
    with pytest.raises(KeyfsError) as caught:
        act()
    assert type(caught.value) is kind, caught.value
    assert_harmless(caught.value, handed_in)
    return str(caught.value)


def assert_harmless(error: BaseException, handed_in: str = "") -> None:
    """One line, and no secret in it, nor in its traceback, nor in what keyfs's frames hold of their own."""
    assert "\n" not in str(error)
    assert str(error).isprintable()
    behind = error.__cause__ or error.__context__
    assert behind is None or isinstance(behind, OSError), type(behind)
    seen = traceback.TracebackException.from_exception(error, capture_locals=True)
    held = "".join(str(frame.locals) for frame in seen.stack if "/keyfs/master/" in frame.filename)
    shown = "".join(traceback.format_exception(error))
    for secret in (SECRET_ACCESS_KEY, SESSION_TOKEN):
        assert secret not in shown
        assert secret not in held or secret in handed_in
    assert_no_secret(shown + held)


def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Hear all that anybody logs."""
    caplog.set_level(logging.DEBUG)
