"""A change of the master key that dies, or finds the disk full, at any step: nothing is lost, it goes on."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dying import MASTER, Place, Value, die_at, values
from small_medium import Small, small_store, staged, tree

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import StoreFull
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import is_public
from keyfs.seal.protection import CellProtection, Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.base import Store
from keyfs.store.directory import DirectoryStore
from keyfs.testing.folders import in_memory

NEW, OLD = bytes(range(7, 39)), MASTER
PAIR = KeyRef(p.STORAGE, "alice")
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
REFS = (PAIR, SYMMETRIC)
Facts = dict[str, tuple[int, int, int]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def place_with(folder: Path, ref: KeyRef, *, has_orphan: bool = False) -> Place:
    (folder / "keys").mkdir(0o700, parents=True)
    place = Place(folder / "keys")
    _, writer = place.open()
    writer.generate(ref)
    writer.rotate(ref)
    if has_orphan:
        [name, *_] = LayoutV1().places(ref).names
        os.link(place.file(name), place.file(f"{name}.old/2030-01-01T00:00:00.000001"))
    return place


def under(key: bytes) -> CellProtection:
    """A new one each time: a forked child has nothing of its parent's master keys."""
    return CellProtection(open_sealer(Secret(key)))


def change(store: Store, new: bytes = NEW) -> None:
    target = under(new)
    keys = KeyStore(store, LayoutV1(legacy=True), Protections([target, under(OLD if new is NEW else NEW)]))
    keys.load()
    report = RekeyReport()
    rekey(keys, target, report)
    assert not report.failed


def change_of(keys: KeyStore, _writer: RingWriter) -> None:
    change(keys.store)


def open_under(place: Place, *master_keys: bytes) -> KeyStore:
    store = DirectoryStore(place.root, None, is_public)
    keys = KeyStore(store, LayoutV1(), Protections([under(key) for key in master_keys]))
    keys.load()
    return keys


def facts_of(place: Place) -> Facts:
    """What stays of every file: mode, time and size."""
    found = {}
    for path in (path for path in place.root.rglob("*") if path.is_file()):
        facts = path.stat()
        found[str(path.relative_to(place.root))] = (facts.st_mode, facts.st_mtime_ns, facts.st_size)
    return found


@pytest.mark.parametrize("has_orphan", [False, True], ids=["whole", "rotation stopped"])
@pytest.mark.parametrize("ref", REFS, ids=str)
def test_a_change_that_dies_at_any_step_loses_nothing_and_is_taken_up(
    folder: Path, ref: KeyRef, has_orphan: bool
) -> None:
    for step in itertools.count():
        place = place_with(folder / str(step), ref, has_orphan=has_orphan)
        before, facts = values(open_under(place, OLD), ref), facts_of(place)
        death = die_at(step, place, change_of)
        left = values(open_under(place, NEW, OLD), ref)
        # Between two names of one blob the second one looks like a version of its own.
        assert {secret for secret, _ in left.values()} == {secret for secret, _ in before.values()}
        assert facts_of(place) == facts
        change(DirectoryStore(place.root, None, is_public))
        assert facts_of(place) == facts
        assert_changed(place, ref, before, has_orphan=has_orphan)
        if not death.was_killed:
            assert len(death.steps) >= 8
            return


def assert_changed(place: Place, ref: KeyRef, before: dict[str, Value], *, has_orphan: bool) -> None:
    keys = open_under(place, NEW)
    assert values(keys, ref) == before
    assert len(keys.ring(ref).orphans) == has_orphan
    assert not staged(place)
    report = check(keys, RingWriter(keys), settle_s=0)
    assert report.is_clean, report.findings
    RingWriter(keys).rotate(ref)
    assert len(values(open_under(place, NEW), ref)) == len(before) + 1


@pytest.mark.parametrize("is_mount", [True, False], ids=["store is a mount", "parent is a mount"])
@pytest.mark.parametrize("what", ["inodes", "pages"])
def test_a_disk_that_fills_up_on_the_way_stops_it_with_every_blob_whole(
    tmp_path: Path, is_mount: bool, what: str
) -> None:
    """And when there is room again, it goes on."""
    stopped = 0
    with small_store(tmp_path, is_mount=is_mount, history=2) as small:
        before = {ref: values(open_under(small.place, OLD), ref) for ref in REFS}
        names = set(tree(small.place.root))
        for number, new in enumerate(itertools.cycle((NEW, OLD))):
            seen, is_full = change_on_full(small, number, what, new)
            stopped += is_full
            assert {ref: values(open_under(small.place, NEW, OLD), ref) for ref in REFS} == before
            assert set(tree(small.place.root)) == names
            assert not staged(small.place)
            change(DirectoryStore(small.place.root, None, is_public), new)
            assert {ref: values(open_under(small.place, new), ref) for ref in REFS} == before
            if len(seen) <= number:
                break
    assert stopped >= 2


def change_on_full(small: Small, number: int, what: str, new: bytes) -> tuple[list[str], bool]:
    """Let the disk be full from one step on; the steps there were, and whether that stopped it."""
    seen: list[str] = []

    def on_step(step: str) -> None:
        if len(seen) == number:
            small.fill() if what == "inodes" else small.fill_bytes()
        seen.append(step)

    try:
        change(DirectoryStore(small.place.root, None, is_public, on_step), new)
    except StoreFull:
        return seen, True
    finally:
        small.free()
    return seen, False
