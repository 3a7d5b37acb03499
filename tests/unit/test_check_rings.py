"""`check` on key rings in memory: locks, others at work, and what a repair must not do."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from keyfs.broker.check import check
from keyfs.broker.findings import Finding
from keyfs.broker.keystore import KeyStore
from keyfs.broker.master_key_proof import verify_master_key
from keyfs.core.rings import DESTROYED, NO_CURRENT, Ring
from keyfs.errors import KeyfsError, MasterKeyWrong
from keyfs.layout.v2 import LayoutV2
from keyfs.seal.protection import Protections
from keyfs.store.base import Blob
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import put_ring, ring_at, ring_key, ring_store, rings_in_memory, rings_on

PATH, PAIR = "client/alice/storage-sym", "client/alice/storage"
EMPTY = f"{PATH}.keyring"


@pytest.fixture
def medium() -> Medium:
    medium = Medium()
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE)
    keys.writer.rotate(STORAGE)
    return medium


def repaired(keys: Keys, settle_s: float = 0) -> list[Finding]:
    return list(check(keys.keys, keys.writer, settle_s=settle_s).findings)


DAMAGES: dict[str, Callable[[Medium], None]] = {
    "empty-ring": lambda m: put_ring(m, PATH, Ring(b"")),
    "left-over": lambda m: m.put(f"{PATH}.keyring.new", b"new"),
    "pair": lambda m: put_ring(
        m,
        PAIR,
        replace(
            r := ring_at(m, PAIR),
            keys=(*r.keys[:1], r.keys[1].holding(r.keys[1].secret, b"x" * 45, is_pair=True)),
        ),
    ),
}


@pytest.mark.parametrize("code", ["empty-ring", "left-over"])
def test_what_is_set_aside_is_so_under_both_locks(medium: Medium, code: str) -> None:
    DAMAGES[code](medium)
    keys = rings_in_memory(medium)
    held: list[bool] = []
    keys.store.before("set_aside", lambda: held.extend((medium.foreign.locked(), medium.writers.locked())))
    [finding] = repaired(keys)
    assert (finding.code, finding.is_repaired) == (code, True)
    assert held == [True, True]
    assert not rings_in_memory(medium).keys.index.strays


def test_a_ring_that_gets_its_first_version_while_we_wait_is_no_finding(medium: Medium) -> None:
    """Acra makes an empty ring first, and adds the key to it."""
    DAMAGES["empty-ring"](medium)
    keys = rings_in_memory(medium)
    keys.store.before("get", lambda: rings_in_memory(medium).writer.generate(STORAGE_SYM))
    assert repaired(keys) == []
    assert len(rings_in_memory(medium).secret(STORAGE_SYM)) == 32


def test_a_ring_that_gets_its_first_version_before_it_is_set_aside_stays(medium: Medium) -> None:
    DAMAGES["empty-ring"](medium)
    keys = rings_in_memory(medium)
    keys.store.before("lock", lambda: rings_in_memory(medium).writer.generate(STORAGE_SYM))
    repaired(keys)
    assert not medium.aside
    assert len(rings_in_memory(medium).secret(STORAGE_SYM)) == 32


def test_what_acra_is_just_writing_is_left_alone(medium: Medium) -> None:
    DAMAGES["left-over"](medium)
    keys = rings_in_memory(medium)
    keys.store.after("stat", lambda: medium.set(f"{PATH}.keyring.new", None), 2)
    assert repaired(keys, settle_s=3600) == []
    assert not medium.aside


def test_an_empty_ring_is_waited_for_once_however_many_there_are(
    medium: Medium, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put_ring(medium, f"client/client{number}/storage", Ring(b""))
    slept: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("keyfs.broker.settling.time.sleep", sleep)
    monkeypatch.setattr("keyfs.broker.settling.time.monotonic", lambda: now[0])
    assert len(repaired(rings_in_memory(medium), settle_s=2)) == 5
    assert sum(slept) == 2


def test_the_public_half_that_is_written_over_is_kept(medium: Medium) -> None:
    """In a ring nothing is archived."""
    DAMAGES["pair"](medium)
    keys = rings_in_memory(medium)
    assert [finding.code for finding in check(keys.keys, settle_s=0).findings] == ["pair", "unreadable"]
    [finding] = repaired(keys)
    assert medium.beside[finding.set_aside.removesuffix(" beside the key store")] == b"x" * 45
    rings_in_memory(medium).assert_sound(STORAGE)


@pytest.mark.parametrize(
    "ring",
    [
        Ring(b"", (ring_key(1, DESTROYED),), 1),
        Ring(b"", (ring_key(1), ring_key(2)), NO_CURRENT),
        Ring(b"", (ring_key(1),), 7),
    ],
    ids=["destroyed", "none", "one that is not there"],
)
def test_a_ring_of_which_nothing_is_current_is_told_of_and_left(medium: Medium, ring: Ring) -> None:
    put_ring(medium, PATH, ring)
    before = dict(medium.blobs)
    [finding] = repaired(rings_in_memory(medium))
    assert (finding.code, finding.is_note, finding.is_repaired) == ("no-current", True, False)
    assert medium.blobs == before


def test_rings_under_another_key_are_never_set_aside(medium: Medium) -> None:
    """With the wrong master key, all would be."""
    other = ring_store(MemoryStore(medium), b"o" * 32)
    assert "signature is wrong" in "".join(other.list_all().strays.values())
    put_ring(medium, PATH, Ring(b"", (ring_key(1),), 1))
    signed = medium.blobs[EMPTY]
    medium.put(EMPTY, signed.data[:-1] + b"x")
    before = dict(medium.blobs)
    [finding] = repaired(rings_in_memory(medium))
    assert (finding.code, finding.is_repaired) == ("ring-signature", False)
    assert medium.blobs == before


def test_a_ring_without_bytes_says_nothing_of_the_master_key(medium: Medium) -> None:
    medium.blobs.clear()
    medium.put(EMPTY, b"")
    verify_master_key(rings_in_memory(medium).keys)
    medium.put(f"{PAIR}.keyring", b"")
    put_ring(medium, PAIR, Ring(b""))
    signed = medium.blobs[f"{PAIR}.keyring"].data
    medium.put(f"{PAIR}.keyring", signed[:-1] + bytes([signed[-1] ^ 1]))
    with pytest.raises(MasterKeyWrong):
        verify_master_key(rings_in_memory(medium).keys)


@pytest.mark.parametrize("versions", [2, 20])
def test_a_long_key_ring_is_not_read_once_for_each_version(versions: int) -> None:
    medium = Counting(Medium())
    keys = rings_on(medium)
    keys.writer.generate(STORAGE)
    for _ in range(versions - 1):
        keys.writer.rotate(STORAGE)
    fresh = KeyStore(ring_store(medium), LayoutV2(), Protections.under(keys.sealer))
    fresh.load()
    medium.reads = 0
    report = check(fresh)
    assert (report.blobs, report.findings) == (2 * versions, ())
    assert medium.reads <= 3


class Counting(MemoryStore):
    """Counts what is read of it."""

    reads = 0

    def get_many(self, names: Iterable[str]) -> dict[str, Blob | KeyfsError]:
        self.reads += 1
        return super().get_many(names)
