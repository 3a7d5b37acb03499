"""A writer of key rings that dies at any step, and what Acra leaves when it dies: nothing is lost."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from keyfs.core.names import CURRENT, KeyRef
from keyfs.errors import StoreFull
from keyfs.store.directory import DirectoryStore
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys, new_material
from keyfs.testing.ring_stores import SINCE_NS, codec, rings_on

RING = "client/alice/storage.keyring"


class Death(BaseException):
    """Nothing catches it."""


def keys_in(root: Path, dies_at: int = -1, error: BaseException | None = None) -> tuple[Keys, list[str]]:
    """The key store in *root*; with the number of the step at which its writer dies, and the steps so far."""
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) == dies_at:
            raise error or Death

    return rings_on(DirectoryStore(root, on_step=step)), steps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    return root


def steps_of_a_rotation(root: Path, ref: KeyRef) -> int:
    keys, steps = keys_in(root)
    keys.writer.import_material(ref, new_material(ref, 1))
    before = len(steps)
    keys.writer.import_material(ref, new_material(ref, 2))
    return len(steps) - before


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
def test_a_writer_that_dies_leaves_the_old_ring_or_the_new_one(root: Path, ref: KeyRef, step: int) -> None:
    count = steps_of_a_rotation(root, ref)
    before = keys_in(root)[0].values(ref)
    keys, steps = keys_in(root, step)
    if step > count:
        keys.writer.import_material(ref, new_material(ref, 3))
        assert len(steps) == count
        return
    with pytest.raises(Death):
        keys.writer.import_material(ref, new_material(ref, 3))
    left, _ = keys_in(root)
    assert left.values(ref)[:2] == before
    assert left.versions(ref) in (["1", CURRENT], ["1", "2", CURRENT])
    assert not left.keys.index.strays
    left.writer.rotate(ref)
    after, _ = keys_in(root)
    assert after.values(ref)[:2] == before
    assert len(after.versions(ref)) == len(left.versions(ref))
    assert {path.name for path in root.rglob("*") if path.is_file()} == {f"{ref.purpose}.keyring", ".lock"}


@pytest.mark.parametrize("step", range(1, 6))
def test_the_first_version_is_there_or_not(root: Path, step: int) -> None:
    keys, _ = keys_in(root, step)
    with suppress(Death):
        keys.writer.generate(STORAGE)
    left, _ = keys_in(root)
    if not left.keys.index.has(STORAGE):
        left.writer.generate(STORAGE)
    assert left.versions(STORAGE) == [CURRENT]
    assert left.keys.ring(STORAGE).version("1").id == CURRENT


def test_a_write_that_fails_changes_nothing(root: Path) -> None:
    steps_of_a_rotation(root, STORAGE)
    before = (root / RING).read_bytes()
    keys, _ = keys_in(root, 1, StoreFull("no room"))
    with pytest.raises(StoreFull):
        keys.writer.rotate(STORAGE)
    assert (root / RING).read_bytes() == before


def test_each_state_that_acra_leaves_is_readable_and_the_next_rotation_goes_on(root: Path) -> None:
    """Acra writes twice: with the new key, then with it as current; each time `.new`, then a rename."""
    steps_of_a_rotation(root, STORAGE)
    path, ring_file = "client/alice/storage", root / RING
    both = codec().open(path, ring_file.read_bytes())
    one = replace(both, keys=both.keys[:1], current=1)
    states = {
        "an empty ring": (replace(both, keys=(), current=-1), None),
        "an empty ring, and the one with the key beside it": (replace(both, keys=(), current=-1), one),
        "a key that is not current": (replace(one, current=-1), None),
        "a second key that is not current": (replace(both, current=1), None),
        "that, and the finished ring beside it": (replace(both, current=1), both),
    }
    for state, (ring, new) in states.items():
        ring_file.write_bytes(codec().seal(path, ring, SINCE_NS))
        left = ring_file.with_suffix(".keyring.new")
        if new is not None:
            left.write_bytes(codec().seal(path, new, SINCE_NS))
        keys, _ = keys_in(root)
        known = {v.number: keys.secret(STORAGE, v.id) for v in keys.keys.ring(STORAGE).versions}
        keys.writer.import_material(STORAGE, new_material(STORAGE))
        after = {v.number: keys.secret(STORAGE, v.id) for v in keys.keys.ring(STORAGE).versions}
        assert known.items() <= after.items(), state
        assert codec().open(path, ring_file.read_bytes()).current == len(ring.keys) + 1, state
        assert not left.exists()
