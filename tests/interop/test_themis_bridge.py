"""ThemisSealer on the real pythemis and the real Themis core.

A libthemis comes from no package registry. So the tests of `ThemisSealer` run once more, in a process where
pythemis loads oracle/bridge.c as its libthemis.so.0: glue that forwards each C call to the WebAssembly build.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["themis_oracle"]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "at_least"), [("contract/test_sealers.py", 60), ("interop/test_secure_cell_vectors.py", 126)]
)
def test_themis_sealer_passes(themis_bridge: dict[str, str], file: str, at_least: int) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}", "-k", "hemis"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **themis_bridge}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= at_least
    assert "skipped" not in done.stdout
