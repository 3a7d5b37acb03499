"""Somebody at a terminal of their own, who types when there is something to type to."""

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Final

PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Keys:
    """What is typed once *awaited* has come up on the screen."""

    awaited: str
    typed: str


class Terminal:
    """A terminal, and a program that runs there."""

    def __init__(self, words: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            words,
            cwd=cwd,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = ""

    def wait_for(self, awaited: str) -> None:
        """Until this has come up after what was waited for before."""
        begin = len(self.screen)
        while awaited not in self.screen[begin:]:
            assert self._see(), f"{awaited!r} never came up on the screen: {self.screen!r}"

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Wait for the end of the program; its exit code."""
        while self._see():
            pass
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        """End the program whatever it is at. Safe after `end`."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _see(self) -> bool:
        """Take what comes next; no, when nothing will."""
        if not select([self._ours], [], [], PATIENCE_S)[0]:
            return False
        try:
            data = os.read(self._ours, 4096)
        except OSError:  # EIO: the program has closed its end
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)


def type_into(
    words: Sequence[str], keys: Sequence[Keys], *, cwd: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a program at a terminal; returns its exit code and all that was to be seen there."""
    terminal = Terminal(words, cwd=cwd, environment=environment)
    try:
        for step in keys:
            terminal.wait_for(step.awaited)
            terminal.type(step.typed)
        return terminal.end(), terminal.screen
    finally:
        terminal.close()
