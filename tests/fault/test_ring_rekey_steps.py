"""A change of the master key of layout v2 that dies at any step, or is overtaken: nothing is lost."""

from contextlib import suppress
from pathlib import Path

import pytest

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.writer import RingWriter
from keyfs.core.names import Half
from keyfs.core.states import KeyState
from keyfs.store.directory import DirectoryStore
from keyfs.testing.builders import EVERY_REF, STORAGE
from keyfs.testing.ring_stores import rings_under

OLD, NEW = bytes(range(32)), bytes(range(50, 82))
RING = "client/alice/storage-sym.keyring"


class Death(BaseException):
    """Nothing catches it."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    return root


def filled(keys: KeyStore) -> KeyStore:
    writer = RingWriter(keys)
    for ref in EVERY_REF:
        writer.generate(ref)
        for _ in range(2):
            writer.rotate(ref)
    writer.destroy(STORAGE, "2", is_forced=True)
    return keys


def values(keys: KeyStore) -> dict[tuple[str, str, Half], tuple[object, ...]]:
    """All that people see of every version: bytes, times, states."""
    return {
        (str(ring.ref), v.number, half): (
            keys.read(ring.ref, v.number, half)[0].material.reveal()
            if v.state is not KeyState.DESTROYED
            else b"",
            v.id,
            v.created_ns,
            v.until_ns,
            v.state,
        )
        for ring in keys.rings()
        for v in ring.versions
        for half in (Half if ring.ref.purpose.is_pair else (Half.SECRET,))
    }


def change(keys: KeyStore) -> RekeyReport:
    report = RekeyReport()
    assert keys.protection is not None
    rekey(keys, keys.protection.members[0], report)
    return report


def test_a_change_that_dies_at_any_step_is_taken_up(root: Path) -> None:
    before = values(filled(rings_under(DirectoryStore(root), OLD)))
    for dies_at in range(1, 1000):
        keys = (NEW, OLD) if dies_at % 2 else (OLD, NEW)
        steps: list[str] = []

        def step(name: str, dies_at: int = dies_at, steps: list[str] = steps) -> None:
            steps.append(name)
            if len(steps) == dies_at:
                raise Death

        with suppress(Death):
            change(rings_under(DirectoryStore(root, on_step=step), *keys))
        left = rings_under(DirectoryStore(root), NEW, OLD)
        assert values(left) == before
        assert not left.index.strays
        assert not change(rings_under(DirectoryStore(root), *keys)).failed
        after = rings_under(DirectoryStore(root), keys[0])
        assert values(after) == before
        assert not check(after, settle_s=0).findings
        if len(steps) < dies_at:
            assert dies_at > len(EVERY_REF)
            return
    pytest.fail("it never ended")
