"""README tells the truth: its session runs again, its commands start, its tables agree with the code."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from keyfs.broker.findings import KINDS
from keyfs.cli.exitcodes import BUG, EXIT_CODES, FINDINGS, INTERRUPTED, OK, USAGE
from keyfs.cli.main import exit_code
from keyfs.config import FileSettings, load
from keyfs.fs.xattrs import ATTRIBUTES, OURS
from keyfs.rules import PRESETS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROMPT = "$ "

# What differs from run to run. Everything else has to be the same to the letter.
MASKS = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", "<stamp>"),
    (r"\b[0-9a-f]{64}\b", "<digest>"),
    (r"[A-Z][a-z]{2} +\d+ \d\d:\d\d", "<date>"),
    (r"/\S+/store", "<store>"),
    (r"file:/\S+/", "file:<place>/"),
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def masked(text: str) -> str:
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def session_steps(block: str) -> list[tuple[str, str]]:
    """Each command with the output that README shows under it."""
    steps: list[tuple[str, str]] = []
    for line in block.splitlines(keepends=True):
        if line.startswith(PROMPT):
            steps.append((line.removeprefix(PROMPT).rstrip("\n"), ""))
        else:
            command, output = steps.pop()
            steps.append((command, output + line))
    return steps


def run_session(commands: list[str], place: Path) -> list[str]:
    """Run the commands in one shell; what each printed, stderr included."""
    mark = "=-= end of one command =-="
    script = "".join(f"{command}\necho '{mark}'\n" for command in commands)
    environment = {
        name: os.environ[name] for name in ("HOME", "LANG", "TEST_SESSION_OF_KEYFS") if name in os.environ
    }
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.split(mark + "\n")[:-1]


@pytest.mark.usefixtures("fuse_required")
@pytest.mark.parametrize("session", blocks("console"), ids=["first screen", "a day", "another master key"])
def test_the_recorded_session_runs_again(tmp_path: Path, session: str) -> None:
    steps = session_steps(session)
    assert len(steps) > 10
    printed = run_session([command for command, _ in steps], tmp_path)
    for (command, shown), output in zip(steps, printed, strict=True):
        assert masked(output) == masked(shown), command


@pytest.mark.usefixtures("fuse_required")
def test_the_quickstart_runs(tmp_path: Path) -> None:
    """The first command of the first screen, from the setup to a rotated key and a clean end."""
    first = blocks("sh")[0].splitlines()
    assert [line.split()[0] for line in first] == ["scripts/quickstart", "scripts/test"]
    done = subprocess.run(
        [ROOT / "scripts" / "quickstart", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"storage-sym\talice1\tcurrent\tyes", done.stdout)
    assert re.search(r"storage-sym\talice1\t\d{4}-\d\d-\d\dT\S+\tno", done.stdout)


def test_every_command_in_a_shell_block_is_there() -> None:
    for block in blocks("sh"):
        for line in block.splitlines():
            assert os.access(ROOT / line.split()[0], os.X_OK), line


@pytest.mark.parametrize("example", blocks("toml"), ids=lambda text: text.split()[0])
def test_a_configuration_example_is_accepted(tmp_path: Path, example: str) -> None:
    path = tmp_path / "keyfs.toml"
    path.write_text(example, encoding="utf-8")
    settings = load(str(path))
    assert settings != FileSettings()
    own = [purpose.name for purpose in settings.own_purposes()]
    assert own == (["db-password", "disk", "tls"] if "[purpose.tls]" in example else [])


def rows(head: str) -> dict[str, list[str]]:
    """The rows of the table with this head, by their first column, without backquotes."""
    lines = README.partition(f"\n{head}\n")[2].splitlines()[1:]
    table = [line.replace("`", "").strip("|").split(" | ") for line in lines[: lines.index("")]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in table}


def test_the_table_of_presets_is_that_of_the_code() -> None:
    documented = rows("| preset | owner | mode | what the program wants |")
    assert {name: row[:2] for name, row in documented.items()} == {
        name: [preset.owner or "the mount's", f"{preset.mode:04o}"] for name, preset in PRESETS.items()
    }


def test_the_table_of_findings_is_that_of_the_code() -> None:
    documented = re.search(
        r"^\| code \| what it is \| what a repair does \|\n\|[- |]+\n((?:\|.*\n)+)", README, re.MULTILINE
    )
    assert documented is not None
    assert documented[1].splitlines() == [
        f"| `{code}` | {kind.meaning} | {kind.repair} |" for code, kind in KINDS.items()
    ]


def test_the_table_of_attributes_is_that_of_the_code() -> None:
    documented = rows("| `user.keyfs.…` | on | value |")
    assert sorted(documented) == sorted(name.removeprefix(OURS).decode() for name in ATTRIBUTES)


def test_the_table_of_views_names_each() -> None:
    documented = " ".join(rows("| file | of | holds |"))
    assert sorted(re.findall(r"\.(\w+)(?=[ ,]|$)", documented.replace(".pub", ""))) == [
        "b64",
        "fp",
        "hex",
        "pem",
        "pem",
    ]


def test_the_exit_code_table_is_that_of_the_code() -> None:
    documented = {int(code) for code in re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)}
    assert documented == {OK, FINDINGS, USAGE, BUG, INTERRUPTED, *EXIT_CODES.values()}


def test_the_command_table_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    documented = {words.split()[0] for words in re.findall(r"^\| `keyfs ([^`]+)` \| ", README, re.MULTILINE)}
    assert exit_code(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert documented == {line.split()[0] for line in listed.splitlines() if line.strip()}
