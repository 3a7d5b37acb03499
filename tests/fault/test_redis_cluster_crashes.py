"""In a cluster no transaction spans slots: a writer that dies between two steps still loses nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.core.names import CURRENT, Half, KeyRef, parse_key_ref
from keyfs.errors import KeyNotFound, StoreBusy, StoreUnavailable
from keyfs.master.generate import generate as new_master_key
from keyfs.store.redis_swap import swap
from keyfs.testing.redis_groups import Cluster, redis_cluster
from keyfs.testing.shared_store import SharedStore

PAIR = parse_key_ref("storage/alice")
KEY = parse_key_ref("storage-sym/alice")
STEPS = {KEY: 2, PAIR: 4}  # archive, and switch, each half
CRASHES = [
    pytest.param(ref, step, id=f"{ref}-{step}") for ref, steps in STEPS.items() for step in range(steps + 1)
]


class Crash(BaseException):
    """The process dies here: nothing of ours is carried out after it."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
def store(cluster: Cluster, tmp_path: Path) -> SharedStore:
    for node in cluster.nodes:
        node.ask("FLUSHALL")
    return new_store(cluster, tmp_path)


def new_store(cluster: Cluster, folder: Path) -> SharedStore:
    """Two versions of each key, in different slots."""
    master_key = folder / "master.key"
    master_key.touch(0o600)
    master_key.write_text(new_master_key("v1"))
    store = SharedStore(cluster.uri(), master_key)
    store.make(str(KEY), str(PAIR))
    store.make(str(KEY), str(PAIR))
    return store


@contextmanager
def before_step(steps: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Something happens when so many of a rotation's steps are carried out, before the next."""
    done = 0

    def counted(*args: Any, **kwargs: Any) -> bool:
        nonlocal done
        if done == steps:
            act()
        done += 1
        return swap(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("keyfs.store.redis_rotation.swap", counted)
        yield


def crash() -> None:
    raise Crash


def refuse() -> None:
    raise StoreUnavailable("nothing was changed")


def crash_in_rotation(store: SharedStore, ref: KeyRef, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.opened() as (_, writer), before_step(steps, monkeypatch, crash):
        try:
            writer.rotate(ref)
        except Crash:
            assert steps < STEPS[ref]
        else:
            assert steps == STEPS[ref]


def material(keys: KeyStore, ref: KeyRef) -> list[tuple[bytes, bytes]]:
    """Both halves of every version, as far as it has them, oldest first."""
    found = []
    for version in keys.ring(ref).versions:
        halves = []
        for half in (Half.SECRET, Half.PUBLIC):
            try:
                halves.append(keys.read(ref, version.id, half)[0].material.reveal())
            except KeyNotFound:
                halves.append(b"")
        found.append((halves[0], halves[1]))
    return found


def stored(store: SharedStore, ref: KeyRef) -> list[tuple[bytes, bytes]]:
    with store.opened() as (keys, _):
        return material(keys, ref)


@pytest.mark.parametrize(("ref", "steps"), CRASHES)
def test_every_version_is_readable_after_a_crash_and_a_repair_leaves_each_once(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch, ref: KeyRef, steps: int
) -> None:
    before = stored(store, ref)
    crash_in_rotation(store, ref, steps, monkeypatch)
    with store.opened() as (keys, writer):
        after = material(keys, ref)
        assert after[: len(before)] == before
        assert keys.ring(ref).current is not None
        is_half_done = 0 < steps < STEPS[ref]
        found = {finding.code for finding in check(keys).findings if not finding.is_note}
        assert bool(found) == is_half_done
        assert found <= {"half-done", "pair"}
        monkeypatch.setattr("keyfs.broker.check.SETTLE_S", 0.0)
        assert check(keys, writer).is_clean
    with store.opened() as (keys, _):
        assert not check(keys).findings
        assert material(keys, ref) == after


@pytest.mark.parametrize(("ref", "steps"), CRASHES)
def test_the_next_rotation_takes_up_what_was_left(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch, ref: KeyRef, steps: int
) -> None:
    """Without any repair: no version is there twice, none is lost, and the halves belong together."""
    crash_in_rotation(store, ref, steps, monkeypatch)
    before = stored(store, ref)
    store.make(str(ref))
    after = stored(store, ref)
    assert after[:-1] == before
    assert len({secret for secret, _ in after}) == len(after) == (3 if steps < STEPS[ref] / 2 + 1 else 4)
    with store.opened() as (keys, _):
        assert not check(keys).findings


@pytest.mark.parametrize("steps", range(3))
def test_an_error_before_the_first_switch_leaves_all_as_it_was(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    with store.opened() as (keys, writer):
        before = keys.store.list_all()
        with before_step(steps, monkeypatch, refuse), pytest.raises(StoreUnavailable):
            writer.rotate(PAIR)
        assert keys.store.list_all() == before


def test_a_key_that_someone_else_writes_meanwhile_is_not_written_over(
    store: SharedStore, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes no lock may write between our look and our switch: both its version and the old one stay."""
    before = stored(store, KEY)
    write = partial(cluster.ask, "SET", "ks/alice_storage_sym", "AAAA")
    with store.opened() as (_, writer), before_step(1, monkeypatch, write), pytest.raises(StoreBusy):
        writer.rotate(KEY)
    assert cluster.ask("GET", "ks/alice_storage_sym") == b"AAAA"
    with store.opened() as (keys, _):
        retired = keys.ring(KEY).versions[:-1]
        kept = [keys.read(KEY, version.id, Half.SECRET)[0].material.reveal() for version in retired]
    assert kept == [secret for secret, _ in before]


def test_a_node_that_dies_between_the_halves_loses_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rotation fails; once the node is back, the new version is there, and can be mended."""
    with redis_cluster("--appendonly", "yes", "--appendfsync", "always") as cluster:
        store = new_store(cluster, tmp_path)
        before = stored(store, PAIR)
        node = cluster.node_of("ks/alice_storage.pub")
        with (
            store.opened() as (_, writer),
            before_step(3, monkeypatch, node.kill),
            pytest.raises(StoreUnavailable),
        ):
            writer.rotate(PAIR)
        node.start()
        cluster.wait_until_whole()
        after = stored(store, PAIR)
        assert after[:-1] == before
        with store.opened() as (keys, writer):
            assert check(keys, writer).is_clean
            assert keys.reader.stored_matches(PAIR, keys.ring(PAIR).version(CURRENT))
