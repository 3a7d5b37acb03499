"""What is committed works on every machine: no paths of one, no addresses of registries, locks that fit."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-run.lock", "requirements-servers.lock"]

# In pieces, so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(" + "|".join(["work", "root", "home"]) + r")/\w")
REGISTRY = re.compile(
    r"\b("
    + "|".join(
        [
            "pypi" + r"\.org",
            "python" + r"hosted\.org",
            "npm" + r"js\.(org|com)",
            "yarn" + r"pkg\.com",
            "(deb|security|snapshot|archive|ftp)" + r"(\.\w+)?\.debian\.org",
        ]
    )
    + r")\b"
)


def tracked_texts() -> dict[str, str]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    texts = {}
    for name in names.rstrip("\0").split("\0"):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            texts[name] = content.decode("utf-8", errors="replace")
    return texts


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_path_of_a_machine_is_committed() -> None:
    assert not lines_with(MACHINE_PATH)


def test_no_address_of_a_registry_is_committed() -> None:
    assert not lines_with(REGISTRY)


def test_the_patterns_find_what_they_are_for() -> None:
    assert MACHINE_PATH.search("see /" + "home/alice/keys")
    assert not MACHINE_PATH.search("~/work/x, ./root/y, network/home/z")
    assert REGISTRY.search("https://" + "pypi" + ".org/simple")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_hashed_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^\s*-(?!-hash=sha256:)", text)
    for pinned in re.split(r"(?m)^(?=\S)", text.replace("\\\n", " "))[1:]:
        assert re.match(r"[\w.-]+==\S+ .*--hash=sha256:", pinned)


def pins(lock: str) -> dict[str, Version]:
    found = re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / lock).read_text())
    return {canonicalize_name(name): Version(version) for name, version in found}


def test_the_lock_fits_the_project() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    asked = [*project["dependencies"], *pyproject["build-system"]["requires"]]
    for extra in project.get("optional-dependencies", {}).values():
        asked.extend(extra)
    locked = pins("requirements.lock")
    unfit = [r for r in map(Requirement, asked) if not r.specifier.contains(locked.get(r.name, "0"))]
    assert not unfit, "run scripts/lock"


@pytest.mark.parametrize("lock", ["requirements-build.lock", "requirements-run.lock"])
def test_the_locks_agree(lock: str) -> None:
    everything = pins("requirements.lock")
    assert pins(lock).items() <= everything.items()


def test_npm_locks_name_no_host() -> None:
    for name, text in tracked_texts().items():
        if Path(name).name == "package-lock.json":
            packages = json.loads(text)["packages"]
            assert not [package for package, facts in packages.items() if "resolved" in facts], name


def test_ci_runs_the_test_script_and_nothing_else() -> None:
    lines = [
        line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert len(lines) == 1
    assert re.match(
        r'exec \S*scripts/test"? "\$@"$', lines[0].replace('"$(dirname "${BASH_SOURCE[0]}")/../', "")
    )
