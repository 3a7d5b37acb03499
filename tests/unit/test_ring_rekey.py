"""Another master key for key rings in memory: what is sealed and signed anew, what stays, what is told."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from keyfs.broker.keystore import KeyStore
from keyfs.broker.rekey import RekeyReport, rekey
from keyfs.broker.state_changes import StateWriter
from keyfs.broker.writer import RingWriter
from keyfs.core.names import CURRENT, Half
from keyfs.core.rings import DESTROYED, KeyData, Ring, RingKey
from keyfs.core.states import KeyState
from keyfs.errors import OperationRefused, RingInvalid, UnsealFailed
from keyfs.seal.protection import Protections
from keyfs.seal.ring_der import resealed
from keyfs.seal.rings import SignedRings
from keyfs.testing.builders import STORAGE, STORAGE_SYM
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import SINCE_NS, ring_key, rings_under

OLD, NEW = bytes(range(32)), bytes(range(50, 82))
PATH = "client/alice/storage-sym"
RING = f"{PATH}.keyring"


class Counting(MemoryStore):
    """Tells how often it was written, and lets something happen before the first time."""

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium)
        self.written: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def rewrite(self, names: Sequence[str], expected: bytes, data: bytes) -> bool:
        before, self.before = self.before, lambda: None
        before()
        assert self.medium.foreign.locked()
        assert self.medium.writers.locked()
        self.written += names
        return super().rewrite(names, expected, data)


@pytest.fixture
def medium() -> Medium:
    """Three versions of a pair and of a symmetric key under the old master key."""
    medium = Medium()
    writer = RingWriter(under(medium, OLD))
    for ref in (STORAGE, STORAGE_SYM):
        writer.generate(ref)
        writer.rotate(ref)
        writer.rotate(ref)
    return medium


def under(medium: Medium, *keys: bytes) -> KeyStore:
    return rings_under(MemoryStore(medium), *keys)


def codec(keys: KeyStore) -> SignedRings:
    assert isinstance(keys.protection, Protections)
    return SignedRings(keys.protection.signers)


def change(keys: KeyStore, *, dry_run: bool = False) -> RekeyReport:
    report = RekeyReport()
    assert keys.protection is not None
    rekey(keys, keys.protection.members[0], report, dry_run=dry_run)
    return report


def secrets(keys: KeyStore) -> list[bytes]:
    return [
        keys.read(ref, version.id, Half.SECRET)[0].material.reveal()
        for ref in (STORAGE, STORAGE_SYM)
        for version in keys.ring(ref).versions
    ]


def put(medium: Medium, path: str, ring: Ring, key: bytes = OLD) -> None:
    medium.put(f"{path}.keyring", codec(under(Medium(), key)).seal(path, ring, SINCE_NS))


def test_each_ring_is_switched_once_under_both_locks(medium: Medium) -> None:
    before = secrets(under(medium, OLD))
    store = Counting(medium)
    report = change(rings_under(store, NEW, OLD))
    assert (report.rewrapped, report.already, report.failed) == (6, 0, {})
    assert sorted(store.written) == ["client/alice/storage-sym.keyring", "client/alice/storage.keyring"]
    assert secrets(under(medium, NEW)) == before
    assert not len(under(medium, OLD).index)


def test_a_dry_run_counts_and_writes_nothing(medium: Medium) -> None:
    before = dict(medium.blobs)
    report = change(under(medium, NEW, OLD), dry_run=True)
    assert (report.rewrapped, report.already) == (6, 0)
    assert medium.blobs == before
    change(under(medium, NEW, OLD))
    assert change(under(medium, NEW, OLD), dry_run=True).already == 6


def test_rings_with_nothing_sealed_in_them_are_signed_anew(medium: Medium) -> None:
    medium.blobs.clear()
    rings = {"audit-log": Ring(b"audit-log"), PATH: Ring(b"other", (ring_key(1, DESTROYED),), 1)}
    for path, ring in rings.items():
        put(medium, path, ring)
    report = change(under(medium, NEW, OLD))
    assert (report.rewrapped, report.failed) == (2, {})
    for path, ring in rings.items():
        found = codec(under(medium, NEW)).open(path, medium.blobs[f"{path}.keyring"].data)
        assert replace(found, keys=tuple(replace(key, raw=b"") for key in found.keys)) == ring


def test_a_rotation_between_our_look_and_our_write_loses_nothing(medium: Medium) -> None:
    """The ring is another one by then: it is looked at again."""
    before = secrets(under(medium, OLD))
    store = Counting(medium)
    keys = rings_under(store, NEW, OLD)
    others = under(medium, OLD, NEW)
    name = next(iter(sorted(medium.blobs)))
    codec_ = codec(others)

    def overtake() -> None:
        """As a program does that takes no lock."""
        old = codec_.open(name.removesuffix(".keyring"), medium.blobs[name].data)
        medium.put(name, codec_.seal(name.removesuffix(".keyring"), old, SINCE_NS))

    store.before = overtake
    report = change(keys)
    assert not report.failed
    assert report.rounds > 1
    assert secrets(under(medium, NEW)) == before


def test_a_damaged_version_is_named_and_all_others_are_done(medium: Medium) -> None:
    keys = under(medium, OLD)
    ring = codec(keys).open(PATH, medium.blobs[RING].data)
    spoiled = replace(ring.keys[1], data=(KeyData(3, symmetric=b"x" * 76),), raw=b"")
    put(medium, PATH, ring.with_key(spoiled))
    before = secrets_but(under(medium, OLD), "2")
    for rewrapped in (5, 0):
        report = change(under(medium, NEW, OLD))
        assert list(report.failed) == [RING]
        assert isinstance(report.failed[RING], UnsealFailed)
        assert "version 2" in str(report.failed[RING])
        assert bool(report.rewrapped) is bool(rewrapped)
    assert secrets_but(under(medium, NEW), "2") == before
    left = codec(under(medium, NEW)).open(PATH, medium.blobs[RING].data)
    assert left.keys[1].data == spoiled.data


def secrets_but(keys: KeyStore, number: str) -> list[bytes]:
    return [
        keys.read(STORAGE_SYM, version.id, Half.SECRET)[0].material.reveal()
        for version in keys.ring(STORAGE_SYM).versions
        if version.number != number
    ]


def test_a_ring_that_does_not_verify_is_named_and_never_overwritten(medium: Medium) -> None:
    put(medium, "client/bobby/hmac-sym", Ring(b"", (ring_key(1),), 1), b"third" * 8)
    spoiled = medium.blobs["client/bobby/hmac-sym.keyring"]
    report = change(under(medium, NEW, OLD))
    assert {name: type(exc) for name, exc in report.failed.items()} == {
        "client/bobby/hmac-sym.keyring": RingInvalid
    }
    assert medium.blobs["client/bobby/hmac-sym.keyring"] is spoiled


def test_a_ring_of_no_known_purpose_is_named_because_the_old_key_is_still_needed(medium: Medium) -> None:
    put(medium, "zone/Z/storage", Ring(b"", (ring_key(1),), 1))
    report = change(under(medium, NEW, OLD))
    assert {name: type(exc) for name, exc in report.failed.items()} == {
        "zone/Z/storage.keyring": OperationRefused
    }


def test_what_nobody_knows_in_a_version_stays_to_the_byte() -> None:
    """Elements behind the known ones, and times as they were written."""
    inner = bytes.fromhex("020103") + b"\x83\x04seal" + b"\x0c\x01x"
    data = b"\x31" + bytes([len(inner) + 2]) + b"\x30" + bytes([len(inner)]) + inner
    times = b"\x17\x11261124042717+0200" * 2
    body = bytes.fromhex("020107020102") + times + data + b"\x0c\x02hi"
    raw = b"\x30" + bytes([len(body)]) + body
    key = RingKey(7, 2, 0, 0, (KeyData(3, symmetric=b"seal"),), raw)
    after = resealed(key, lambda old: replace(old, symmetric=b"anew"))
    assert after.raw == raw.replace(b"seal", b"anew")
    assert after.data == (KeyData(3, symmetric=b"anew"),)


def test_what_was_said_of_a_version_is_said_of_it_after_any_change(medium: Medium) -> None:
    """A version with a number is known by that, whatever becomes of its bytes."""
    keys = under(medium, OLD)
    StateWriter(keys).plan(STORAGE_SYM, CURRENT, 7, why="old", is_forced=True)
    StateWriter(keys).set(STORAGE_SYM, CURRENT, KeyState.COMPROMISED, "lost")
    [record] = keys.states.fetch()
    assert record.anchor.stamp == "3"
    change(under(medium, NEW, OLD))
    after = under(medium, NEW)
    RingWriter(after).rotate(STORAGE_SYM)
    ring = after.ring(STORAGE_SYM)
    state = after.states.of(ring, ring.version("3"))
    assert (state.state, state.why, state.destroy_at_ns is not None) == (KeyState.COMPROMISED, "lost", True)
