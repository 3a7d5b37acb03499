"""Shell scripts parse, and shellcheck finds nothing in them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def is_shell_script(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and first.rstrip().endswith((b"bash", b"/sh"))


TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
SCRIPTS = [name for name in TRACKED.splitlines() if is_shell_script(ROOT / name)]


def test_there_are_scripts() -> None:
    assert {".ci/run", "scripts/setup", "scripts/test"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str) -> None:
    checked = subprocess.run(["bash", "-n", name], cwd=ROOT, check=False, capture_output=True, text=True)
    assert not checked.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_can_be_started(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    if shutil.which("shellcheck") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("shellcheck is missing; scripts/setup --test")
    checked = subprocess.run(["shellcheck", name], cwd=ROOT, check=False, capture_output=True, text=True)
    assert not checked.stdout
