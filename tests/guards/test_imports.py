"""keyfs starts quickly, and starts where optional parts of the machine are missing."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import keyfs
from keyfs.cli.main import cli
from keyfs.testing.live import new_live_store

# All but __main__: importing that one runs it.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(keyfs.__path__, "keyfs.")
    if not module.name.endswith("__main__")
)

# Not every machine has them: libthemis is in no registry, and without it `import pythemis.scell` fails; a
# slim installation leaves out the clients of stores and key services it does not use.
OPTIONAL = ["pythemis", "boto3", "botocore", "redis", "hvac", "requests", "pkcs11"]

# Their business is one of those packages; nobody imports them but who has named a store or a key there.
DRIVERS = (
    "keyfs.store.redis",
    "keyfs.testing.redis_",
    "keyfs.testing.kms_",
    "keyfs.master.aws_",
    "keyfs.master.vault",
    "keyfs.master.pkcs11",
)
NO_DRIVERS = {
    "keyfs.master.aws_settings",
    "keyfs.store.redis_uri",
    "keyfs.master.vault_login",
    "keyfs.master.vault_settings",
    "keyfs.master.pkcs11_uri",
}
WITHOUT = [name for name in MODULES if not name.startswith(DRIVERS) or name in NO_DRIVERS]

# What a command that only prints a line must not wait for, or fail without.
HEAVY = [
    "boto3",
    "botocore",
    "redis",
    "hvac",
    "pkcs11",
    "trio",
    "pyfuse3",
    "rich",
    "pythemis",
    "cryptography",
]

BLOCK = """
import sys
from pathlib import Path
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Missing())
"""


def run_python(source: str) -> str:
    """Runs it in a fresh interpreter, because this one has imported everything already."""
    ran = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_every_module_imports_without_the_optional_packages() -> None:
    run_python(
        BLOCK.format(names=OPTIONAL) + f"import importlib\nfor m in {WITHOUT!r}: importlib.import_module(m)"
    )


def test_a_store_whose_package_is_missing_is_one_line_that_names_it() -> None:
    said = run_python(
        BLOCK.format(names=OPTIONAL)
        + """
import contextlib, io
from keyfs.cli.main import exit_code
with contextlib.redirect_stderr(io.StringIO()) as err:
    code = exit_code(["list", "--store", "redis://nowhere", "--master-key", "file:/nowhere"])
print(code, err.getvalue())
"""
    )
    code, _, line = said.partition(" ")
    assert code == "2"
    assert line.strip().count("\n") == 0
    assert "python3 -m pip install redis" in line


@pytest.mark.parametrize("missing", [["hvac"], ["hvac", "requests"]])
@pytest.mark.parametrize(("scheme", "uri"), [("vault", "vault:a/b"), ("vault-transit", "vault-transit:a")])
def test_a_key_service_whose_package_is_missing_is_one_line_with_the_extra(
    missing: list[str], scheme: str, uri: str
) -> None:
    said = run_python(
        BLOCK.format(names=missing)
        + f"""
from keyfs.errors import InvalidSettings
from keyfs.master.registry import open_provider
try:
    open_provider({uri!r}, "v1")
except InvalidSettings as exc:
    print(exc)
"""
    )
    line = f"{scheme!r} master keys need the Python package hvac: python3 -m pip install 'keyfs[vault]'"
    assert said == f"{line}\n"


def test_the_block_blocks() -> None:
    with pytest.raises(AssertionError, match="redis is blocked"):
        run_python(BLOCK.format(names=OPTIONAL) + "import redis")


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    loaded = run_python("import keyfs.cli.main, sys; print(*sys.modules, sep='\\n')").split()
    assert not [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_command(option: str) -> None:
    loaded = run_python(
        f"""
import contextlib, io, sys
from keyfs.cli.main import exit_code
with contextlib.redirect_stdout(io.StringIO()):
    assert exit_code([{option!r}]) == 0
print(*sys.modules, sep="\\n")
"""
    ).split()
    assert not [name for name in loaded if name in (*HEAVY, "keyfs.app")]


def test_help_says_of_each_command_what_the_command_says_itself() -> None:
    context = click.Context(cli)
    said = cli.get_help(context)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert re.search(rf"^  {name} +{re.escape(command.short_help or '')}$", said, re.MULTILINE), name


def test_a_key_is_read_without_what_only_mounts_need(tmp_path: Path) -> None:
    store = new_live_store(tmp_path)
    store.make("storage-sym/alice1")
    said = run_python(
        f"""
import os, sys
os.environ.update({dict(store.environment)!r})
from keyfs.cli.main import exit_code
sys.stdout = open(os.devnull, "w")
assert exit_code(["read", "storage-sym/alice1"]) == 0
assert exit_code(["list"]) == 0
print(*sys.modules, sep="\\n", file=sys.__stdout__)
"""
    ).split()
    optional = ("importlib.metadata", "cryptography.x509", "hiredis", "matplotlib", *OPTIONAL)
    unused = {"trio", "pyfuse3", "rich", *optional} - {"pythemis"}  # where libthemis loads, it does the work
    assert not unused & set(said)
