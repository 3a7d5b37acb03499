"""Ctrl-C, and kill -9, at every line of the code that changes a key store: finer than its named steps."""

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
from dying import LAYOUTS, Place, assert_mends, assert_survived, new_place, start, values

import keyfs
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.testing.folders import in_memory

PAIR = KeyRef(p.STORAGE, "alice")
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
PACKAGE = Path(keyfs.__file__).parent
WATCHED = {
    str(PACKAGE / "store" / name) for name in ("directory.py", "files.py", "beside.py", "ring_changes.py")
} | {str(PACKAGE / "broker" / "writer.py")}
STOPPED = 3
Act = Callable[[Place, KeyRef], object]


class LineCounter:
    """Does something at one line of the watched files, counted from 0 in the order in which they run."""

    def __init__(self, at: int, do: Callable[[], None]) -> None:
        self.at = at
        self.seen = 0
        self._do = do

    def __call__(self, frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            self.seen += 1
            if self.seen == self.at + 1:
                self._do()
        return self


def interrupt() -> None:
    raise KeyboardInterrupt


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stopped_at(line: int, place: Place, ref: KeyRef, act: Act, stop: Callable[[], None]) -> bool:
    """Change the key in a process of its own that is stopped there; False when it came to its end before."""

    def work() -> None:
        sys.settrace(LineCounter(line, stop))
        try:
            act(place, ref)
        except KeyboardInterrupt:
            os._exit(STOPPED)

    status = os.waitstatus_to_exitcode(os.waitpid(start(work), 0)[1])
    assert status in (0, STOPPED, -signal.SIGKILL)
    return status != 0


def rotate(place: Place, ref: KeyRef) -> None:
    place.open()[1].rotate(ref)


def amend(place: Place, ref: KeyRef) -> None:
    keys, writer = place.open()
    current = keys.ring(ref).version(CURRENT).part(Half.SECRET).stat.identity
    writer.import_material(ref, b"amendment-amendment-amendment-32", amend=current)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def copies(folder: Path, ref: KeyRef, layout: str) -> Iterator[Place]:
    """The same key store again and again, as it was before the change."""
    template = folder / "template"
    _, writer = new_place(template / "keys", layout).open()
    writer.generate(ref)
    writer.rotate(ref)
    for number in itertools.count():
        shutil.copytree(template, folder / str(number))
        yield Place(folder / str(number) / "keys", None, layout)
        shutil.rmtree(folder / str(number))


@pytest.mark.parametrize(
    ("layout", "ref", "act", "stop", "stride"),
    [
        ("v1", SYMMETRIC, rotate, interrupt, 1),
        ("v1", SYMMETRIC, amend, kill, 3),
        ("v1", PAIR, rotate, interrupt, 5),
        ("v1", PAIR, rotate, kill, 5),
        ("v2", PAIR, rotate, kill, 17),
        *(
            pytest.param(layout, ref, act, stop, 1, marks=pytest.mark.soak)
            for layout in LAYOUTS
            for ref, act in ((PAIR, rotate), (SYMMETRIC, rotate), (SYMMETRIC, amend))
            for stop in (interrupt, kill)
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_change_can_be_stopped_at_every_line(
    folder: Path, layout: str, ref: KeyRef, act: Act, stop: Callable[[], None], stride: int
) -> None:
    for number, place in enumerate(copies(folder, ref, layout)):
        line = number * stride
        before = values(place.open()[0], ref)
        was_stopped = stopped_at(line, place, ref, act, stop)
        assert_survived(place, ref, before, amends=act is amend)
        assert_mends(place, ref)
        if not was_stopped:
            assert line >= 150
            return
