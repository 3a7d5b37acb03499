"""Where settings come from: flags before environment before configuration file; unknown ones are refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import Ran, keyfs

from keyfs import config
from keyfs.cli.main import cli
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import mounted


def commands(group: click.Group, path: str = "keyfs") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


OPTIONS = [
    pytest.param(option, id=f"{path} {option.opts[0]}")
    for path, command in commands(cli)
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_a_twin_in_the_environment(option: click.Option) -> None:
    name = max(option.opts, key=len).lstrip("-")
    twin = "OPTIONS" if name == "o" else name.upper().replace("-", "_")
    assert option.envvar == f"KEYFS_{twin}"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_says_what_it_does(option: click.Option) -> None:
    assert option.help is not None
    assert option.help.endswith(".")


def test_the_file_can_say_what_the_options_can() -> None:
    """Settings of a place, that is; not what one call is to do."""
    of_one_call = {"config", "as_json", "versions", "public", "repair", "yes", "lazy", "from_file", "layout"}
    of_one_call |= {"as_csv_table", "overdue", "html", "older_than", "purposes", "keep"}
    of_one_call |= {"despite_state", "force", "why", "undo", "due", "after"}
    of_one_call |= {"old", "new", "dry_run", "wrap", "create", "remove", "path", "timeout"}
    of_one_call |= {"bundle", "key_file", "passphrase_from", "force", "form", "on_conflict"}
    of_one_call |= {"target_master_key"}
    names = {param.values[0].name for param in OPTIONS if isinstance(param.values[0], click.Option)}
    # What is no one setting stands in tables, and nowhere else.
    assert set(config.FileSettings.__struct_fields__) - {*config.TABLES} == names - of_one_call - {
        "foreground",
        "options",
        "mounted_at",
    }


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, LiveStore]:
    """Three stores that a listing can tell apart by the client of their one key."""
    made = {}
    for name in ("by_flag", "by_env", "by_file"):
        (tmp_path / name).mkdir()
        made[name] = new_live_store(tmp_path / name)
        made[name].make(f"storage-sym/{name}")
    return made


def write_config(place: Path, store: LiveStore, **more: str) -> str:
    path = place / "keyfs.toml"
    lines = {"store": f'"{store.root}"', "master-key": f'"file:{store.master_key}"', **more}
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    return str(path)


def client_in(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    [row] = json.loads(ran.out)
    return str(row["client"])


def test_flags_win_over_the_environment_and_that_over_the_file(
    stores: dict[str, LiveStore], tmp_path: Path
) -> None:
    path = write_config(tmp_path, stores["by_file"])
    flag = ["--store", str(stores["by_flag"].root)]
    env = {"KEYFS_STORE": str(stores["by_env"].root)}
    in_file = {"KEYFS_CONFIG": path}
    assert client_in(keyfs("list", "--json", *flag, environment=env | in_file)) == "by_flag"
    assert client_in(keyfs("list", "--json", environment=env | in_file)) == "by_env"
    assert client_in(keyfs("list", "--json", environment=in_file)) == "by_file"
    assert client_in(keyfs("list", "--json", "--config", path, environment={})) == "by_file"
    assert client_in(keyfs("list", "--config", path, "--json", *flag, environment={})) == "by_flag"


def test_the_master_key_of_the_file_opens_its_store(stores: dict[str, LiveStore], tmp_path: Path) -> None:
    path = write_config(tmp_path, stores["by_file"])
    ran = keyfs("read", "storage-sym/by_file", environment={"KEYFS_CONFIG": path})
    assert ran.out == stores["by_file"].versions("storage-sym/by_file")["current"]
    wrong = {"KEYFS_CONFIG": path, "KEYFS_MASTER_KEY": f"file:{stores['by_env'].master_key}"}
    assert keyfs("read", "storage-sym/by_file", environment=wrong).code == 9


def test_flags_of_the_environment_are_true_or_false(stores: dict[str, LiveStore]) -> None:
    store = stores["by_env"]
    store.make("storage-sym/by_env")
    for words, count in (("1", 2), ("true", 2), ("0", 1), ("no", 1)):
        environment = store.environment | {"KEYFS_JSON": "1", "KEYFS_VERSIONS": words}
        assert len(json.loads(keyfs("list", environment=environment).out)) == count
    assert keyfs("list", environment=store.environment | {"KEYFS_JSON": "perhaps"}).code == 2


def test_mount_takes_its_options_from_file_and_environment(
    stores: dict[str, LiveStore], tmp_path: Path, fuse_required: None
) -> None:
    log = tmp_path / "daemon.log"
    more = {"read-only": "true", "log-level": '"info"', "log-file": f'"{log}"'}
    path = write_config(tmp_path, stores["by_file"], **more)
    environment = {"KEYFS_CONFIG": path, "KEYFS_OPTIONS": "noatime,dirsync"}
    with mounted(tmp_path / "mount", environment=environment) as root:
        status = json.loads((root / ".keyfs/status.json").read_bytes())
        line = next(
            line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {root} " in line
        )
    assert (status["read_only"], status["store"]) == (True, f"dir:{stores['by_file'].root}")
    assert {"ro", "noatime", "dirsync"} <= set(line.split(" ")[3].split(","))
    assert "mount.ready" in log.read_text()
    with mounted(tmp_path / "mount", environment=environment | {"KEYFS_READ_ONLY": "false"}) as root:
        assert (root / "storage-sym/by_file/rotate").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "stoer = 'x'",
            "unknown key 'stoer'; known: allow-destroy, allow-other, direct-io, grace, legacy, log-file, ",
        ),
        ("master_key = 'x'", "unknown key 'master_key'"),
        ("[mount]\nread-only = true", "unknown key 'mount'"),
        ("read-only = 'yes'", "'read-only' must be true or false"),
        ("store = 7", "'store' must be a text in quotes"),
        ("store = ", "not a TOML file"),
    ],
)
def test_a_file_that_says_nonsense_is_refused_by_name(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "keyfs.toml"
    path.write_text(line)
    for words in (("list",), ("init",), ("mount", str(tmp_path))):
        ran = keyfs(*words, "--config", path, environment={"KEYFS_STORE": str(tmp_path)})
        assert ran.code == 2
        assert ran.refusal().startswith(f"{path}: {said}")


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    for words, environment in ((("--config", "/no/such"), {}), ((), {"KEYFS_CONFIG": "/no/such"})):
        ran = keyfs("list", *words, environment=environment)
        assert ran.code == 2
        assert "/no/such: cannot be read (No such file or directory)" in ran.refusal()


def test_a_bad_value_of_the_file_is_named_when_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "keyfs.toml"
    path.write_text("log-level = 'loud'\nstore = '/'\n")
    ran = keyfs("list", "--config", path, environment={})
    assert ran.code == 2
    assert "'loud' is not one of 'debug', 'info', 'warning', 'error'" in ran.refusal()
