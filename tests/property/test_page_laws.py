"""The laws of the kernel's pages: who opens a version reads that version, whole, whatever else is going on.

Each rule of `keyfs.fs.pages` is then taken away, and the same machine must find what breaks.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from hypothesis.strategies import DataObject, booleans, data, sampled_from
from page_kernel import Opened, PageKernel, bytes_of

from keyfs.broker.snapshot import Standing
from keyfs.fs import pages
from keyfs.fs.pages import Admission, Pages


class PageMachine(RuleBasedStateMachine):
    """Processes, their kernel and the daemon, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = PageKernel(Pages(is_on=True, clock=lambda: 0.0))

    def one(self, of: DataObject) -> Opened:
        return of.draw(sampled_from(self.kernel.opened))

    @rule()
    def rotate(self) -> None:
        self.kernel.rotate()

    @rule()
    def forget(self) -> None:
        self.kernel.forget()

    @rule()
    def reclaim(self) -> None:
        self.kernel.reclaim()

    @rule(gives=booleans())
    def open(self, gives: bool) -> None:
        self.kernel.open(gives=gives)

    @rule(gives=booleans())
    def visit(self, gives: bool) -> None:
        """What almost all programs do; releases of others come first."""
        self.kernel.open(gives=gives)
        if self.kernel.opened:
            file = self.kernel.opened[-1]
            assert self.kernel.read(file) == bytes_of(file.version)
            self.kernel.close(file)
        while self.kernel.closing:
            self.kernel.release()

    @precondition(lambda self: self.kernel.opened)
    @rule(of=data())
    def arrive(self, of: DataObject) -> None:
        self.kernel.arrive(self.one(of))

    @precondition(lambda self: self.kernel.opened)
    @rule(of=data())
    def read(self, of: DataObject) -> None:
        file = self.one(of)
        assert self.kernel.read(file) == bytes_of(file.version)

    @precondition(lambda self: self.kernel.opened)
    @rule(of=data())
    def close(self, of: DataObject) -> None:
        self.kernel.close(self.one(of))

    @precondition(lambda self: self.kernel.closing)
    @rule()
    def release(self) -> None:
        self.kernel.release()

    @precondition(lambda self: not self.kernel.has_kept)  # it waits for these
    @rule()
    def cut(self) -> None:
        self.kernel.cut()

    @precondition(lambda self: self.kernel.writers)
    @rule()
    def written(self) -> None:
        self.kernel.written()


def find_what_breaks(*, always_alike: bool = False) -> None:
    """*always_alike*: what is known to break is not to be missed by bad luck."""
    run_state_machine_as_test(
        PageMachine,
        settings=settings(
            max_examples=3000 if always_alike else max(200, settings().max_examples),
            derandomize=always_alike,
            stateful_step_count=40,
            phases=(Phase.generate,),
            deadline=None,
        ),
    )


def test_every_open_reads_its_own_version_whole() -> None:
    find_what_breaks()


def always_keep(admit: Callable[..., Admission | None]) -> Callable[..., Admission | None]:
    def admitted(*args: Any) -> Admission | None:
        admission = admit(*args)
        return None if admission is None else admission._replace(keep=True)

    return admitted


def proving(admit: Callable[..., Admission | None]) -> Callable[..., Admission | None]:
    def admitted(self: Any, inode: int, *args: Any) -> Admission | None:
        admission = admit(self, inode, *args)
        if admission is not None:
            self.was_read(inode, admission)
        return admission

    return admitted


def keeps_without(*fields: str) -> Callable[[Any, bytes], bool]:
    original = pages._File.keeps

    def keeps(file: Any, digest: bytes) -> bool:
        hidden = {name: getattr(file, name) for name in fields}
        for name, value in hidden.items():
            setattr(file, name, type(value)())
        try:
            return original(file, digest)
        finally:
            for name, value in hidden.items():
                setattr(file, name, value)

    return keeps


def standing_always(pages_of: Pages, inode: int) -> Standing | None:
    file = pages_of._files.get(inode)
    return None if file is None else file.standing


MUTANTS: dict[str, tuple[object, str, object]] = {
    "pages stay whatever was there": (Pages, "admit", always_keep(Pages.admit)),
    "an open proves itself": (Pages, "admit", proving(Pages.admit)),
    "readers of another version do not count": (pages._File, "keeps", keeps_without("readers")),
    "what was not proved stands": (Pages, "standing", standing_always),
    "writers do not count": (pages._File, "keeps", keeps_without("writers")),
    "pages are given to who is not alone": (Pages, "may_fill", lambda *_: True),
    "what was given is not noted": (Pages, "filled", lambda *_: None),
    "reads are not noted": (Pages, "was_read", lambda *_: None),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_without_one_of_the_rules_somebody_reads_what_he_must_not(
    mutant: tuple[object, str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*mutant)
    with pytest.raises(AssertionError):
        find_what_breaks(always_alike=True)
