"""No room at any step of a rotation: an error, and nothing is changed."""

import errno
import subprocess
from pathlib import Path

import pytest
from dying import assert_mends, assert_survived, beside, values
from small_medium import (
    ENVIRONMENT,
    PAIR,
    POISON,
    SYMMETRIC,
    Small,
    copy,
    mounted_at,
    small_store,
    staged,
    tree,
    write,
)

from keyfs.broker.writer import RingWriter
from keyfs.core.names import KeyRef
from keyfs.errors import StoreFull
from keyfs.testing.mounted import run_keyfs

both = pytest.mark.parametrize("is_mount", [True, False], ids=["store is a mount", "parent is a mount"])
refs = pytest.mark.parametrize("ref", [PAIR, SYMMETRIC, POISON], ids=str)


def change(writer: RingWriter, ref: KeyRef) -> None:
    if ref is POISON:
        writer.generate(ref)
    else:
        writer.rotate(ref)


# --- no room ---


@both
@refs
@pytest.mark.parametrize(("history", "layout"), [(1, "v1"), (2, "v1"), (1, "v2")])
@pytest.mark.parametrize("what", ["inodes", "pages"])
def test_a_disk_that_fills_up_at_any_step_changes_nothing(
    tmp_path: Path, is_mount: bool, ref: KeyRef, history: int, layout: str, what: str
) -> None:
    kinds = set()
    with small_store(tmp_path, is_mount=is_mount, history=history, layout=layout) as small:
        for number in range(100):
            seen, error = fill_at(number, small, ref, what)
            assert "\n" not in error
            kinds |= {seen[-1].split()[0]} if error else set()
            if len(seen) <= number:
                break
        assert_mends(small.place, ref)
    archives = layout == "v1" and what == "inodes" and ref is not POISON
    assert kinds - {"make"} == ({"stage", "archive"} if archives else {"stage"})
    assert ("make" in kinds) == (archives and history == 1)


def fill_at(number: int, small: Small, ref: KeyRef, what: str) -> tuple[list[str], str]:
    """Fill the disk just before one step of a change; the steps up to where it ended, and its error."""
    seen: list[str] = []

    def on_step(step: str) -> None:
        if len(seen) == number:
            small.fill() if what == "inodes" else small.fill_bytes()
        seen.append(step)

    keys, writer = small.place.open(on_step)
    before, versions = tree(small.place.root), values(keys, ref)
    error = ""
    try:
        change(writer, ref)
    except StoreFull as exc:
        error = str(exc)
    small.free()
    assert not staged(small.place)
    now = values(small.place.open()[0], ref)
    if error:
        assert tree(small.place.root) == before
        assert now == versions
    else:
        assert len(now) == len(versions) + 1
        take_away_poison(small.place.root)
    return seen, error


def take_away_poison(root: Path) -> None:
    """So that it can be generated again."""
    for path in [path for path in root.glob(".poison_key/*") if path.is_file()]:
        path.unlink()
    (root / "poison-record.keyring").unlink(missing_ok=True)
    if (root / ".poison_key").exists():
        (root / ".poison_key").rmdir()


@both
@refs
def test_with_any_number_of_inodes_left_a_change_happens_or_not(
    tmp_path: Path, is_mount: bool, ref: KeyRef
) -> None:
    outcomes = []
    with small_store(tmp_path, is_mount=is_mount, history=1) as small:
        for spare in range(12):
            before = values(small.place.open()[0], ref)
            names = tree(small.place.root)
            small.fill(spare=spare)
            try:
                change(small.place.open()[1], ref)
            except StoreFull:
                assert tree(small.place.root) == names
                outcomes.append(False)
            else:
                outcomes.append(True)
                break
            finally:
                small.free()
            assert values(small.place.open()[0], ref) == before
        assert not staged(small.place)
        assert_survived(small.place, ref, before)
        assert_mends(small.place, ref)
    assert outcomes[-1], "it never worked"
    assert outcomes.count(False) >= 2


def test_a_place_beside_the_store_that_cannot_even_be_made_is_one_line(tmp_path: Path) -> None:
    with small_store(tmp_path, is_mount=False) as small:
        subprocess.run(["rm", "-r", beside(small.place)], check=True)
        small.fill()
        environment = ENVIRONMENT | {"KEYFS_STORE": str(small.place.root)}
        done = run_keyfs("rotate", str(PAIR), environment=environment)
        assert done.returncode == 15
        assert done.stderr.decode().count("\n") == 1
        assert "No space left on device" in done.stderr.decode()
        small.free()
        assert run_keyfs("rotate", str(PAIR), environment=environment).returncode == 0


# --- through a mount ---


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "new.key"
    path.write_bytes(b"K" * 32)
    return path


@both
@pytest.mark.usefixtures("fuse_required")
def test_programs_hear_that_the_disk_is_full(tmp_path: Path, is_mount: bool, key_file: Path) -> None:
    with small_store(tmp_path, is_mount=is_mount) as small, mounted_at(tmp_path, small) as keys:
        current = keys / str(SYMMETRIC) / "current"
        old, before = current.read_bytes(), tree(small.place.root)
        small.fill()
        code, said = copy(key_file, current)
        assert (code, said.count("\n")) == (1, 1)
        assert said.endswith("No space left on device\n")
        with pytest.raises(OSError, match="No space left") as caught:
            write(keys / str(PAIR) / "rotate", b"1")
        assert caught.value.errno == errno.ENOSPC
        assert current.read_bytes() == old
        small.free()
        assert tree(small.place.root) == before
        assert copy(key_file, current) == (0, "")
        assert current.read_bytes() == b"K" * 32
        write(keys / str(PAIR) / "rotate", b"1")
