"""A store that cannot be written any more, from any step of a rotation on: it goes on being read."""

import errno
from pathlib import Path

import pytest
from dying import Place, assert_clean, assert_mends, assert_survived, mounted_tmpfs, values
from small_medium import PAIR, SYMMETRIC, Small, copy, mounted_at, small_store, staged, tree, write

from keyfs.core.names import CURRENT, KeyRef
from keyfs.errors import ReadOnly
from keyfs.seal.keypair import generate_pair


@pytest.mark.parametrize("ref", [PAIR, SYMMETRIC], ids=str)
def test_a_store_that_turns_read_only_at_any_step_goes_on_being_read(tmp_path: Path, ref: KeyRef) -> None:
    failed = []
    with small_store(tmp_path, is_mount=True) as small:
        for number in range(100):
            before = values(small.place.open()[0], ref)
            seen, error = turn_read_only_at(number, small, ref)
            assert "\n" not in error
            assert_survived(small.place, ref, before)
            assert values(small.place.open()[0], SYMMETRIC if ref is PAIR else PAIR)
            small.remount("rw")
            small.place.open()[1].rotate(ref)
            assert_mends(small.place, ref)
            assert not staged(small.place)
            failed += [seen[-1]] if error else []
            if len(seen) <= number:
                break
            thin_out(small.place, ref)
    assert {step.split()[0] for step in failed} == {"stage", "archive", "switch"}
    assert len(set(failed)) == (6 if ref is PAIR else 3)


def turn_read_only_at(number: int, small: Small, ref: KeyRef) -> tuple[list[str], str]:
    seen: list[str] = []

    def on_step(step: str) -> None:
        if len(seen) == number:
            small.remount("ro")
        seen.append(step)

    try:
        small.place.open(on_step)[1].rotate(ref)
    except ReadOnly as exc:
        return seen, str(exc)
    return seen, ""


def thin_out(place: Place, ref: KeyRef) -> None:
    """Keep the small file system from being full of history."""
    keys, writer = place.open()
    for version in keys.ring(ref).versions[:-3]:
        writer.destroy(ref, version.id)


def test_a_public_directory_that_cannot_be_written_leaves_a_pair_that_fits(tmp_path: Path) -> None:
    """The halves lie on two file systems: nothing can switch both at once, but no key is lost or wrong."""
    root, public = tmp_path / "keys", tmp_path / "public"
    root.mkdir(0o700)
    public.mkdir(0o700)
    place = Place(root, public)
    private, _ = generate_pair()
    with mounted_tmpfs(public) as remount:
        place.open()[1].generate(PAIR)
        before = values(place.open()[0], PAIR)

        def on_step(step: str) -> None:
            if step == "switch alice_storage.pub":
                remount("ro")

        _, writer = place.open(on_step)
        with pytest.raises(ReadOnly):
            writer.import_material(PAIR, private.reveal())
        assert_survived(place, PAIR, before)
        assert values(place.open()[0], PAIR)[CURRENT][0] == private.reveal()
        remount("rw")
        # The same bytes once more, as a program does that was told of the error.
        place.open()[1].import_material(PAIR, private.reveal())
        assert_clean(place)
        assert len(values(place.open()[0], PAIR)) == 2


# --- through a mount ---


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "new.key"
    path.write_bytes(b"K" * 32)
    return path


@pytest.mark.parametrize("is_mount", [True, False], ids=["store is a mount", "parent is a mount"])
@pytest.mark.usefixtures("fuse_required")
def test_programs_hear_that_the_store_is_read_only(tmp_path: Path, is_mount: bool, key_file: Path) -> None:
    with small_store(tmp_path, is_mount=is_mount) as small, mounted_at(tmp_path, small) as keys:
        current = keys / str(SYMMETRIC) / "current"
        old, before = current.read_bytes(), tree(small.place.root)
        small.remount("ro")
        code, said = copy(key_file, current)
        assert (code, said.count("\n")) == (1, 1)
        assert said.endswith("Read-only file system\n")
        with pytest.raises(OSError, match="Read-only") as caught:
            write(keys / str(PAIR) / "rotate", b"1")
        assert caught.value.errno == errno.EROFS
        assert current.read_bytes() == old
        assert (keys / str(PAIR) / "current.pub").read_bytes()
        small.remount("rw")
        assert tree(small.place.root) == before
        assert copy(key_file, current) == (0, "")
        assert current.read_bytes() == b"K" * 32
