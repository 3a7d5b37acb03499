"""A process that dies while it sets a state or destroys a version leaves the old records or the new ones."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from dying import Place, assert_clean, beside, start, values

import keyfs
from keyfs.broker.state_changes import StateWriter
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, KeyRef
from keyfs.core.state_records import records_of
from keyfs.core.states import KeyState
from keyfs.testing.folders import in_memory

REF = KeyRef(p.STORAGE_SYM, "alice")
PACKAGE = Path(keyfs.__file__).parent
WATCHED = {
    str(PACKAGE / "store" / "beside.py"),
    str(PACKAGE / "store" / "files.py"),
    str(PACKAGE / "broker" / "state_changes.py"),
    str(PACKAGE / "broker" / "removal.py"),
}
Act = Callable[[StateWriter, str], object]
STRIDE = 4


def suspend(writer: StateWriter, _stamp: str) -> None:
    writer.set(REF, CURRENT, KeyState.SUSPENDED, "new")


def destroy(writer: StateWriter, stamp: str) -> None:
    writer.destroy(REF, stamp)


def destroy_due(writer: StateWriter, stamp: str) -> None:
    writer.plan(REF, stamp, 0, is_forced=False)
    assert list(writer.destroy_due())


def killed_at(line: int, place: Place, act: Act, stamp: str) -> bool:
    """Do it in a process that dies at a line of the watched files; False when it came to its end before."""
    seen = itertools.count()

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line" and next(seen) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def work() -> None:
        keys, _ = place.open()
        writer = StateWriter(keys)
        sys.settrace(trace)
        act(writer, stamp)

    status = os.waitstatus_to_exitcode(os.waitpid(start(work), 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Place]:
    with in_memory(tmp_path) as folder:
        place = Place(folder / "template" / "keys")
        place.root.mkdir(0o700, parents=True)
        keys, writer = place.open()
        writer.generate(REF)
        writer.rotate(REF)
        StateWriter(keys).set(REF, CURRENT, KeyState.SUSPENDED, "old")
        yield place


@pytest.mark.parametrize("act", [suspend, destroy, destroy_due], ids=lambda act: act.__name__)
def test_it_can_be_killed_at_every_line(template: Place, act: Act) -> None:
    folder = template.root.parents[1]
    stamp = next(iter(template.open()[0].ring(REF).versions)).id
    before = values(template.open()[0], REF)
    for number in itertools.count():
        shutil.copytree(folder / "template", folder / str(number))
        place = Place(folder / str(number) / "keys")
        was_killed = killed_at(number * STRIDE, place, act, stamp)
        keys, _ = place.open()
        kept = records_of((beside(place) / "key-states.json").read_bytes())  # whole, and not damaged
        assert {record.why for record in kept if record.state is KeyState.SUSPENDED} <= {"old", "new"}
        after = values(keys, REF)
        assert after[CURRENT] == before[CURRENT]
        assert after.get(stamp, before[stamp]) == before[stamp]
        if any(record.state is KeyState.DESTROYED for record in kept):
            assert stamp not in after  # what is noted is true
        finish(place, stamp, act)
        shutil.rmtree(folder / str(number))
        if not was_killed:
            assert number * STRIDE > 40
            return


def finish(place: Place, stamp: str, act: Act) -> None:
    """Whoever comes next can do what was not done, and leaves nothing over."""
    keys, _ = place.open()
    writer = StateWriter(keys)
    if act is suspend:
        suspend(writer, stamp)
    elif any(version.id == stamp for version in keys.ring(REF).versions):
        act(writer, stamp)
    else:
        assert not list(writer.destroy_due())
        assert writer.next_due_ns() is None
    assert_clean(place)
