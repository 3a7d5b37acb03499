"""What tests start, and what a machine may lack."""

import os
import shutil

import pytest


def need(*programs: str) -> None:
    """Skip the test where a program is missing, but fail it in CI, where a skip is a hole."""
    for program in programs:
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")


def lacking(reason: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
