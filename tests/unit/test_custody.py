"""Core dumps are forbidden for good. In processes of their own: there is no way back."""

import subprocess
import sys

PROBE = """
import os, resource
from keyfs.custody import core_dumps, forbid_core_dumps
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
before = core_dumps()
after = forbid_core_dumps()
assert not before.forbidden and not before.undumpable, before
assert after.forbidden and after == core_dumps() == forbid_core_dumps(), after
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
{more}
"""


def run(more: str = "") -> int:
    return subprocess.run([sys.executable, "-c", PROBE.format(more=more)], check=False).returncode


def test_both_guards_hold_after_one_call_and_after_two() -> None:
    assert run() == 0


def test_the_owner_can_no_longer_look_into_the_process() -> None:
    """An undumpable process belongs to root in /proc."""
    assert run("assert os.stat('/proc/self/environ').st_uid == 0") == 0


def test_a_child_is_dumpable_again_but_has_no_room_for_a_core() -> None:
    child = (
        "from keyfs.custody import *; found = core_dumps(); "
        "exit(not (found.size_limit_zero and not found.undumpable and not found.forbidden))"
    )
    assert run(f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {child!r}]))") == 0


def test_a_crash_leaves_no_core() -> None:
    """WCOREDUMP is what the kernel says it did."""
    more = "pid = os.fork()\nif pid == 0: os.abort()\nassert not os.WCOREDUMP(os.waitpid(pid, 0)[1])"
    assert run(more) == 0
