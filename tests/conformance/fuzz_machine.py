"""Random changes of names and whole keys on a real mount, and past it, compared with the model after each."""

import os
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from fuzz_model import KEY_SIZE, Key, Open, Refused, Scratch, import_into
from fuzz_site import FuzzSite, outcome
from fuzz_values import CURRENT, NAMES, NOREPLACE, PLACES, contents, keys, names, picks, places
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keyfs.core.stamps import is_stamp


class Names(RuleBasedStateMachine):
    """Two clients, which need not be there, two processes that keep files open, one that does not."""

    site: ClassVar[FuzzSite]

    def __init__(self) -> None:
        super().__init__()
        self.site.examples += 1
        self.labels = [place.format(f"c{self.site.examples}") for place in PLACES]
        self.clients: dict[int, Key] = {}
        self.open: list[Open] = []
        self.touched = 0
        self.has_diverged = False

    # --- both sides ---

    def both(self, place: int, expected: Callable[[], object], real: Callable[[], object]) -> object:
        """Make a step on both sides; what the real one returned, if both succeeded."""
        self.site.steps += 1
        self.touched = place
        wanted, got = outcome(expected), outcome(real)
        is_error = isinstance(got, str) and got.startswith("E")
        self.has_diverged = is_error if wanted is None else got != wanted
        assert not self.has_diverged, f"the model says {wanted!r}, the mount {got!r}"
        return got

    def path(self, place: int, name: str = CURRENT) -> str:
        return f"{self.labels[place]}/{name}"

    def client(self, place: int) -> Key:
        if place not in self.clients:
            raise Refused("ENOENT")
        return self.clients[place]

    def stamps(self, place: int) -> list[str]:
        listed = self.site.once("listdir", self.labels[place])
        assert isinstance(listed, list)
        return [name for name in listed if is_stamp(name)]

    def version(self, place: int, pick: int) -> tuple[Key, int, str] | None:
        """Some retired version: its key, its place in the history, its name. None if there is none.

        Not `assume`: that would end the whole example.
        """
        key = self.clients.get(place)
        if key is None or len(key.versions) < 2:
            return None
        stamps = self.stamps(place)
        which = pick % len(stamps)
        return key, which, stamps[which]

    # --- clients ---

    @initialize(are_there=st.tuples(st.just(True), st.booleans()))
    def begin(self, are_there: tuple[bool, bool]) -> None:
        """Mostly with keys: without them there is little to do."""
        for place, is_there in enumerate(are_there):
            if is_there:
                self.put_past_the_mount(place, b"a" * KEY_SIZE)

    @rule(place=places)
    def mkdir(self, place: int) -> None:
        def expected() -> None:
            if place in self.clients:
                raise Refused("EEXIST")
            self.clients[place] = Key()

        self.both(place, expected, lambda: self.site.once("mkdir", self.labels[place]))

    @rule(place=places)
    def rmdir(self, place: int) -> None:
        def expected() -> None:
            key = self.client(place)
            if key.versions or key.scratches:
                raise Refused("ENOTEMPTY")
            del self.clients[place]

        self.both(place, expected, lambda: self.site.once("rmdir", self.labels[place]))

    # --- whole writes ---

    @rule(place=places, data=contents)
    def put_current(self, place: int, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self.both(
            place,
            lambda: import_into(self.client(place), data) and None,
            lambda: self.site.once("put", self.path(place), flags, data.hex()),
        )

    @rule(place=places, data=contents)
    def unlink_and_make_current(self, place: int, data: bytes) -> None:
        def expected() -> None:
            if not self.client(place).versions:
                raise Refused("ENOENT")
            import_into(self.client(place), data)

        self.both(place, expected, lambda: self.site.once("replace", self.path(place), data.hex()))

    @rule(place=places)
    def rotate(self, place: int) -> None:
        path = self.path(place, "rotate")
        self.both(place, lambda: self.client(place) and None, lambda: self.site.once("put", path, 1, "0a"))
        if place in self.clients:
            made = bytes.fromhex(str(self.site.once("whole", self.path(place))))
            assert made not in self.clients[place].versions
            self.clients[place].accept(made)

    @rule(place=places, data=keys)
    def change_past_the_mount(self, place: int, data: bytes) -> None:
        self.put_past_the_mount(place, data)

    def put_past_the_mount(self, place: int, data: bytes) -> None:
        def expected() -> None:
            import_into(self.clients.setdefault(place, Key()), data)

        self.both(place, expected, lambda: self.site.make(self.labels[place], data))

    # --- names ---

    @rule(place=places, name=names, data=contents)
    def put_scratch(self, place: int, name: str, data: bytes) -> None:
        def expected() -> None:
            scratch = self.client(place).scratches.setdefault(name, Scratch())
            scratch.buffer[:] = data

        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        path = self.path(place, name)
        self.both(place, expected, lambda: self.site.once("put", path, flags, data.hex()))

    @rule(place=places, name=names)
    def unlink_scratch(self, place: int, name: str) -> None:
        def expected() -> None:
            if self.client(place).scratches.pop(name, None) is None:
                raise Refused("ENOENT")

        self.both(place, expected, lambda: self.site.once("unlink", self.path(place, name)))

    @rule(place=places)
    def unlink_current(self, place: int) -> None:
        def expected() -> None:
            if not self.client(place).versions:
                raise Refused("ENOENT")

        self.both(place, expected, lambda: self.site.once("unlink", self.path(place)))

    @rule(place=places, pick=picks)
    def destroy_a_version(self, place: int, pick: int) -> None:
        found = self.version(place, pick)
        if found is None:
            return
        key, which, stamp = found
        self.both(
            place,
            lambda: key.versions.pop(which) and None,
            lambda: self.site.once("unlink", self.path(place, stamp)),
        )

    def renamed(self, place: int, source: str, target: str, flags: int) -> Callable[[], object]:
        return lambda: self.site.once("rename", self.path(place, source), self.path(place, target), flags)

    @rule(place=places, name=names, flags=st.sampled_from([0, 0, NOREPLACE, 2, 4]))
    def rename_onto_current(self, place: int, name: str, flags: int) -> None:
        def expected() -> None:
            key = self.client(place)
            if name not in key.scratches or (flags == 2 and not key.versions):
                raise Refused("ENOENT")
            if flags == NOREPLACE and key.versions:
                raise Refused("EEXIST")
            if flags & ~NOREPLACE:
                raise Refused("EINVAL")
            scratch = key.scratches[name]
            staged = import_into(key, bytes(scratch.buffer), "EPERM")
            for handle in self.open:  # goes on as a writer of the key
                handle.file = staged if handle.file is scratch else handle.file
            del key.scratches[name]

        self.both(place, expected, self.renamed(place, name, CURRENT, flags))

    @rule(place=places, name=names, flags=st.sampled_from([0, 0, NOREPLACE]))
    def rename_current_away(self, place: int, name: str, flags: int) -> None:
        """It stays; the name is a copy."""

        def expected() -> None:
            key = self.client(place)
            if not key.versions:
                raise Refused("ENOENT")
            if flags == NOREPLACE and name in key.scratches:
                raise Refused("EEXIST")
            key.scratches[name] = Scratch(bytearray(key.versions[-1]))

        self.both(place, expected, self.renamed(place, CURRENT, name, flags))

    @rule(place=places, old=names, new=names, flags=st.sampled_from([0, 0, NOREPLACE]))
    def rename_scratch(self, place: int, old: str, new: str, flags: int) -> None:
        def expected() -> None:
            scratches = self.client(place).scratches
            if old not in scratches:
                raise Refused("ENOENT")
            if flags == NOREPLACE and new in scratches:
                raise Refused("EEXIST")
            scratches[new] = scratches[old]
            if old != new:
                del scratches[old]

        self.both(place, expected, self.renamed(place, old, new, flags))

    @rule(place=places, name=names)
    def rename_scratch_to_a_name_of_the_key(self, place: int, name: str) -> None:
        def expected() -> None:
            raise Refused("EACCES" if name in self.client(place).scratches else "ENOENT")

        self.both(place, expected, self.renamed(place, name, "rotate", 0))

    @rule(place=places, pick=picks)
    def roll_back(self, place: int, pick: int) -> None:
        """A retired version renamed to current is current again."""
        found = self.version(place, pick)
        if found is None:
            return
        key, which, stamp = found
        self.both(
            place,
            lambda: import_into(key, key.versions[which]) and None,
            self.renamed(place, stamp, CURRENT, 0),
        )

    @rule(place=places, pick=picks, name=names)
    def rename_a_version_away(self, place: int, pick: int, name: str) -> None:
        found = self.version(place, pick)
        if found is None:
            return
        _, _, stamp = found

        def expected() -> None:
            raise Refused("EPERM")

        self.both(place, expected, self.renamed(place, stamp, name, 0))

    @rule(place=places, other=places, name=names)
    def rename_to_another_client(self, place: int, other: int, name: str) -> None:
        if place == other:
            return

        def expected() -> None:
            if name not in self.client(place).scratches or other not in self.clients:
                raise Refused("ENOENT")
            raise Refused("EXDEV")

        real = (self.path(place, name), self.path(other, name), 0)
        self.both(place, expected, lambda: self.site.once("rename", *real))

    # --- what must hold after each step ---

    @invariant()
    def the_key_just_touched_is_what_the_model_says(self) -> None:
        self.compare(self.touched, with_history=False)

    def teardown(self) -> None:
        for place in range(len(PLACES)):
            if not self.has_diverged:
                self.compare(place, with_history=True)
            for name in NAMES:  # there may be only so many
                outcome(partial(self.site.once, "unlink", self.path(place, name)))

    def compare(self, place: int, *, with_history: bool) -> None:
        """Names, and the bytes behind them, as a process sees them that has done nothing."""
        key = self.clients.get(place)
        listed = outcome(lambda: self.site.once("listdir", self.labels[place]))
        if key is None:
            assert listed == "ENOENT"
            return
        assert isinstance(listed, list)
        stamps = [name for name in listed if is_stamp(name)]
        assert set(listed) - set(stamps) == {"rotate", *key.scratches, *([CURRENT] if key.versions else [])}
        shown = [*stamps, CURRENT][: len(stamps) + bool(key.versions)]
        assert len(shown) == len(key.versions)
        contents = dict(zip(shown, key.versions, strict=True))
        if not with_history:
            contents = {name: data for name, data in contents.items() if name == CURRENT}
        contents |= {name: bytes(scratch.buffer) for name, scratch in key.scratches.items()}
        for name, data in contents.items():
            seen = bytes.fromhex(str(self.site.once("whole", self.path(place, name))))
            assert seen == data, f"{self.path(place, name)} holds other bytes"
