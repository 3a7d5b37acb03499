"""A rotation costs the same whatever history a key has; and misses nothing of it all the same."""

import cProfile
import pstats
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyfs.core.names import KeyRef
from keyfs.core.stamps import format_stamp
from keyfs.store.directory import DirectoryStore
from keyfs.testing.builders import (
    HMAC_SYM,
    NOON_NS,
    STORAGE,
    STORAGE_SYM,
    Keys,
    full_medium,
    in_memory,
    on_store,
)

HISTORY = Path("alice_storage_sym.old")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    return root


@pytest.fixture
def keys(root: Path) -> Iterator[Keys]:
    keys = on_store(DirectoryStore(root))
    keys.keys.watch()
    for ref in (STORAGE, STORAGE_SYM, HMAC_SYM):
        keys.writer.generate(ref)
    yield keys
    keys.keys.close()


def rotate(keys: Keys, ref: KeyRef, times: int = 1) -> None:
    """As in a mount, where what arrives is taken in between two requests."""
    for _ in range(times):
        keys.writer.rotate(ref)
        keys.keys.refresh()


def listings(keys: Keys, ref: KeyRef) -> int:
    """How many directories one rotation lists."""
    before = keys.store.counts["list_under"]
    keys.writer.rotate(ref)
    return keys.store.counts["list_under"] - before


def calls(keys: Keys, ref: KeyRef) -> int:
    """How many calls one rotation makes, with all that is taken in after it."""
    profile = cProfile.Profile()
    profile.enable()
    rotate(keys, ref)
    keys.keys.ring(ref)
    profile.disable()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]  # typeshed does not have it


def test_a_rotation_makes_as_many_calls_after_a_hundred_others(keys: Keys) -> None:
    rotate(keys, STORAGE_SYM, 10)
    first = calls(keys, STORAGE_SYM)
    rotate(keys, STORAGE_SYM, 100)
    assert calls(keys, STORAGE_SYM) < 1.1 * first


@pytest.mark.parametrize("ref", [STORAGE, STORAGE_SYM], ids=str)
def test_a_history_that_nobody_changed_is_not_listed(keys: Keys, ref: KeyRef) -> None:
    rotate(keys, ref, 2)
    assert listings(keys, ref) == 0
    fresh = on_store(DirectoryStore(Path(keys.store.describe().removeprefix("dir:"))))
    assert keys.keys.ring(ref) == fresh.keys.relist(ref)


def test_a_history_of_which_something_is_still_to_be_heard_is_listed(keys: Keys, root: Path) -> None:
    rotate(keys, STORAGE_SYM, 2)
    (root / "alice_hmac").chmod(0o600)
    assert keys.keys.has_changes()
    assert listings(keys, STORAGE_SYM) == 1


def test_a_version_that_nobody_tells_of_is_found(
    keys: Keys, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host's, on a network file system: no event comes, but the directory has changed."""
    rotate(keys, STORAGE_SYM, 2)
    theirs = format_stamp(NOON_NS)
    (root / HISTORY / theirs).write_bytes((root / "alice_storage_sym").read_bytes())
    monkeypatch.setattr(keys.keys, "_has_unheard", lambda: False)
    keys.writer.rotate(STORAGE_SYM)
    assert theirs in keys.versions(STORAGE_SYM)


def test_a_store_that_failed_half_way_is_listed(keys: Keys) -> None:
    rotate(keys, STORAGE_SYM, 2)
    keys.keys.is_suspect = True
    assert listings(keys, STORAGE_SYM) == 1


def test_who_hears_of_no_changes_lists_each_time(keys: Keys, root: Path) -> None:
    alone = on_store(DirectoryStore(root))
    alone.keys.load()
    alone.writer.rotate(STORAGE_SYM)
    assert listings(alone, STORAGE_SYM) == 1


def test_a_look_at_what_is_pending_does_not_disturb_one_of_another_thread(keys: Keys) -> None:
    """A poll object is one thread's: the tasks look at every request."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            keys.keys.has_changes()

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        try:
            rotate(keys, STORAGE_SYM, 200)
        finally:
            stop.set()
        looking.result()


def test_a_key_is_not_taken_for_being_written_for_ever_after_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others do with it would never be told again."""
    keys = in_memory(full_medium()).keys
    keys.waits_for_changes = True
    monkeypatch.setattr(keys, "_has_unheard", lambda: True)
    monkeypatch.setattr(keys, "refresh", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"), keys.being_written(STORAGE):
        pass
    assert not keys.is_being_written


def broken() -> None:
    raise RuntimeError("a bug of ours")
