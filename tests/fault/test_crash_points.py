"""kill -9 at every step of every change: each version that was readable before is readable after."""

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from dying import (
    Change,
    Death,
    Place,
    Value,
    assert_clean,
    assert_mends,
    assert_survived,
    become_nobody,
    die_at,
    give_to_nobody,
    need_root,
    values,
)

from keyfs.broker.broker import KeyBroker
from keyfs.broker.changes import Tools
from keyfs.broker.check import check
from keyfs.broker.freshness import Freshness
from keyfs.broker.keystore import KeyStore
from keyfs.broker.outcomes import Outcomes
from keyfs.broker.tree import Tree
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import CURRENT, Half, KeyRef
from keyfs.core.tree import key_node
from keyfs.offload import Offload
from keyfs.seal.keypair import generate_pair
from keyfs.testing.folders import in_memory

PAIR = KeyRef(p.STORAGE, "alice")
POISON = KeyRef(p.POISON_RECORD, None)
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
Values = dict[str, Value]
# Read before each change and after: a change of one key must not touch another.
BYSTANDERS = [KeyRef(p.STORAGE, "bystander"), KeyRef(p.HMAC_SYM, "alice")]
NEW_PRIVATE = generate_pair()[0].reveal()
NEW_SYMMETRIC = hashlib.sha256(b"imported").digest()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def material(ref: KeyRef) -> bytes:
    return NEW_PRIVATE if ref.purpose.is_pair else NEW_SYMMETRIC


@dataclass(frozen=True)
class Case:
    """A change of one key, what comes before it, and how many steps it must have at least."""

    ref: KeyRef
    history: int
    change: Change
    least_steps: int
    amends: bool = False


def generate(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.generate(ref)


def rotate(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.rotate(ref)


def import_bytes(ref: KeyRef) -> Change:
    return lambda _keys, writer: writer.import_material(ref, material(ref))


def amend(ref: KeyRef) -> Change:
    def change(keys: KeyStore, writer: RingWriter) -> None:
        current = keys.ring(ref).version(CURRENT).part(Half.SECRET)
        writer.import_material(ref, material(ref), amend=current.stat.identity)

    return change


def write_through_handle(ref: KeyRef) -> Change:
    def change(keys: KeyStore, writer: RingWriter) -> None:
        tree = Tree(keys, {}, is_writable=True, started_ns=0)
        trio.run(
            stage_and_commit,
            KeyBroker(Tools(keys, writer, tree, Offload(), Freshness(keys), Outcomes())),
            ref,
        )

    return change


async def stage_and_commit(broker: KeyBroker, ref: KeyRef) -> None:
    node = key_node(ref, CURRENT, Half.SECRET)
    staged = await broker.changes.stage(node, truncate=True)
    staged.write(0, material(ref))
    await broker.changes.commit(node, staged)


def repair(keys: KeyStore, writer: RingWriter) -> None:
    check(keys, writer, settle_s=0)


CASES = {
    "generate a pair": Case(PAIR, 0, generate(PAIR), 6),
    "generate in a directory of its own": Case(POISON, 0, generate(POISON), 6),
    "generate a symmetric key": Case(SYMMETRIC, 0, generate(SYMMETRIC), 4),
    "first rotation of a pair": Case(PAIR, 1, rotate(PAIR), 12),
    "later rotation of a pair": Case(PAIR, 3, rotate(PAIR), 12),
    "rotation of the poison pair": Case(POISON, 2, rotate(POISON), 12),
    "first rotation of a symmetric key": Case(SYMMETRIC, 1, rotate(SYMMETRIC), 7),
    "later rotation of a symmetric key": Case(SYMMETRIC, 3, rotate(SYMMETRIC), 7),
    "import of a pair": Case(PAIR, 2, import_bytes(PAIR), 12),
    "import of a symmetric key": Case(SYMMETRIC, 2, import_bytes(SYMMETRIC), 7),
    "write of a pair through a handle": Case(PAIR, 2, write_through_handle(PAIR), 12),
    "write of a symmetric key through a handle": Case(SYMMETRIC, 1, write_through_handle(SYMMETRIC), 7),
    "amendment of a pair": Case(PAIR, 2, amend(PAIR), 6, amends=True),
    "amendment of a symmetric key": Case(SYMMETRIC, 2, amend(SYMMETRIC), 4, amends=True),
}


def place_with(folder: Path, ref: KeyRef, history: int, *, is_split: bool = False) -> Place:
    """A new key store with so many versions of the key; a copy of the first one made below this parent."""
    template = folder.parent / "template"
    if not template.exists():
        fill(place_at(template, is_split=is_split), ref, history)
    shutil.copytree(template, folder)
    return place_at(folder, is_split=is_split)


def place_at(folder: Path, *, is_split: bool) -> Place:
    root, public = folder / "keys", folder / "public"
    for directory in (root, public):
        directory.mkdir(0o700, parents=True, exist_ok=True)
    return Place(root, public if is_split else None)


def fill(place: Place, ref: KeyRef, history: int) -> None:
    _, writer = place.open()
    for other in BYSTANDERS:
        writer.generate(other)
        writer.rotate(other)
    if history:
        writer.generate(ref)
    for _ in range(history - 1):
        writer.rotate(ref)


def others(place: Place) -> list[Values]:
    keys, _ = place.open()
    return [values(keys, ref) for ref in BYSTANDERS]


def deaths(tmp_path: Path, case: Case, *, is_split: bool = False) -> Iterator[tuple[Place, Death]]:
    """The same change again and again, killed one step later each time, until it gets to its end."""
    for step in itertools.count():
        place = place_with(tmp_path / str(step), case.ref, case.history, is_split=is_split)
        before, bystanders = values(place.open()[0], case.ref), others(place)
        death = die_at(step, place, case.change)
        assert_survived(place, case.ref, before, amends=case.amends)
        assert others(place) == bystanders
        yield place, death
        if not death.was_killed:
            assert len(set(death.steps)) >= case.least_steps, death.steps
            return


@pytest.mark.parametrize("is_split", [False, True], ids=["together", "split"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_change_that_dies_leaves_all_versions_and_can_be_mended(
    tmp_path: Path,
    folder: Path,
    request: pytest.FixtureRequest,
    case: Case,
    is_split: bool,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """On a disk and in memory: only a disk gives the inode number of a removed file to the next one."""
    steps: list[str] = []
    for place, death in deaths(folder if is_split else tmp_path, case, is_split=is_split):
        steps = death.steps
        assert_mends(place, case.ref)
        keys, writer = place.open()
        before = values(keys, case.ref)
        made = writer.rotate(case.ref) if before else writer.generate(case.ref)
        assert made.id == CURRENT
        assert_survived(place, case.ref, before)
        assert len(values(place.open()[0], case.ref)) == len(before) + 1
        assert_clean(place)
    record_testsuite_property(request.node.name, ", ".join(steps))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_change_that_dies_can_be_followed_by_a_rotation_at_once(folder: Path, case: Case) -> None:
    for place, _ in deaths(folder, case):
        keys, writer = place.open()
        before = values(keys, case.ref)
        (writer.rotate if before else writer.generate)(case.ref)
        assert_survived(place, case.ref, before)
        assert_mends(place, case.ref)
        assert len(values(place.open()[0], case.ref)) == len(before) + 1


def second_deaths(folder: Path, case: Case, change: Change) -> Iterator[tuple[Place, Values, Death]]:
    """After each death of the case's change *change* dies, at each of its steps, until it gets to its end."""
    for first in range(case.least_steps):
        for step in itertools.count():
            place = place_with(folder / f"{first}-{step}", case.ref, case.history)
            die_at(first, place, case.change)
            before = values(place.open()[0], case.ref)
            death = die_at(step, place, change)
            yield place, before, death
            if not death.was_killed:
                break


@pytest.mark.parametrize("case", ["first rotation of a pair", "later rotation of a symmetric key"])
def test_a_rotation_that_dies_twice_loses_nothing_either(folder: Path, case: str) -> None:
    killed = 0
    for place, before, death in second_deaths(folder, CASES[case], CASES[case].change):
        assert_survived(place, CASES[case].ref, before)
        assert_mends(place, CASES[case].ref)
        killed += death.was_killed
    assert killed >= CASES[case].least_steps ** 2 - CASES[case].least_steps


@pytest.mark.parametrize("case", ["later rotation of a pair", "amendment of a pair", "generate a pair"])
def test_a_repair_that_dies_can_be_repeated(folder: Path, case: str) -> None:
    """For every state that a rotation can leave, and for every step of mending it."""
    repairs = 0
    for place, before, death in second_deaths(folder, CASES[case], repair):
        after = values(place.open()[0], CASES[case].ref)
        assert [secret for secret, _ in after.values() if secret] == [secret for secret, _ in before.values()]
        assert_mends(place, CASES[case].ref)
        repairs += death.was_killed
    assert repairs >= 3


def destroy_oldest(ref: KeyRef) -> Change:
    return lambda keys, writer: writer.destroy(ref, keys.ring(ref).versions[0].id)


@pytest.mark.parametrize(("ref", "least_steps"), [(PAIR, 2), (SYMMETRIC, 1)], ids=["pair", "symmetric"])
def test_a_destruction_that_dies_can_be_repeated(folder: Path, ref: KeyRef, least_steps: int) -> None:
    for step in itertools.count():
        place = place_with(folder / str(step), ref, 4)
        before = values(place.open()[0], ref)
        oldest, *others = before
        death = die_at(step, place, destroy_oldest(ref))
        keys, writer = place.open()
        after = values(keys, ref)
        assert {version: after[version] for version in others} == {v: before[v] for v in others}
        assert set(after) <= set(before), "half of a version has become a version"
        assert_mends(place, ref)
        if oldest in after:
            writer.destroy(ref, oldest)
        assert list(values(place.open()[0], ref)) == others
        if not death.was_killed:
            assert len(death.steps) >= least_steps
            return


def test_a_rotation_that_cannot_link_never_leaves_half_a_copy(folder: Path) -> None:
    """Linux allows no hard link of a file that is another user's and cannot be written: it is copied."""
    need_root("to make a file that is another user's")

    def rotate_as_nobody(_keys: KeyStore, writer: RingWriter) -> None:
        become_nobody()
        writer.rotate(SYMMETRIC)

    for step in itertools.count():
        place = place_with(folder / str(step), SYMMETRIC, 2)
        give_to_nobody(place)
        key = place.root / "alice_storage_sym"
        key.chmod(0o644)
        os.chown(key, 0, 0)
        before = values(place.open()[0], SYMMETRIC)
        death = die_at(step, place, rotate_as_nobody)
        secrets = [secret for secret, _ in values(place.open()[0], SYMMETRIC).values()]
        assert {secret for secret, _ in before.values()} <= set(secrets)
        assert not die_at(1000, place, rotate_as_nobody).was_killed
        after = values(place.open()[0], SYMMETRIC)
        assert len({secret for secret, _ in after.values()}) == len(after), "a version is there twice"
        assert_mends(place, SYMMETRIC)
        if not death.was_killed:
            assert any(name.startswith("copy") for name in death.steps), "it was linked"
            return
