"""One writer at a time, in one process and across processes; and a dead writer stops nobody."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dying import (
    MASTER,
    Place,
    assert_clean,
    beside,
    die_at,
    mounted_tmpfs,
    need_mount,
    start,
    values,
)

from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.errors import (
    KeyExists,
    KeyfsError,
    StoreBusy,
)
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.directory import DirectoryStore

REF = KeyRef(p.STORAGE_SYM, "alice")
PAIR = KeyRef(p.STORAGE, "alice")
SOON_S = 0.2
LATE_S = 10.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "keys").mkdir(0o700)
    place = Place(tmp_path / "keys")
    _, writer = place.open()
    writer.generate(REF)
    return place


def store_of(place: Place, lock_wait_s: float) -> DirectoryStore:
    return DirectoryStore(place.root, lock_wait_s=lock_wait_s)


@contextmanager
def held_by_another_process(place: Place) -> Iterator[int]:
    """The number of a process that holds the lock, until the end or until it is killed."""
    reader, writer = os.pipe()

    def hold() -> None:
        with store_of(place, LATE_S).lock():
            os.write(writer, b"1")
            signal.pause()

    child = start(hold)
    os.close(writer)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# --- exclusion ---


def test_writers_of_one_process_take_turns(place: Place) -> None:
    inside: list[int] = []
    most: list[int] = []

    def write(number: int) -> None:
        for _ in range(20):
            with store_of(place, LATE_S).lock():
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_a_writer_waits_for_one_in_another_process(place: Place) -> None:
    with held_by_another_process(place) as child:
        release = threading.Timer(SOON_S, os.kill, (child, signal.SIGKILL))
        release.start()
        begin = time.monotonic()
        with store_of(place, LATE_S).lock():
            waited = time.monotonic() - begin
        release.join()
    assert SOON_S / 2 < waited < LATE_S / 2


@pytest.mark.parametrize("lock_wait_s", [0.0, SOON_S])
def test_a_writer_gives_up_in_time_and_says_who_is_in_the_way(place: Place, lock_wait_s: float) -> None:
    before = values(place.open()[0], REF)
    keys = KeyStore(store_of(place, lock_wait_s), LayoutV1(), Protections.under(open_sealer(Secret(MASTER))))
    with held_by_another_process(place):
        begin = time.monotonic()
        with pytest.raises(StoreBusy) as caught:
            RingWriter(keys).rotate(REF)
        assert lock_wait_s <= time.monotonic() - begin < lock_wait_s + SOON_S
    assert str(beside(place) / "lock") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert values(place.open()[0], REF) == before


def test_a_lock_held_in_the_same_process_is_respected_too(place: Place) -> None:
    with store_of(place, 0).lock(), pytest.raises(StoreBusy), store_of(place, 0).lock():
        pytest.fail("two writers at once")


def test_readers_do_not_wait(place: Place) -> None:
    with held_by_another_process(place):
        keys, _ = place.open()
        assert values(keys, REF)


def test_a_writer_keeps_the_lock_whose_file_is_removed(place: Place) -> None:
    with held_by_another_process(place):
        shutil.rmtree(beside(place))
        with pytest.raises(StoreBusy), store_of(place, 0).lock():
            pytest.fail("two writers at once")
    with store_of(place, 0).lock():
        pass


def test_a_store_that_is_mounted_twice_has_one_lock(tmp_path: Path, place: Place) -> None:
    """As in two containers: each sees a place beside the store that the other one does not see."""
    second = Place(tmp_path / "container" / "keys")
    second.root.mkdir(parents=True)
    need_mount("--bind", str(place.root), str(second.root))
    try:
        assert beside(second) != beside(place)
        with store_of(place, 0).lock(), pytest.raises(StoreBusy), store_of(second, 0).lock():
            pytest.fail("two writers at once")
        second.open()[1].rotate(REF)
        place.open()[1].rotate(REF)
        assert len(values(second.open()[0], REF)) == 3
    finally:
        subprocess.run(["umount", second.root], check=True)


def test_of_many_who_make_the_same_key_at_once_one_succeeds(place: Place) -> None:
    new = KeyRef(p.STORAGE, "newcomer")
    reader, writer = os.pipe()
    children = [start(lambda: generate_and_report(place, new, writer)) for _ in range(8)]
    os.close(writer)
    for child in children:
        os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        assert sorted(pipe.read().split()) == ["KeyExists"] * 7 + ["made"]
    assert len(values(place.open()[0], new)) == 1
    assert_clean(place)


def generate_and_report(place: Place, ref: KeyRef, pipe: int) -> None:
    try:
        place.open()[1].generate(ref)
        os.write(pipe, b"made ")
    except KeyfsError as exc:
        os.write(pipe, f"{type(exc).__name__} ".encode())


# --- release ---


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        (lambda writer: writer.generate(REF), KeyExists),
        (lambda writer: writer.rotate(KeyRef(p.STORAGE_SYM, "nobody")), KeyfsError),
        (lambda writer: writer.import_material(REF, b"1" * 32, expected="another"), KeyfsError),
        (lambda writer: writer.destroy(REF, "2026-11-24T02:46:25"), KeyfsError),
    ],
    ids=["generate", "rotate", "import", "destroy"],
)
def test_a_refused_change_lets_go_of_the_lock(
    place: Place, fail: Callable[[RingWriter], object], error: type[KeyfsError]
) -> None:
    _, writer = place.open()
    with pytest.raises(error):
        fail(writer)
    with store_of(place, 0).lock():
        pass


def test_a_step_that_fails_lets_go_of_the_lock_and_leaves_nothing(place: Place) -> None:
    def fail(step: str) -> None:
        if step.startswith("archive"):
            raise ZeroDivisionError

    before = sorted(place.root.rglob("*"))
    _, writer = place.open(fail)
    with pytest.raises(ZeroDivisionError):
        writer.rotate(REF)
    assert sorted(place.root.rglob("*")) == before
    assert not list((beside(place) / "staging").iterdir())
    with store_of(place, 0).lock():
        pass


# --- what the dead leave ---


@pytest.mark.parametrize("is_mount", [False, True], ids=["beside", "in a store that is a mount"])
def test_what_a_dead_writer_staged_is_removed_by_the_next_one(tmp_path: Path, is_mount: bool) -> None:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    with mounted_tmpfs(root, is_mount=is_mount):
        place = Place(root)
        place.open()[1].generate(PAIR)
        staging = beside(place) / "staging"
        death = die_at(3, place, lambda _keys, writer: writer.rotate(PAIR))
        assert death.was_killed
        assert len(list(staging.iterdir())) == 2
        assert (len([path for path in root.iterdir() if path.name[-1].isdigit()]) == 2) == is_mount
        with store_of(place, 0).lock():
            pass
        assert not list(staging.iterdir())
        assert sorted(path.name for path in root.iterdir() if path.is_file()) == [
            "alice_storage",
            "alice_storage.pub",
        ]


def test_a_link_in_the_staging_area_cannot_make_keyfs_remove_anything_else(place: Place) -> None:
    stranger = place.root.parent / "precious7"
    stranger.write_text("not ours")
    key = place.root / "alice_storage_sym"
    with store_of(place, 0).lock():
        for name, target in (("7", stranger), ("8", place.root / ".." / "precious7"), ("9", key)):
            (beside(place) / "staging" / name).symlink_to(target)
    with store_of(place, 0).lock():
        pass
    assert stranger.exists()
    assert key.exists()
