"""Measurements that are programs of their own beside this package, `scripts/bench_*.py`."""

import importlib
import importlib.util
from types import ModuleType

from benchmarking.programs import Absent


def program(name: str) -> ModuleType:
    """One of them, imported only when it is used: they use this package, too.

    Raises:
        Absent: there is no such program.
    """
    if importlib.util.find_spec(name) is None:
        raise Absent(f"there is no scripts/{name}.py yet")
    return importlib.import_module(name)
