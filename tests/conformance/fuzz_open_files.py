"""The other half of the fuzz test: files that processes keep open while keys change below them."""

import os
from collections.abc import Callable

from fuzz_machine import Names
from fuzz_model import Open, Refused, Scratch, Staged
from fuzz_values import (
    CURRENT,
    OPEN_MAX,
    READ_UP_TO,
    actors,
    keys,
    modes,
    more_flags,
    names,
    offsets,
    opens,
    picks,
    pieces,
    places,
    sizes,
)
from hypothesis.stateful import precondition, rule


def has_open(machine: Names) -> bool:
    return bool(machine.open)


class Fuzz(Names):
    """Everything."""

    @precondition(lambda self: len(self.open) < OPEN_MAX)
    @rule(place=places, actor=actors, mode=modes, more=more_flags)
    def open_current(self, place: int, actor: int, mode: int, more: int) -> None:
        def expected() -> bytes | Staged:
            key = self.client(place)
            if key.versions and more & os.O_EXCL:
                raise Refused("EEXIST")
            if not key.versions and not more & os.O_CREAT:
                raise Refused("ENOENT")
            if key.versions and mode == os.O_RDONLY:
                return key.versions[-1]
            if more & os.O_TRUNC or not key.versions:
                return Staged(key)
            return Staged(key, bytearray(key.versions[-1]), key.identity)

        self.opened(place, actor, CURRENT, mode | more, expected)

    @precondition(lambda self: len(self.open) < OPEN_MAX)
    @rule(place=places, actor=actors, mode=modes, more=more_flags, name=names)
    def open_scratch(self, place: int, actor: int, mode: int, more: int, name: str) -> None:
        def expected() -> Scratch:
            scratches = self.client(place).scratches
            if name in scratches and more & os.O_EXCL:
                raise Refused("EEXIST")
            if name not in scratches and not more & os.O_CREAT:
                raise Refused("ENOENT")
            scratch = scratches.setdefault(name, Scratch())
            if more & os.O_TRUNC:
                scratch.truncate(0)
            return scratch

        self.opened(place, actor, name, mode | more, expected)

    @precondition(lambda self: len(self.open) < OPEN_MAX)
    @rule(place=places, actor=actors, name=names, data=keys)
    def rename_onto_current_while_open(self, place: int, actor: int, name: str, data: bytes) -> None:
        """As programs do that close a file only after they have renamed it."""
        if place not in self.clients:
            return
        self.open_scratch(place, actor, os.O_RDWR, os.O_CREAT | os.O_TRUNC, name)
        self.write(0, data, 0)
        self.rename_onto_current(place, name, 0)

    @precondition(lambda self: len(self.open) < OPEN_MAX)
    @rule(place=places, actor=actors, mode=modes, pick=picks)
    def open_version(self, place: int, actor: int, mode: int, pick: int) -> None:
        found = self.version(place, pick)
        if found is None:
            return
        key, which, stamp = found

        def expected() -> bytes:
            if mode != os.O_RDONLY:
                raise Refused("EACCES")
            return key.versions[which]

        self.opened(place, actor, stamp, mode, expected)

    def opened(
        self, place: int, actor: int, name: str, flags: int, expected: Callable[[], bytes | Scratch | Staged]
    ) -> None:
        """Open on both sides; how the file is open now is remembered if it is."""
        files: list[bytes | Scratch | Staged] = []
        got = self.both(
            place,
            lambda: files.append(expected()),
            lambda: self.site.actors[actor].ask("open", self.path(place, name), flags),
        )
        if files:
            assert isinstance(got, int)
            mode = flags & os.O_ACCMODE
            self.open.append(Open(actor, got, files[0], mode != os.O_WRONLY, mode != os.O_RDONLY, place))

    def on(self, pick: int, expected: Callable[[Open], object], command: str, *arguments: object) -> Open:
        """Make a call on some open file, on both sides."""
        handle = self.open[-1 - pick % len(self.open)]
        actor = self.site.actors[handle.actor]
        self.both(handle.place, lambda: expected(handle), lambda: actor.ask(command, handle.fd, *arguments))
        return handle

    @precondition(has_open)
    @rule(pick=opens, offset=offsets)
    def read(self, pick: int, offset: int) -> None:
        self.on(pick, lambda file: file.read(READ_UP_TO, offset).hex(), "pread", READ_UP_TO, offset)

    @precondition(has_open)
    @rule(pick=opens, data=pieces, offset=offsets)
    def write(self, pick: int, data: bytes, offset: int) -> None:
        self.on(pick, lambda file: file.write(data, offset), "pwrite", data.hex(), offset)

    @precondition(has_open)
    @rule(pick=opens, size=sizes)
    def ftruncate(self, pick: int, size: int) -> None:
        self.on(pick, lambda file: file.truncate(size), "ftruncate", size)

    @precondition(has_open)
    @rule(pick=opens)
    def fsync(self, pick: int) -> None:
        self.on(pick, Open.commit, "fsync")

    @precondition(has_open)
    @rule(pick=opens)
    def touch(self, pick: int) -> None:
        """Not a version: it may have been destroyed meanwhile, and attributes go with the name."""
        if not isinstance(self.open[-1 - pick % len(self.open)].file, bytes):
            self.on(pick, lambda file: None, "utime")

    @precondition(has_open)
    @rule(pick=opens)
    def close(self, pick: int) -> None:
        self.open.remove(self.on(pick, Open.commit, "close"))

    @rule(place=places, size=sizes)
    def truncate_by_name(self, place: int, size: int) -> None:
        """Alone it makes no version."""

        def expected() -> None:
            if not self.client(place).versions:
                raise Refused("ENOENT")

        self.both(place, expected, lambda: self.site.once("truncate", self.path(place), size))

    @rule(actor=actors)
    def kill(self, actor: int) -> None:
        """The kernel closes its files, one after the other."""
        theirs = sorted((file for file in self.open if file.actor == actor), key=lambda file: file.fd)
        if not theirs:
            return
        self.site.steps += 1
        self.site.actors[actor].end()
        self.site.actors[actor].start()
        for handle in theirs:
            self.open.remove(handle)
            try:
                handle.commit()
            except Refused:
                continue

    def teardown(self) -> None:
        while self.open and not self.has_diverged:
            self.close(0)
        for actor in {handle.actor for handle in self.open}:
            self.site.actors[actor].end()
            self.site.actors[actor].start()
        super().teardown()
