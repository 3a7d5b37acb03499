"""The configuration file: what it says arrives, what it cannot say is refused by name."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfs import config
from keyfs.errors import InvalidSettings

FULL = """
store = "dir:/var/lib/keys"
master-key = "file:/etc/keyfs/master.key"
read-only = true
allow-other = false
legacy = true
log-level = "debug"
log-file = "/var/log/keyfs.log"
serve-stale = "90s"
plaintext-ttl = "5m"
direct-io = false
views = "b64"

[[rule]]
purpose = "storage"
client = "a*"
preset = "postgres"
owner = 70
group = "ssl-cert"
mode = "0640"
views = "all"

[[rule]]
"""


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "keyfs.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        config.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_every_setting_arrives(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, FULL))
    assert settings == config.FileSettings(
        store="dir:/var/lib/keys",
        master_key="file:/etc/keyfs/master.key",
        read_only=True,
        allow_other=False,
        legacy=True,
        log_level="debug",
        log_file="/var/log/keyfs.log",
        serve_stale="90s",
        plaintext_ttl="5m",
        direct_io=False,
        views="b64",
        rule=(
            config.RuleSettings(
                purpose="storage",
                client="a*",
                preset="postgres",
                owner=70,
                group="ssl-cert",
                mode="0640",
                views="all",
            ),
            config.RuleSettings(),
        ),
    )


def test_defaults_hold_only_what_is_set_by_parameter_name(tmp_path: Path) -> None:
    path = write(tmp_path, 'master-key = "env:X"\nread-only = false\n')
    assert config.as_defaults(config.load(path)) == {"master_key": "env:X", "read_only": False}
    assert config.as_defaults(config.load(write(tmp_path, ""))) == {}


def test_an_unknown_key_is_named_with_those_known(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, 'store = "x"\nmaster_key = "env:X"\n'))
    assert "unknown key 'master_key'" in message
    assert "master-key" in message.partition("known: ")[2]


def test_a_section_is_an_unknown_key(tmp_path: Path) -> None:
    assert "unknown key 'mount'" in refusal(write(tmp_path, "[mount]\nread-only = true\n"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("store = 7", "'store' must be a text in quotes"),
        ('read-only = "yes"', "'read-only' must be true or false"),
        ("allow-other = 1", "'allow-other' must be true or false"),
        ("log-file = true", "'log-file' must be a text in quotes"),
        ('store = ["redis://:hunter2@db"]', "'store' must be a text in quotes"),
        ('rule = "x"', "'rule' must be tables: write [[rule]]"),
        ('[rule]\nowner = "x"', "'rule' must be tables: write [[rule]]"),
        ("rule = [7]", "'rule' must be tables: write [[rule]]"),
        ("[[rule]]\nmode = 0o640", "rule 1: 'mode' must be a text in quotes"),
        ("[[rule]]\n[[rule]]\nowner = true", "rule 2: 'owner' must be a text in quotes or a whole number"),
        ("[[rule]]\ngroup = 7.5", "rule 1: 'group' must be a text in quotes or a whole number"),
        (
            "[[rule]]\nclients = 'a'",
            "rule 1: unknown key 'clients'; known: client, group, mode, owner, preset, ",
        ),
    ],
)
def test_a_wrong_type_is_named_without_the_value(tmp_path: Path, line: str, words: str) -> None:
    message = refusal(write(tmp_path, line))
    assert words in message
    assert "hunter2" not in message


def test_a_broken_line_is_numbered(tmp_path: Path) -> None:
    assert "line 2" in refusal(write(tmp_path, 'store = "x"\nread-only = maybe\n'))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in refusal(write(tmp_path, b'store = "\xff"\n'))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(str(tmp_path / "absent"))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (Is a directory)" in refusal(str(tmp_path))


def test_only_the_default_file_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = tmp_path / "default.toml"
    monkeypatch.setattr(config, "DEFAULT_PATH", str(default))
    assert config.load_or_default(None) == config.FileSettings()
    default.write_text("legacy = true")
    assert config.load_or_default(None) == config.FileSettings(legacy=True)
    assert config.load_or_default(write(tmp_path, "")) == config.FileSettings()
    with pytest.raises(InvalidSettings):
        config.load_or_default(str(tmp_path / "absent"))


def test_a_default_file_that_leads_nowhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might have said read-only."""
    os.symlink("nowhere", tmp_path / "default.toml")
    monkeypatch.setattr(config, "DEFAULT_PATH", str(tmp_path / "default.toml"))
    with pytest.raises(InvalidSettings):
        config.load_or_default(None)


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_give_settings_or_one_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("any"), content)
    try:
        settings = config.load(path)
    except InvalidSettings:
        return
    assert config.as_defaults(settings).keys() <= {"store", "master_key", "log_level", "log_file"}
