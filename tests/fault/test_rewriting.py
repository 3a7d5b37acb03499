"""kill -9, others, a full disk at every step of a rewrite: old bytes or new ones, never neither."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from dying import Change, Place, become_nobody, beside, die_at, give_to_nobody, need_root, start
from small_medium import Small, small_store, staged, tree

from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import Half, parse_key_ref
from keyfs.errors import StoreFull
from keyfs.layout.v1_names import is_public
from keyfs.store.directory import DirectoryStore
from keyfs.testing.folders import in_memory
from keyfs.testing.store_steps import contents, put, rewrite

# What a function of keyfs calls, or that it is called.
STEPS = {
    ("write_new", "fsync"): "bytes are durable",
    ("exchange", "call"): "exchanged",
    ("sync_directory", "fsync"): "names are durable",
    ("unlink", "unlink"): "old bytes are removed",
}
OLD, NEW, THEIRS = b"old", b"new", b"theirs"
both = pytest.mark.parametrize("is_mount", [True, False], ids=["store is a mount", "parent is a mount"])


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def place_with(folder: Path, *names: str) -> Place:
    """Names of one file."""
    (folder / "keys").mkdir(0o700, parents=True)
    place = Place(folder / "keys")
    first, *others = names
    put(DirectoryStore(place.root), first, OLD)
    for name in others:
        (place.root / name).parent.mkdir(0o700, exist_ok=True)
        os.link(place.root / first, place.root / name)
    return place


def rewriting(*names: str) -> Change:
    def change(keys: KeyStore, _writer: RingWriter) -> None:
        assert rewrite(keys.store, names[0], OLD, NEW, *names[1:])

    return change


def store_of(place: Place) -> DirectoryStore:
    return DirectoryStore(place.root, place.public_root, is_public)


# --- kill -9 ---


@pytest.mark.parametrize(
    "names",
    [("key",), ("key", "key.old/1"), (".deep/key.old/1",)],
    ids=["one name", "two names", "a name in a history"],
)
def test_a_rewrite_that_dies_leaves_the_old_bytes_or_the_new_ones_and_can_be_repeated(
    root: Path, names: tuple[str, ...]
) -> None:
    seen = set()
    for step in itertools.count():
        place = place_with(root / str(step), *names)
        before = store_of(place).get(names[0]).stat
        death = die_at(step, place, rewriting(*names))
        left = contents(store_of(place))
        assert set(left) == set(names)
        assert set(left.values()) <= {OLD, NEW}
        seen.add(tuple(left[name] for name in names))
        store = store_of(place)
        assert rewrite(store, names[0], OLD, NEW, *names[1:])
        blobs = [store.get(name) for name in names]
        assert {blob.data for blob in blobs} == {NEW}
        assert len({blob.stat.identity for blob in blobs}) == 1, "they are not names of one file any more"
        assert (blobs[0].stat.mtime_ns, blobs[0].stat.mode) == (before.mtime_ns, before.mode)
        assert not staged(place)
        if not death.was_killed:
            assert len(death.steps) >= 3 + len(names)
            break
    assert {(OLD,) * len(names), (NEW,) * len(names)} <= seen


# --- loss of power ---


def test_new_bytes_are_on_the_disk_before_they_are_named_and_the_old_ones_until_then(root: Path) -> None:
    """A profile function sees what is called, in order; nothing of keyfs is replaced."""
    place = place_with(root, "key", "key.old/1")
    store, seen = store_of(place), []

    def note(frame: FrameType, event: str, function: object) -> None:
        call = (frame.f_code.co_name, getattr(function, "__name__", "") if event == "c_call" else event)
        if call in STEPS:
            seen.append(STEPS[call])

    with store.lock():
        outer = sys.getprofile()
        sys.setprofile(note)
        try:
            assert store.rewrite(["key", "key.old/1"], OLD, NEW)
        finally:
            sys.setprofile(outer)
    steps = [name for name, _ in itertools.groupby(seen)]
    assert steps == ["bytes are durable", "exchanged", "names are durable", "old bytes are removed"]
    assert seen.count("names are durable") == 2


# --- others, who take no lock ---


@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "no exchange"])
@pytest.mark.parametrize("what", ["rotation", "deletion", "symbolic link"])
def test_what_others_do_at_any_step_is_never_overwritten(
    root: Path, what: str, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr("keyfs.store.files._RENAME_EXCHANGE", 1 << 7)
    for number in itertools.count():
        place = place_with(root / str(number), "key")
        seen: list[str] = []
        is_over = rewrite_while(place, number, seen, OTHERS[what])
        if is_over:
            return
        assert_theirs(place.root, what)
        assert not staged(place)
        assert len(seen) < 10


def rewrite_while(place: Place, number: int, seen: list[str], act: Callable[[Path], None]) -> bool:
    """Rewrite, and let someone act just before one step; whether the rewrite was over by then."""

    def on_step(name: str) -> None:
        if len(seen) == number and name.split(maxsplit=1)[0] in ("stage", "swap"):
            act(place.root)
            seen.append("others")
        seen.append(name)

    done = rewrite(DirectoryStore(place.root, on_step=on_step), "key", OLD, NEW)
    assert done != ("others" in seen)
    return done


def acra_rotates(root: Path) -> None:
    """As Acra does: a second name for what is current, then a rename."""
    (root / "key.old").mkdir(0o700)
    os.link(root / "key", root / "key.old" / "1")
    temporary = root / "key123"
    temporary.write_bytes(THEIRS)
    temporary.rename(root / "key")


def someone_links(root: Path) -> None:
    (root / "key").unlink()
    (root / "key").symlink_to("elsewhere")


OTHERS: dict[str, Callable[[Path], None]] = {
    "rotation": acra_rotates,
    "deletion": lambda root: (root / "key").unlink(),
    "symbolic link": someone_links,
}


def assert_theirs(root: Path, what: str) -> None:
    if what == "rotation":
        assert (root / "key").read_bytes() == THEIRS
        assert (root / "key.old" / "1").read_bytes() == OLD
    elif what == "deletion":
        assert not (root / "key").exists()
    else:
        assert (root / "key").is_symlink()


def test_a_file_keeps_its_owner(root: Path) -> None:
    need_root("to make a file that is another user's")
    place = place_with(root, "key")
    os.chown(place.root / "key", 12, 34)
    assert rewrite(store_of(place), "key", OLD, NEW)
    facts = (place.root / "key").stat()
    assert (facts.st_uid, facts.st_gid) == (12, 34)


def test_a_file_of_another_user_that_we_cannot_give_back_is_left_alone(root: Path) -> None:
    """Who could read it before must not lose it."""
    need_root("to become another user")
    place = place_with(root, "key")
    give_to_nobody(place)
    key = place.root / "key"
    os.chown(key, 0, 0)
    key.chmod(0o644)

    def try_it() -> None:
        become_nobody()
        rewrite(store_of(place), "key", OLD, NEW)

    assert os.waitpid(start(try_it), 0)[1] != 0
    assert key.read_bytes() == OLD
    assert key.stat().st_uid == 0
    assert not staged(place)


# --- a full disk ---


@both
@pytest.mark.parametrize("what", ["inodes", "pages"])
def test_a_disk_that_fills_up_at_any_step_leaves_the_old_bytes_or_the_new_ones(
    tmp_path: Path, is_mount: bool, what: str
) -> None:
    ref = parse_key_ref("storage/alice")
    errors = 0
    with small_store(tmp_path, is_mount=is_mount) as small:
        for number in itertools.count():
            part = small.place.open()[0].ring(ref).versions[0].part(Half.SECRET)
            old = (small.place.root / part.name).read_bytes()
            before = tree(small.place.root)
            seen, error = rewrite_on_full(small, number, part.name, what)
            errors += bool(error)
            assert not staged(small.place)
            if error:
                assert tree(small.place.root) == before
            else:
                assert (small.place.root / part.name).read_bytes() == old[::-1]
            if len(seen) <= number:
                break
    assert errors


def rewrite_on_full(small: Small, number: int, name: str, what: str) -> tuple[list[str], str]:
    seen: list[str] = []
    old = (small.place.root / name).read_bytes()

    def on_step(step: str) -> None:
        if len(seen) == number:
            small.fill() if what == "inodes" else small.fill_bytes()
        seen.append(step)

    try:
        assert rewrite(DirectoryStore(small.place.root, on_step=on_step), name, old, old[::-1])
    except StoreFull as exc:
        return seen, str(exc)
    finally:
        small.free()
    return seen, ""


# --- beside the store ---


def test_a_file_beside_the_store_is_for_its_owner_alone(root: Path) -> None:
    place = place_with(root, "key")
    store = store_of(place)
    store.write_beside("note", b"1")
    store.append_beside("audit.log", b"1")
    for name in ("note", "audit.log"):
        assert (beside(place) / name).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in beside(place).iterdir()} >= {"note", "audit.log"}
    assert not [path for path in beside(place).iterdir() if path.name.startswith(".")]
