"""kill -9 at every step of a change of an own purpose: what was readable is, and Acra's part is as it was."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dying import MASTER, Change, Death, Place, Step, die_at

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.purposes import STORAGE
from keyfs.core.secret import Secret
from keyfs.layout.joined import JoinedLayout
from keyfs.layout.own import OwnLayout
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.annex import DirectoryAnnex
from keyfs.store.directory import DirectoryStore
from keyfs.store.joined import JoinedStore
from keyfs.testing.folders import in_memory
from keyfs.testing.own import PURPOSES, own_ref

TLS, DB, TOKEN, SITE = own_ref("tls"), own_ref("db"), own_ref("token"), own_ref("site", None)
PAIR = KeyRef(STORAGE, "alice")


class OwnPlace(Place):
    def open(self, on_step: Step = lambda _step: None) -> tuple[KeyStore, RingWriter]:
        store = JoinedStore(DirectoryStore(self.root, on_step=on_step), DirectoryAnnex(self.root, on_step))
        layout = JoinedLayout(LayoutV1(), OwnLayout(tuple(PURPOSES.values())))
        keys = KeyStore(store, layout, Protections.under(open_sealer(Secret(MASTER))))
        keys.load()
        return keys, RingWriter(keys)


@dataclass(frozen=True)
class Case:
    """A change, how many versions there are before it, and what must become of them."""

    ref: KeyRef
    history: int
    change: Change
    least_steps: int
    may_lose: int = 0  # of the oldest retired versions
    amends: bool = False


def generate(_keys: KeyStore, writer: RingWriter) -> None:
    writer.generate(TLS)


def rotate(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.rotate(ref)


def import_site(_keys: KeyStore, writer: RingWriter) -> None:
    writer.import_material(SITE, b"imported")


def amend(keys: KeyStore, writer: RingWriter) -> None:
    current = keys.ring(SITE).version(CURRENT).part(Half.SECRET)
    writer.import_material(SITE, b"amended", amend=current.stat.identity)


def destroy(keys: KeyStore, writer: RingWriter) -> None:
    writer.destroy(TLS, keys.ring(TLS).versions[0].id)


CASES = {
    "the first own key": Case(TLS, 0, generate, 4),
    "a rotation": Case(TLS, 2, rotate(TLS), 4),
    "an import": Case(SITE, 2, import_site, 4),
    "a rotation that cuts the history": Case(DB, 3, rotate(DB), 5, may_lose=1),
    "a rotation that keeps no history": Case(TOKEN, 1, rotate(TOKEN), 5, may_lose=1),
    "an amendment": Case(SITE, 2, amend, 4, amends=True),
    "a destruction": Case(TLS, 3, destroy, 1, may_lose=1),
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def place_with(folder: Path, case: Case) -> OwnPlace:
    template = folder.parent / "template"
    if not template.exists():
        (template / "keys").mkdir(0o700, parents=True)
        _, writer = OwnPlace(template / "keys").open()
        writer.generate(PAIR)
        for number in range(case.history):
            make(writer, case.ref, b"version %d" % number, is_first=not number)
    shutil.copytree(template, folder)
    return OwnPlace(folder / "keys")


def make(writer: RingWriter, ref: KeyRef, data: bytes, *, is_first: bool) -> None:
    """One version more; of what has to be a PEM, a generated one."""
    if ref != TLS:
        writer.import_material(ref, data)
    elif is_first:
        writer.generate(ref)
    else:
        writer.rotate(ref)


def values(place: OwnPlace, ref: KeyRef) -> list[bytes]:
    keys, _ = place.open()
    versions = keys.ring(ref).versions if keys.index.has(ref) else ()
    return [keys.read(ref, version.id, Half.SECRET)[0].material.reveal() for version in versions]


def acra_part(place: OwnPlace) -> dict[str, tuple[bytes, os.stat_result]]:
    return {str(path): (path.read_bytes(), path.stat()) for path in place.root.rglob("*") if path.is_file()}


def deaths(folder: Path, case: Case) -> Iterator[tuple[OwnPlace, list[bytes], Death]]:
    for step in itertools.count():
        place = place_with(folder / str(step), case)
        before, acra = values(place, case.ref), acra_part(place)
        death = die_at(step, place, case.change)
        assert acra_part(place) == acra
        yield place, before, death
        if not death.was_killed:
            assert len(set(death.steps)) >= case.least_steps, death.steps
            return


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_change_that_dies_loses_nothing_and_leaves_nothing(
    folder: Path, case: Case, record_testsuite_property: Callable[[str, object], None]
) -> None:
    steps: list[str] = []
    for place, before, death in deaths(folder, case):
        now = values(place, case.ref)
        kept = before[:-1] if case.amends else before[case.may_lose :]
        assert [value for value in now if value in kept] == kept
        assert len(now) - len(before) in range(-case.may_lose, 2)
        keys, writer = place.open()
        assert not check(keys).findings
        make(writer, case.ref, b"the next version", is_first=not now)
        after = values(place, case.ref)
        limit = case.ref.purpose.own.history if case.ref.purpose.own is not None else None
        expected = [*now, after[-1]]
        assert after == (expected if limit is None else expected[-limit - 1 :])
        assert sorted(os.listdir(place.root.parent)) == ["keys", "keys.keyfs"]
        assert not os.listdir(place.root.parent / "keys.keyfs" / "own.keyfs" / "staging")
        steps = death.steps
    record_testsuite_property(case.change.__name__, ", ".join(steps))


def test_a_half_made_annex_is_made_whole(folder: Path) -> None:
    """Whoever died between the two directories."""
    case = CASES["the first own key"]
    place = place_with(folder / "half", case)
    (place.root.parent / "keys.keyfs").mkdir(0o700, exist_ok=True)
    keys, writer = place.open()
    assert not keys.index.has(TLS)
    writer.generate(TLS)
    own = place.root.parent / "keys.keyfs" / "own"
    assert (own.stat().st_mode & 0o777, len(values(place, TLS))) == (0o700, 1)


def test_losing_the_annex_loses_no_acra_key(folder: Path) -> None:
    place = place_with(folder / "lost", CASES["a rotation"])
    keys, _ = place.open()
    shutil.rmtree(place.root.parent / "keys.keyfs")
    keys.reload()
    assert [str(ring.ref) for ring in keys.rings()] == [str(PAIR)]
    assert keys.read(PAIR, CURRENT, Half.SECRET)[0].material
    watched, _ = place.open()
    watched.watch()
    assert not watched.is_suspect
    watched.close()
