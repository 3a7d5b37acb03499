"""`command:` keeps the contract: no shell, no secret of ours for the program, nothing left running."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from refused import refusal

from keyfs.errors import InvalidSettings, KeyServiceUnavailable
from keyfs.master import command
from keyfs.master.apart import ApartMasterKey
from keyfs.master.file import SIZE_LIMIT
from keyfs.master.registry import open_provider
from keyfs.testing.master_contract import CANARY, V1_TEXT, MasterKeyContract, Put, assert_no_secret
from keyfs.testing.waiting import wait_until

Script = Callable[[str], str]
"""Writes a shell script that the provider will start, and returns the URI of that."""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def script(text: str) -> str:
        path = tmp_path / "it's a program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return f"command:{shlex.quote(str(path))}"

    return script


class TestCommand(MasterKeyContract):
    @pytest.fixture
    def put(self, tmp_path: Path) -> Put:
        path = tmp_path / "the key"

        def put(text: bytes | None) -> str:
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_bytes(text)
            return f"command:/bin/cat '{path}'"

        return put


# --- what is started ---


@pytest.mark.parametrize(
    "line", ["", " ", "cat /key", "./key", "/bin/cat 'open", "/bin/cat a\0b", "$HOME/key"]
)
def test_what_names_no_program_is_refused(line: str) -> None:
    assert "the absolute path of a program" in refusal(f"command:{line}", InvalidSettings)


def test_no_shell_sees_the_words(tmp_path: Path) -> None:
    words = "$HOME `id` ; * > f | \\| \"two words\" 'it'\"'\"'s'"
    out = tmp_path / "words"
    uri = f'command:/bin/sh -c \'printf "%s\\n" "$@" > {out}; printf {V1_TEXT.decode()}\' sh {words}'
    open_provider(uri, "v1").fetch()
    assert out.read_text().splitlines() == [
        "$HOME", "`id`", ";", "*", ">", "f", "|", "|", "two words", "it's",
    ]  # fmt: skip


def test_the_program_gets_no_secret_of_ours(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the environment, nor an open file, nor a terminal to ask at."""
    monkeypatch.setenv("ACRA_MASTER_KEY", V1_TEXT.decode())
    monkeypatch.setenv("VAULT_API_TOKEN", "x")
    monkeypatch.setenv("GNUPGHOME", "/gnupg")
    reader, writer = os.pipe()
    os.write(writer, b"what stands on our standard input")
    os.close(writer)
    own = os.dup(0)
    os.dup2(reader, 0)
    os.set_inheritable(reader, True)  # as one that somebody passed to keyfs
    try:
        uri = script(
            f"env > {tmp_path}/env; readlink /proc/self/fd/* > {tmp_path}/open; cat; "
            f"(: < /dev/tty) 2> /dev/null && exit 9; printf {V1_TEXT.decode()}"
        )
        assert open_provider(uri, "v1").fetch().encryption.reveal() == CANARY
    finally:
        os.dup2(own, 0)
        os.close(own)
        os.close(reader)
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert {"PATH", "GNUPGHOME"} <= names <= {*command.PASSED_ON, "PWD", "_", "SHLVL", "OLDPWD"}
    assert "pipe:" not in (tmp_path / "open").read_text()


def test_env_gives_the_program_more(tmp_path: Path) -> None:
    uri = f"command:/usr/bin/env KEY={V1_TEXT.decode()} /bin/sh -c 'printf \"$KEY\"'"
    provider = open_provider(uri, "v1")
    assert provider.fetch().encryption.reveal() == CANARY
    assert provider.describe() == "command:/usr/bin/env"


def test_a_description_shows_the_program_and_no_argument(script: Script) -> None:
    provider = open_provider(script("true") + f" --password={V1_TEXT.decode()}", "v1")
    assert provider.describe().endswith("program'")
    assert_no_secret(provider.describe())


# --- what fails ---


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("/no/such/program", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("/", "Permission denied"),
        ("/bin/sh/x", "Not a directory"),
    ],
)
def test_a_program_that_cannot_be_started_is_named(line: str, reason: str) -> None:
    assert refusal(f"command:{line}").startswith(f"{line} cannot be started ({reason})")


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\0" + V1_TEXT)
    path.chmod(0o700)
    assert "cannot be started (Exec format error)" in refusal(f"command:{path}")


def test_what_a_failing_program_says_is_not_repeated(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    """It could be the key."""
    message = refusal(script(f"echo {V1_TEXT.decode()}; echo {V1_TEXT.decode()} >&2; exit 3"))
    assert "failed with exit status 3; run the same command by hand" in message
    assert capfd.readouterr() == ("", "")


def test_a_program_that_a_signal_ends_is_no_success(script: Script) -> None:
    """It may have printed half a key."""
    message = refusal(script(f"printf {V1_TEXT.decode()}; kill -9 $$"))
    assert "was ended by signal 9" in message


def test_a_program_that_prints_nothing_is_no_success() -> None:
    assert "/bin/true printed nothing" in refusal("command:/bin/true")


def test_an_endless_output_is_not_read_to_its_end() -> None:
    assert f"longer than {SIZE_LIMIT}" in refusal("command:/bin/cat /dev/zero")


@pytest.mark.parametrize(
    "text",
    [
        "sleep 1000 & echo $! > CHILD; sleep 1000",
        "sleep 1000 >&- & echo $! > CHILD; printf KEY; exec >&-; sleep 1000",
        "sleep 1000 & echo $! > CHILD; printf KEY",
    ],
    ids=["silent", "only the exit is missing", "only a child holds on"],
)
def test_a_program_that_does_not_end_is_killed_with_all_it_started(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(command, "WITHIN_S", 0.3)
    child = tmp_path / "child"
    text = text.replace("CHILD", str(child)).replace("KEY", V1_TEXT.decode())
    message = refusal(script(f"trap '' TERM HUP\n{text}"))
    assert "did not end within 0.3 s and was killed" in message
    wait_until(lambda: is_zombie(child))


def is_zombie(child: Path) -> bool:
    """Gone, or killed and not yet asked for, which is for the machine's first process to do."""
    try:
        return "State:\tZ" in Path(f"/proc/{child.read_text().strip()}/status").read_text()
    except OSError:
        return True


def test_what_a_program_leaves_behind_is_killed_when_it_ends(script: Script, tmp_path: Path) -> None:
    child = tmp_path / "child"
    uri = script(f"sleep 1000 >&- & echo $! > {child}; printf {V1_TEXT.decode()}")
    assert open_provider(uri, "v1").fetch().encryption.reveal() == CANARY
    wait_until(lambda: is_zombie(child))


def test_a_program_ends_with_the_process_apart_that_started_it(script: Script, tmp_path: Path) -> None:
    child = tmp_path / "child"
    uri = script(f"trap '' TERM\necho $$ > {child}; while :; do sleep 1; done")
    with pytest.raises(KeyServiceUnavailable):
        ApartMasterKey(uri, "v1", None, within_s=1.5).fetch()
    wait_until(lambda: is_zombie(child))
