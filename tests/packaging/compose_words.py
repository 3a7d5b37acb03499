"""The services of packaging/compose.yaml as words for `podman run`."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "packaging/compose.yaml"
# The test's own environment for servers has a parser; ours has none.
PYTHON: Final = ROOT / ".venv-servers/bin/python"
TO_JSON: Final = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")

# What each key is for podman. Those that are none for it: what starts when, and how the image is built.
IGNORED: Final = {"profiles", "build", "image", "command", "restart"}
FLAGS: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "user": lambda value: [f"--user={value}"],
    "read_only": lambda value: [f"--read-only={str(value).lower()}"],
    "network_mode": lambda value: [f"--network={value}"],
    "cap_drop": lambda values: [f"--cap-drop={value}" for value in values],
    "cap_add": lambda values: [f"--cap-add={value}" for value in values],
    "security_opt": lambda values: [f"--security-opt={value}" for value in values],
    "devices": lambda values: [f"--device={value}" for value in values],
    "environment": lambda pairs: [f"--env={name}={value}" for name, value in pairs.items()],
    "healthcheck": lambda value: [f"--health-cmd={shlex.join(value['test'][1:])}"],
    "volumes": lambda values: [_volume(value) for value in values],
}


def services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the file says, with these variables set."""
    text = VARIABLE.sub(lambda found: variables.get(found[1], found[2]), FILE.read_text())
    done = subprocess.run([PYTHON, "-c", TO_JSON], input=text, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return found


def run_words(service: Mapping[str, Any], image: str) -> list[str]:
    """All that comes behind `podman run`. A key that nobody knows here is an error."""
    flags = [flag for key, value in service.items() if key not in IGNORED for flag in FLAGS[key](value)]
    return [*flags, image, *service["command"]]


def _volume(facts: Mapping[str, Any]) -> str:
    assert facts["type"] == "bind"
    options = ["ro" if facts.get("read_only") else "rw"]
    options += [facts["bind"]["propagation"]] if "bind" in facts else []
    return f"--volume={facts['source']}:{facts['target']}:{','.join(options)}"
