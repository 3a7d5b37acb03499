"""The archive of layout v2: a version leaves its ring without a trace, and comes back to the byte."""

from base64 import b64encode
from dataclasses import replace

import pytest

from keyfs.broker.agenda import over_limit_versions
from keyfs.broker.archive import archive, archived, restore
from keyfs.core.archived import NAME
from keyfs.core.rings import COMPROMISED, Ring
from keyfs.core.rotation import Keep, RotationPolicy, RotationRule
from keyfs.core.states import KeyState
from keyfs.errors import KeyExists, KeyNotFound, MaterialCorrupt, OperationRefused
from keyfs.layout.base import KeyRing, KeyVersion
from keyfs.testing.builders import STORAGE, STORAGE_SYM, Keys
from keyfs.testing.medium import Medium
from keyfs.testing.memory_store import MemoryStore
from keyfs.testing.ring_stores import SINCE_NS, YEAR_NS, codec, put_ring, ring_at, ring_store, rings_in_memory

PATH = "client/alice/storage"
RING = f"{PATH}.keyring"
FIRST = f"{STORAGE}/1"
KEEP_ONE = RotationPolicy(RotationRule(keep=Keep(versions=1)))


@pytest.fixture
def medium() -> Medium:
    return Medium()


def rotated(medium: Medium, versions: int = 4) -> Keys:
    keys = rings_in_memory(medium)
    keys.writer.generate(STORAGE)
    for _ in range(versions - 1):
        keys.writer.rotate(STORAGE)
    return keys


def made_ring(medium: Medium) -> Ring:
    rotated(medium)
    return ring_at(medium, PATH)


def numbers(medium: Medium) -> list[int]:
    return [key.seqnum for key in ring_at(medium, PATH).keys]


def first(ring: KeyRing) -> tuple[KeyVersion, ...]:
    return ring.versions[:1]


def over(ring: KeyRing) -> tuple[KeyVersion, ...]:
    return over_limit_versions(ring, KEEP_ONE, SINCE_NS + YEAR_NS)


def edited(medium: Medium, ring: Ring) -> Keys:
    """The key store once somebody else has written this ring."""
    put_ring(medium, PATH, ring)
    return rings_in_memory(medium)


def test_acra_reads_the_rest_because_nothing_is_left(medium: Medium) -> None:
    """A destroyed version in a ring would keep Acra from reading any but the current one."""
    keys = rotated(medium)
    assert [version.id for version in archive(keys.keys, STORAGE, over)] == ["1", "2"]
    assert [(key.seqnum, bool(key.data)) for key in ring_at(medium, PATH).keys] == [(3, True), (4, True)]
    keys.writer.rotate(STORAGE)
    assert numbers(medium) == [3, 4, 5]


def test_a_version_comes_back_with_state_dates_and_whatever_else_it_has(medium: Medium) -> None:
    ring = made_ring(medium)
    strange = replace(ring.keys[0], state=COMPROMISED, until_ns=SINCE_NS + 7 * YEAR_NS, raw=b"")
    keys = edited(medium, replace(ring, keys=(strange, *ring.keys[1:])))
    before = ring_at(medium, PATH)
    archive(keys.keys, STORAGE, first)
    assert numbers(medium) == [2, 3, 4]
    restore(keys.keys, FIRST)
    assert ring_at(medium, PATH) == before
    assert keys.keys.ring(STORAGE).version("1").state is KeyState.COMPROMISED


def test_what_was_destroyed_is_not_archived_and_counts_for_nothing(medium: Medium) -> None:
    """There is nothing of it to keep; a line without blobs would be a damaged archive."""
    keys = rotated(medium)
    keys.keys.store.delete([f"{RING}#2", f"{RING}.pub#2"])
    keys.keys.load()
    assert [version.id for version in archive(keys.keys, STORAGE, lambda ring: ring.versions)] == ["1", "3"]
    assert list(archived(keys.keys)) == [FIRST, f"{STORAGE}/3"]
    assert numbers(medium) == [2, 4]
    assert over(keys.keys.ring(STORAGE)) == ()


def test_what_came_after_the_current_version_stays(medium: Medium) -> None:
    """Acra stopped between its two writes; were it taken out, its number would be given again."""
    keys = edited(medium, replace(made_ring(medium), current=2))
    assert [version.id for version in archive(keys.keys, STORAGE, lambda ring: ring.versions)] == ["1"]
    assert numbers(medium) == [2, 3, 4]


@pytest.mark.parametrize("seqnum", [2, 4])
def test_the_store_itself_lets_no_such_version_go(medium: Medium, seqnum: int) -> None:
    keys = edited(medium, replace(made_ring(medium), current=2))
    with pytest.raises(OperationRefused, match=f"version {seqnum} stays"):
        keys.keys.store.delete([f"{RING}!{seqnum}"])
    assert numbers(medium) == [1, 2, 3, 4]


def test_a_number_that_two_versions_have_is_not_taken_out(medium: Medium) -> None:
    ring = made_ring(medium)
    keys = edited(medium, replace(ring, keys=(ring.keys[0], *ring.keys)))
    with pytest.raises(KeyNotFound):
        archive(keys.keys, STORAGE, first)
    assert (numbers(medium), archived(keys.keys)) == ([1, 1, 2, 3, 4], {})


def test_nothing_is_put_back_where_something_is_or_was(medium: Medium) -> None:
    keys = rotated(medium)
    full = ring_at(medium, PATH)
    archive(keys.keys, STORAGE, first)
    for there in (full, replace(full, keys=(full.keys[0].destroyed(), *full.keys[1:]))):
        keys = edited(medium, there)
        with pytest.raises(KeyExists):
            restore(keys.keys, FIRST)
        assert ring_at(medium, PATH) == codec().open(PATH, codec().seal(PATH, there, SINCE_NS))
    assert list(archived(keys.keys)) == [FIRST]


def test_without_its_ring_a_version_is_not_put_back(medium: Medium) -> None:
    """A ring without a current version keeps Acra from listing any key."""
    keys = rotated(medium)
    archive(keys.keys, STORAGE, first)
    del medium.blobs[RING]
    with pytest.raises(KeyNotFound):
        restore(rings_in_memory(medium).keys, FIRST)
    assert RING not in medium.blobs


def test_a_ring_that_was_rolled_back_keeps_its_current_version(medium: Medium) -> None:
    keys = rotated(medium)
    archive(keys.keys, STORAGE, over)
    older = replace(ring_at(medium, PATH), keys=(replace(ring_at(medium, PATH).keys[0], seqnum=1, raw=b""),))
    keys = edited(medium, replace(older, current=1))
    restore(keys.keys, f"{STORAGE}/2")
    assert (numbers(medium), ring_at(medium, PATH).current) == ([1, 2], 1)


@pytest.mark.parametrize("change", ["another key's", "a byte", "another number", "two"])
def test_what_is_not_the_version_is_not_put_back(medium: Medium, change: str) -> None:
    keys = rotated(medium)
    keys.writer.generate(STORAGE_SYM)
    archive(keys.keys, STORAGE, over)
    ring, now = ring_at(medium, PATH), ring_at(medium, PATH).keys[0].since_ns
    keys_of = {
        "another key's": codec().seal(f"{PATH}-sym", ring_at(medium, f"{PATH}-sym"), now),
        "another number": codec().seal(PATH, replace(ring, keys=ring.keys[1:]), now),
        "two": codec().seal(PATH, replace(ring, keys=(replace(ring.keys[0], seqnum=1, raw=b""),) * 2), now),
    }
    stored = archived(keys.keys)[FIRST].blobs[0].data
    data = keys_of.get(change, stored[:-1] + bytes([stored[-1] ^ 1]))
    kept = keys.keys.store.read_beside(NAME)
    assert kept is not None
    keys.keys.store.write_beside(NAME, kept.replace(b64encode(stored), b64encode(data)))
    before = medium.blobs[RING].data
    with pytest.raises(MaterialCorrupt):
        restore(keys.keys, FIRST)
    assert medium.blobs[RING].data == before


def test_the_same_version_is_the_same_bytes_whenever_it_is_taken_out(medium: Medium) -> None:
    """Somebody died after it was archived: whoever comes next compares."""
    rotated(medium)
    store = ring_store(MemoryStore(medium))
    before = store.get(f"{RING}!1").data
    rings_in_memory(medium).writer.rotate(STORAGE)
    assert store.get(f"{RING}!1").data == before


def test_a_file_that_is_called_as_a_whole_version_is_a_stray(medium: Medium) -> None:
    keys = rotated(medium)
    medium.put(f"{RING}!9", b"x")
    keys.keys.load()
    assert f"./{RING}!9" in keys.keys.index.strays
