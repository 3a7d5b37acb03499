"""Key stores of each layout on each medium, and what a stranger reads in them: for contract suites."""
# ruff: noqa: S101 - this is the test kit

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import pytest

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.layout.base import KeyVersion
from keyfs.testing.builders import AUDIT_LOG, POISON, STORAGE, STORAGE_SYM
from keyfs.testing.shared_store import SharedStore

Opened = tuple[KeyStore, RingWriter]
Halves = tuple[bytes | None, bytes | None]  # private or symmetric, public
FEW: Final = (STORAGE, STORAGE_SYM, POISON, AUDIT_LOG)
"""A pair and a symmetric key, of a client and of nobody."""
refs = pytest.mark.parametrize("ref", [STORAGE, AUDIT_LOG], ids=str)


@dataclass(frozen=True, slots=True)
class Told:
    """One version, as a stranger to keyfs reads it."""

    name: str  # the stamp or the number; empty where it has neither
    halves: Halves
    is_current: bool
    state: int | None  # as Acra counts them; None where the format has none


class LayoutSite:
    """Subclasses say which layout, on which medium, and who is the stranger."""

    layout: ClassVar[str]

    def make_store(self, place: Path, layout: str) -> SharedStore:
        """A new, empty key store on this medium."""
        raise NotImplementedError

    def told(self, store: SharedStore) -> dict[KeyRef, list[Told]]:
        """All that the stranger finds in a key store, by key, oldest first, the current one last.

        Raises:
            Exception: something is not as the specification says.
        """
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """A folder for master keys, and for key stores where they lie in one."""
        return tmp_path

    @pytest.fixture
    def store(self, place: Path) -> SharedStore:
        """An empty one of this layout."""
        return self.new(place, "store", self.layout)

    @pytest.fixture
    def here(self, store: SharedStore) -> Iterator[Opened]:
        """The key store with three versions of a few keys."""
        with store.opened() as (keys, writer):
            fill(writer)
            yield keys, writer

    @pytest.fixture
    def elsewhere(self, store: SharedStore, here: Opened) -> Iterator[Opened]:
        """The same on another host, which has listed it."""
        assert here
        with store.opened() as opened:
            yield opened

    def new(self, place: Path, name: str, layout: str) -> SharedStore:
        """One more key store on this medium."""
        (place / name).mkdir()
        return self.make_store(place / name, layout)

    def read_apart(self, store: SharedStore) -> dict[KeyRef, list[Halves]]:
        """What is to be read, by the stranger and by a host that looks for the first time: the same."""
        told = self.told(store)
        with store.opened() as (keys, _):
            ours = {ring.ref: halves_of(keys, ring.ref) for ring in keys.rings()}
            assert not check(keys, settle_s=0).findings
        assert ours == {ref: [one.halves for one in found] for ref, found in told.items()}
        for found in told.values():
            assert [one.is_current for one in found] == [*(False for _ in found[:-1]), True]
        return ours


def fill(writer: RingWriter) -> None:
    """Three versions of a few keys."""
    for ref in FEW:
        writer.generate(ref)
        writer.rotate(ref)
        writer.rotate(ref)


def name_of(version: KeyVersion) -> str:
    """By what it is known for good: its number or its stamp; empty for what has neither yet."""
    return version.number or ("" if version.id == CURRENT else version.id)


def names_of(keys: KeyStore, ref: KeyRef) -> list[str]:
    """Those of all versions, oldest first."""
    return [name_of(version) for version in keys.ring(ref).versions]


def halves_of(keys: KeyStore, ref: KeyRef) -> list[Halves]:
    """Both halves of every version, oldest first; None for what is not there."""
    return [
        (_opened(keys, ref, version, Half.SECRET), _opened(keys, ref, version, Half.PUBLIC))
        for version in keys.ring(ref).versions
    ]


def _opened(keys: KeyStore, ref: KeyRef, version: KeyVersion, half: Half) -> bytes | None:
    part = version.secret if half is Half.SECRET else version.public
    return None if part is None else keys.read(ref, version.id, half)[0].material.reveal()
