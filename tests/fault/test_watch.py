"""What others do to the key store is taken by the next look, whatever it is and however much of it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from acra_replica import write_key_file
from dying import MASTER, Place, skip, values

from keyfs.broker.keystore import KeyStore
from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.directory import DirectoryStore
from keyfs.store.inotify import BLIND_S, DirectoryWatch
from keyfs.store.watching import Changes

REF = KeyRef(p.STORAGE_SYM, "alice")
MAX_EVENTS = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    (root / "one.old").mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    for name in ("one", "two", "one.old/1", "one.old/2"):
        (root / name).write_bytes(name.encode())
    (root / "folder").mkdir()
    (root / "folder" / "inner").write_bytes(b"inner")
    return root


@pytest.fixture
def watch(root: Path) -> Iterator[DirectoryWatch]:
    with closing(DirectoryWatch([root], 3)) as watch:
        yield watch


# --- every kind of change ---


def replace_directory(root: Path) -> None:
    """Another directory takes the place of a watched one, as `mv` and restored backups do."""
    other = root.parent / "other"
    other.mkdir()
    (other / "3").write_bytes(b"3")
    (root / "one.old").rename(root.parent / "away")
    other.rename(root / "one.old")


def make_history(root: Path) -> None:
    (root / "two.old").mkdir()
    os.link(root / "two", root / "two.old" / "1")


def make_deep_history(root: Path) -> None:
    (root / ".poison_key" / "poison_key.old").mkdir(parents=True)
    (root / ".poison_key" / "poison_key.old" / "1").write_bytes(b"1")


def make_and_remove(root: Path) -> None:
    for _ in range(3):
        make_history(root)
        shutil.rmtree(root / "two.old")
    make_history(root)


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a new file": (lambda root: (root / "new").write_bytes(b"1"), {"new"}),
    "other bytes in place": (lambda root: (root / "one").write_bytes(b"2"), {"one"}),
    "another file by that name": (
        lambda root: (root / "two").rename(root / "one"),
        {"one", "two"},
    ),
    "a second name": (lambda root: os.link(root / "one", root / "one.old" / "3"), {"one.old/3"}),
    "a removed file": (lambda root: (root / "one").unlink(), {"one"}),
    "a removed version": (lambda root: (root / "one.old" / "1").unlink(), {"one.old/1"}),
    "other rights": (lambda root: (root / "one").chmod(0o644), {"one"}),
    "another time": (lambda root: os.utime(root / "one", (1, 1)), {"one"}),
    "the first version in a history": (make_history, {"two.old/1"}),
    "a history that comes and goes": (make_and_remove, {"two.old/1"}),
    "a directory in a directory": (make_deep_history, {".poison_key/poison_key.old/1"}),
    "a file in a directory that is there": (lambda root: (root / "folder" / "x").touch(), {"folder/x"}),
    "what Acra does": (
        lambda root: write_key_file(root / "two", b"2", 0o600),
        {"two"},
    ),
}


@pytest.mark.parametrize(("change", "names"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_in_the_next_take(
    root: Path, watch: DirectoryWatch, change: Callable[[Path], object], names: set[str]
) -> None:
    assert not watch.pending()
    change(root)
    assert watch.pending()
    taken = watch.take()
    assert names <= taken.names
    assert not taken.lost
    assert not watch.pending()


DRASTIC: dict[str, Callable[[Path], object]] = {
    "a directory is moved away": lambda root: (root / "one.old").rename(root.parent / "away"),
    "a directory is replaced": replace_directory,
    "the key store is moved away": lambda root: root.rename(root.parent / "moved"),
    "the key store is removed": shutil.rmtree,
}


@pytest.mark.parametrize("change", DRASTIC.values(), ids=DRASTIC.keys())
def test_a_change_that_cannot_be_named_is_called_lost(
    root: Path, watch: DirectoryWatch, change: Callable[[Path], object]
) -> None:
    change(root)
    assert watch.pending()
    assert watch.take().lost


@pytest.mark.parametrize("directory", ["one.old", "folder", "two.old"])
def test_a_directory_that_came_anew_is_watched_too(root: Path, watch: DirectoryWatch, directory: str) -> None:
    shutil.rmtree(root / directory, ignore_errors=True)
    (root / directory).mkdir()
    watch.take()
    (root / directory / "later").touch()
    assert f"{directory}/later" in watch.take().names


def test_a_directory_that_moved_within_the_store_is_known_by_its_new_name(
    root: Path, watch: DirectoryWatch
) -> None:
    (root / "one.old").rename(root / "uno.old")
    assert watch.take().lost
    watch.renew()
    (root / "uno.old" / "later").touch()
    assert "uno.old/later" in watch.take().names


def test_a_key_store_that_was_away_for_a_while_is_watched_again(root: Path, watch: DirectoryWatch) -> None:
    """It came back between the look that missed it and the listing: nothing else tells of it."""
    root.rename(root.parent / "away")
    assert watch.take().lost
    watch.renew()
    (root.parent / "away").rename(root)
    deadline = time.monotonic() + 2 * BLIND_S
    while not watch.pending() and time.monotonic() < deadline:
        pass
    assert watch.take().lost
    watch.renew()
    (root / "one").touch()
    assert "one" in watch.take().names
    assert not watch.pending()


def test_a_key_store_that_was_replaced_is_watched_after_a_renewal(root: Path, watch: DirectoryWatch) -> None:
    root.rename(root.parent / "bad")
    shutil.copytree(root.parent / "bad", root)
    assert watch.take().lost
    watch.renew()
    (root / "one").write_bytes(b"2")
    (root / "one.old" / "3").write_bytes(b"3")
    assert {"one", "one.old/3"} <= watch.take().names


# --- too many changes ---


def test_more_events_than_the_kernel_keeps_are_called_lost(root: Path, watch: DirectoryWatch) -> None:
    paths = [root / "one", root / "two"]
    for number in range(MAX_EVENTS // 2 + 8):
        os.utime(paths[0], (number, number))
        os.utime(paths[1], (number, number))
    (root / "unseen").touch()
    taken = watch.take()
    assert taken.lost
    assert "unseen" not in taken.names
    assert watch.take() == Changes(frozenset(), lost=False)


def test_after_lost_events_the_key_store_is_listed_anew(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(0o700)
    place = Place(tmp_path / "keys")
    _, writer = place.open()
    writer.generate(REF)
    store = DirectoryStore(place.root)
    with closing(KeyStore(store, LayoutV1(), Protections.under(open_sealer(Secret(MASTER))))) as keys:
        keys.watch()
        overflow(place.root / "alice_storage_sym")
        writer.rotate(REF)
        writer.generate(KeyRef(p.HMAC_SYM, "alice"))
        assert keys.has_changes()
        assert keys.refresh()
        assert values(keys, REF) == values(place.open()[0], REF)
        assert len(list(keys.rings())) == 2
        # The history directory came while events were lost: it must be watched now.
        writer.rotate(REF)
        assert keys.refresh()
        assert len(values(keys, REF)) == 3


def overflow(path: Path) -> None:
    """Events of two kinds in turn: the kernel merges equal neighbours."""
    for number in range(MAX_EVENTS // 2 + 8):
        os.utime(path, (number, number))
        path.open("ab").close()


# --- too few watches ---

LIMITED = """
import sys
import time
from contextlib import closing
from pathlib import Path
sys.path[:0] = {path!r}
from keyfs.store.inotify import DirectoryWatch
root = Path({root!r})
for number in range(8):
    (root / f"key{{number}}.old").mkdir()
with closing(DirectoryWatch([root], 3)) as watch:
    (root / "key7.old" / "1").touch()
    (root / "key0.old" / "1").touch()
    begin = time.monotonic()
    while not watch.pending():
        pass
    print(watch.take().lost, time.monotonic() - begin < 2)
    watch.renew()
    (root / "one").touch()
    print("one" in watch.take().names)
"""


REFUSED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from keyfs.errors import StoreUnavailable
from keyfs.store.inotify import DirectoryWatch
try:
    DirectoryWatch([Path({root!r})], 3)
except StoreUnavailable as exc:
    print(exc)
"""


def run_with_limit(limit: str, value: int, script: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run a script under a limit for one user name space: the limits of the machine stay as they are."""
    code = script.format(path=[path for path in sys.path if path], root=str(root))
    set_limit = f'echo {value} > /proc/sys/user/{limit} && exec "$@"'
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        set_limit,
        "sh",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0 and "unshare" in done.stderr:
        skip(f"no user name spaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done


def test_where_watches_run_out_keyfs_looks_for_itself(root: Path) -> None:
    done = run_with_limit("max_inotify_watches", 4, LIMITED, root)
    assert done.stdout.split() == ["True", "True", "True"]
    assert done.stderr.splitlines() == ["watch.incomplete"]


def test_where_nothing_can_be_watched_there_is_one_clear_line(root: Path) -> None:
    done = run_with_limit("max_inotify_instances", 0, REFUSED, root)
    assert done.stdout == "cannot watch the key store: Too many open files\n"
