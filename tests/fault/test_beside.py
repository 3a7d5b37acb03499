"""A place beside the key store that cannot be written is one clear line, and root is in nobody's way."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dying import (
    MASTER_TEXT,
    Place,
    assert_clean,
    become_nobody,
    beside,
    give_to_nobody,
    mounted_tmpfs,
    need_root,
    start,
    values,
)

from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.errors import AccessDenied, KeyfsError, ReadOnly, StoreUnavailable
from keyfs.testing.folders import in_memory
from keyfs.testing.mounted import run_keyfs

REF = KeyRef(p.STORAGE_SYM, "alice")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Not below tmp_path, if that can be: another user is let in, and other test runs close that again."""
    with in_memory(tmp_path) as folder:
        (folder / "keys").mkdir(0o700)
        place = Place(folder / "keys")
        _, writer = place.open()
        writer.generate(REF)
        yield place


def as_another_user(act: Callable[[], None]) -> str:
    """Run *act* as nobody, in a process of its own; the error it raised."""
    need_root("to become another user")
    reader, writer = os.pipe()

    def report() -> None:
        become_nobody()
        try:
            act()
        except KeyfsError as exc:
            os.write(writer, f"{type(exc).__name__}: {exc}".encode())

    child = start(report)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def test_a_lock_that_root_made_serves_the_owner_of_the_store(place: Place) -> None:
    need_root("to become another user")
    give_to_nobody(place)
    shutil.rmtree(beside(place))
    Place(place.root).open()[1].rotate(REF)
    assert as_another_user(lambda: void(Place(place.root).open()[1].rotate(REF))) == ""
    assert len(values(place.open()[0], REF)) == 3
    assert_clean(place)


def test_a_place_beside_the_store_that_cannot_be_written_is_one_clear_line(place: Place) -> None:
    need_root("to become another user")
    give_to_nobody(place)
    shutil.rmtree(beside(place))
    said = as_another_user(lambda: void(Place(place.root).open()[1].rotate(REF)))
    assert said.startswith(AccessDenied.__name__)
    assert str(beside(place)) in said
    assert "\n" not in said
    assert len(values(place.open()[0], REF)) == 1


def test_a_file_where_the_place_beside_should_be_is_one_clear_line(place: Place) -> None:
    shutil.rmtree(beside(place))
    beside(place).write_text("in the way")
    with pytest.raises(StoreUnavailable, match=str(beside(place))):
        place.open()[1].rotate(REF)
    environment = {"KEYFS_STORE": str(place.root), "ACRA_MASTER_KEY": MASTER_TEXT}
    done = run_keyfs("rotate", str(REF), environment=environment)
    assert done.returncode == 16
    assert done.stderr.decode().count("\n") == 1


def test_a_read_only_place_beside_the_store_is_one_clear_line(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    with mounted_tmpfs(parent) as remount:
        (parent / "keys").mkdir(0o700)
        place = Place(parent / "keys")
        place.open()[1].generate(REF)
        remount("ro")
        with pytest.raises(ReadOnly, match=str(beside(place))):
            place.open()[1].rotate(REF)
        assert values(place.open()[0], REF)
        remount("rw")
        place.open()[1].rotate(REF)


def void(_result: object) -> None:
    """For an act whose result nobody wants."""
