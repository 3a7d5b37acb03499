"""A million keys fit: the index takes few bytes for each, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_index.py"
LIMIT = 160  # bytes for each key, beyond those of its name


def grown(keys: int, medium: str, rotations: int = 0) -> float:
    words = ["--in-process", "--keys", str(keys), "--medium", medium, "--rotations", str(rotations)]
    ran = subprocess.run([sys.executable, SCRIPT, *words], check=True, stdout=subprocess.PIPE)
    return float(json.loads(ran.stdout)["resident"])


@pytest.mark.parametrize("medium", ["redis", "directory"])
def test_a_key_takes_few_bytes_beyond_its_name(medium: str) -> None:
    assert grown(300_000, medium) <= LIMIT


@pytest.mark.parametrize("medium", ["redis", "directory"])
def test_a_retired_version_takes_fewer(medium: str) -> None:
    assert grown(40_000, medium, rotations=5) <= 2 * LIMIT


def test_the_script_tells_all_figures() -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--keys", "2000"], check=True, stdout=subprocess.PIPE, text=True
    )
    title, *lines = ran.stdout.splitlines()
    assert "2000 keys" in title
    assert [line.split()[0] for line in lines] == ["redis:", "directory:"]
    assert all(word in line for line in lines for word in ("resident", "peak", "traced"))
