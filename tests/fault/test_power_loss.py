"""What a loss of power could undo: the order in which a change reaches the disk, as the kernel is told it.

A profile function sees each call into C with the caller's variables: nothing of keyfs is replaced.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from dying import Place, new_place

from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import KeyRef

PAIR = KeyRef(p.STORAGE, "alice")
POISON = KeyRef(p.POISON_RECORD, None)
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
Call = tuple[str, Path]  # the name of a system call, and what it made or made durable


class Calls:
    """The calls that change a directory or make something durable, in order."""

    def __init__(self) -> None:
        self.made: list[Call] = []

    def __call__(self, frame: FrameType, event: str, function: object) -> None:
        name = getattr(function, "__name__", "")
        variable = WHOSE.get(frame.f_code.co_name, {}).get(name)
        if event == "c_exception" and variable is not None:
            self.made.pop()  # mkdir(2) of what is there
        elif event == "c_call" and variable is not None:
            self.made.append((name, Path(frame.f_locals[variable])))


# Which of the caller's variables tells what a system call is about: by caller, then by call.
WHOSE = {
    "write_new": {"open": "path", "write": "path", "fsync": "path"},
    "sync_directory": {"fsync": "path"},
    "link": {"link": "target"},
    "mkdir": {"mkdir": "self"},
    "rename": {"rename": "target"},
}


def calls_of(place: Place, change: Callable[[RingWriter], object]) -> list[Call]:
    _, writer = place.open()
    calls = Calls()
    outer = sys.getprofile()
    sys.setprofile(calls)
    try:
        change(writer)
    finally:
        sys.setprofile(outer)
    return [call for call in calls.made if ".keyfs" not in call[1].name]


def position(calls: list[Call], call: Call, *, after: int = -1) -> int:
    """Where the next such call is; a failure if there is none."""
    assert call in calls[after + 1 :], f"{call} is missing behind {calls[: after + 1]}"
    return calls.index(call, after + 1)


def generate(ref: KeyRef) -> Callable[[RingWriter], object]:
    return lambda writer: writer.generate(ref)


def rotate(ref: KeyRef) -> Callable[[RingWriter], object]:
    return lambda writer: writer.rotate(ref)


@pytest.mark.parametrize("kind", ["v1", "v1 split", "v2"])
@pytest.mark.parametrize("history", [0, 1, 2], ids=["generation", "first rotation", "later rotation"])
@pytest.mark.parametrize("ref", [PAIR, POISON, SYMMETRIC], ids=str)
def test_everything_is_on_the_disk_before_the_first_switch(
    tmp_path: Path, ref: KeyRef, history: int, kind: str
) -> None:
    place = new_place(tmp_path / "keys", kind[:2], tmp_path / "public" if kind == "v1 split" else None)
    for number in range(history):
        (rotate if number else generate)(ref)(place.open()[1])
    calls = calls_of(place, rotate(ref) if history else generate(ref))
    switches = [where for where, (name, _) in enumerate(calls) if name == "rename"]
    files = 2 if ref.purpose.is_pair and place.layout == "v1" else 1
    assert len(switches) == files
    assert_new_bytes_are_durable(calls[: switches[0]], files)
    assert_names_are_durable(calls[: switches[0]], files if history and place.layout == "v1" else 0)
    assert_switched_in_order(calls[switches[0] :])


def assert_new_bytes_are_durable(before: list[Call], halves: int) -> None:
    """Each new file is synced after its last byte was written."""
    staged = [path for name, path in before if name == "open"]
    assert len(staged) == halves
    for path in staged:
        written = position(before, ("write", path))
        assert ("write", path) not in before[position(before, ("fsync", path), after=written) :]


def assert_names_are_durable(before: list[Call], archives: int) -> None:
    """Each archive, and each new directory, is synced where it is named."""
    named = [
        (where, path)
        for where, (name, path) in enumerate(before)
        if name == "link" or (name == "mkdir" and ("fsync", path.parent) in before)
    ]
    assert sum(before[where][0] == "link" for where, _ in named) == archives
    for where, path in named:
        position(before, ("fsync", path.parent), after=where)
    new = {path for where, path in named if before[where][0] == "mkdir"}
    assert {path.parent for where, path in named if before[where][0] == "link"} >= {
        path for path in new if path.name.endswith(".old")
    }


def assert_switched_in_order(calls: list[Call]) -> None:
    """Private before public, and at the end the names are synced."""
    switched = [path for name, path in calls if name == "rename"]
    assert [path.name.endswith(".pub") for path in switched] == [False, True][: len(switched)]
    last = max(where for where, (name, _) in enumerate(calls) if name == "rename")
    for path in switched:
        position(calls, ("fsync", path.parent), after=last)
