"""A mount for the fuzz test, and the processes that use it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fuzz_model import Refused

from keyfs.broker.writer import RingWriter
from keyfs.core.names import parse_key_ref
from keyfs.testing.live import LiveStore, live_store
from keyfs.testing.mounted import keyfs_environment

HERE: Final = Path(__file__).parent
ANSWER_WITHIN_S: Final = 60.0


@dataclass(slots=True)
class Actor:
    """One process below a mountpoint."""

    directory: Path
    process: "subprocess.Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fuzz_actor.py"), str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=keyfs_environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        )

    def ask(self, *command: object) -> object:
        """Have it do something.

        Raises:
            Refused: with the errno it got.
        """
        said, answer = self.process.stdin, self.process.stdout
        assert said is not None
        assert answer is not None
        said.write(json.dumps(command) + "\n")
        said.flush()
        how, result = json.loads(answer.readline())
        if how == "error":
            raise Refused(result)
        return result

    def end(self) -> None:
        """Kill it, and wait until the kernel has closed its files."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(slots=True)
class FuzzSite:
    """The first actor opens nothing for long: its children are the processes that keyfs sees only once."""

    live: LiveStore
    writer: RingWriter  # of another program, past the mount
    actors: list[Actor]
    examples: int = 0
    steps: int = 0

    def make(self, label: str, data: bytes) -> None:
        """The next version, made by the other program."""
        self.writer.import_material(parse_key_ref(label), data)

    def once(self, *command: object) -> object:
        return self.actors[0].ask("in_a_child", *command)


@contextmanager
def fuzz_site(place: Path) -> Iterator[FuzzSite]:
    with live_store(place, "--allow-destroy") as live, live.opened() as (_, writer):
        site = FuzzSite(live, writer, [Actor(live.mountpoint) for _ in range(3)])
        try:
            yield site
        finally:
            for actor in site.actors:
                actor.end()
        assert not live.logged("request.bug")
        assert not live.logged("request.late")


def outcome(call: Callable[[], object]) -> str | object:
    """What a call returns, or the errno it is refused with."""
    try:
        return call()
    except Refused as exc:
        return str(exc)
