"""What only the directory driver meets: links, large files, wrong places, wrong modes, dead writers."""

import os
import stat
from pathlib import Path

import pytest

from keyfs.broker.keystore import KeyStore
from keyfs.core.secret import Secret
from keyfs.errors import (
    AccessDenied,
    InsecurePermissions,
    KeyNotFound,
    MaterialCorrupt,
    ReadOnly,
    StoreBusy,
    StoreInvalid,
    StoreUnavailable,
)
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import is_public
from keyfs.seal.protection import Protections
from keyfs.seal.pure import PureSealer
from keyfs.store.directory import DirectoryStore
from keyfs.store.files import SIZE_LIMIT
from keyfs.testing.builders import MASTER_KEY
from keyfs.testing.store_steps import contents, delete, put, set_aside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    return root


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


# --- what is no blob ---


def test_links_and_fifos_are_strays_and_never_followed(root: Path, store: DirectoryStore) -> None:
    put(store, "key", b"0")
    (root / "link").symlink_to(root / "key")
    (root / "dangling").symlink_to(root / "nothing")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "fifo")
    listing = store.list_all()
    assert set(listing.blobs) == {"key"}
    assert set(listing.strays) == {"link", "dangling", "loop", "fifo"}
    for name in listing.strays:
        assert store.stat(name) is None
        with pytest.raises(KeyNotFound):
            store.get(name)


def test_a_linked_directory_holds_nothing(root: Path, store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1").write_bytes(b"0")
    (root / "key.old").symlink_to(tmp_path / "elsewhere")
    assert not store.list_all().blobs


def test_a_directory_in_the_place_of_a_blob_is_none(root: Path, store: DirectoryStore) -> None:
    (root / "key").mkdir()
    assert store.stat("key") is None
    before = os.listdir("/proc/self/fd")
    with pytest.raises(KeyNotFound):
        store.get("key")
    assert os.listdir("/proc/self/fd") == before


def test_directories_too_deep_are_strays(root: Path, store: DirectoryStore) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "b" / "key").write_bytes(b"0")
    (root / "a" / "b" / "c" / "key").write_bytes(b"0")
    listing = store.list_all()
    assert set(listing.blobs) == {"a/b/key"}
    assert listing.strays == {"a/b/c": "directory too deep to hold keys"}


def test_a_file_larger_than_any_key_is_not_loaded(root: Path, store: DirectoryStore) -> None:
    (root / "key").write_bytes(b"x" * (SIZE_LIMIT + 1))
    with pytest.raises(MaterialCorrupt, match="too many"):
        store.get("key")
    (root / "key").write_bytes(b"x" * SIZE_LIMIT)
    assert len(store.get("key").data) == SIZE_LIMIT


def test_a_large_file_does_not_hide_the_legacy_keys(root: Path) -> None:
    (root / "database").write_bytes(b"x" * (SIZE_LIMIT + 1))
    keys = KeyStore(
        DirectoryStore(root), LayoutV1(legacy=True), Protections.under(PureSealer(Secret(MASTER_KEY)))
    )
    keys.load()
    assert set(keys.index.strays) == {"database"}


def test_halves_in_each_others_directory_are_strays(tmp_path: Path) -> None:
    for name in ("private", "public"):
        (tmp_path / name).mkdir(0o700)
        (tmp_path / name / "alice_storage").write_bytes(b"0")
        (tmp_path / name / "alice_storage.pub").write_bytes(b"0")
    listing = DirectoryStore(tmp_path / "private", tmp_path / "public", is_public).list_all()
    assert set(listing.blobs) == set(listing.strays) == {"alice_storage", "alice_storage.pub"}


def test_a_history_that_goes_away_while_it_is_listed_is_no_error(
    root: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "key", b"0")
    (root / "key.old").mkdir()
    scandir = os.scandir

    def removing(path: Path) -> object:
        found = scandir(path)
        if Path(path) == root:
            (root / "key.old").rmdir()
        return found

    monkeypatch.setattr(os, "scandir", removing)
    assert set(store.list_all().blobs) == {"key"}


# --- opening the store ---


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o600, 0o500])
def test_only_a_directory_of_mode_0700_is_opened(root: Path, mode: int) -> None:
    root.chmod(mode)
    with pytest.raises(InsecurePermissions, match=f"{mode:04o}.*chmod 700"):
        DirectoryStore(root)


def test_what_is_no_directory_is_no_key_store(root: Path) -> None:
    with pytest.raises(StoreInvalid, match="keyfs init"):
        DirectoryStore(root / "nothing")
    (root / "file").touch()
    with pytest.raises(StoreInvalid, match="not a directory"):
        DirectoryStore(root / "file")


def test_two_spellings_of_one_directory_share_one_lock(root: Path) -> None:
    link = root.with_name("link")
    link.symlink_to(root)
    with DirectoryStore(root).lock(), pytest.raises(StoreBusy), DirectoryStore(link, lock_wait_s=0).lock():
        pass


# --- writing ---


def test_a_busy_lock_is_reported_after_a_while(store: DirectoryStore, root: Path) -> None:
    with store.lock(), pytest.raises(StoreBusy, match="retry"), DirectoryStore(root, lock_wait_s=0.02).lock():
        pass
    put(store, "key", b"0")


def test_new_files_have_their_modes_whatever_the_umask(root: Path, store: DirectoryStore) -> None:
    before = os.umask(0o077)
    try:
        put(store, "key", b"0", mode=0o600)
        put(store, "key", b"1", "key.old/1", mode=0o644)
    finally:
        os.umask(before)
    modes = {path.relative_to(root).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert modes == {"key": 0o644, "key.old": 0o700, "key.old/1": 0o600}


def test_nothing_of_keyfs_lies_inside_the_store(root: Path, store: DirectoryStore) -> None:
    put(store, "key", b"0")
    put(store, "key", b"1", "key.old/1")
    set_aside(store, "key.old/1")
    assert {path.relative_to(root).as_posix() for path in root.rglob("*")} == {"key", "key.old"}
    aside = root.with_name("keys.keyfs")
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700
    assert [path.read_bytes() for path in (aside / "set-aside").rglob("1")] == [b"0"]
    assert not list((aside / "staging").iterdir())


def test_what_a_dead_writer_staged_is_removed_by_the_next_one(root: Path, store: DirectoryStore) -> None:
    put(store, "key", b"0")
    staging = root.with_name("keys.keyfs") / "staging"
    (staging / "1234567890").write_bytes(b"half a bl")
    put(store, "key", b"1")
    assert not list(staging.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root owns files for others")
def test_new_files_belong_to_whom_the_store_belongs(root: Path) -> None:
    os.chown(root, 4201, 4202)
    store = DirectoryStore(root)
    put(store, "key", b"0")
    put(store, "key", b"1", "key.old/1")
    for path in (root / "key", root / "key.old", root / "key.old" / "1", root.with_name("keys.keyfs")):
        assert (path.stat().st_uid, path.stat().st_gid) == (4201, 4202)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(30, ReadOnly), (13, AccessDenied), (1, AccessDenied), (5, StoreUnavailable), (116, StoreUnavailable)],
)
def test_an_error_of_the_medium_is_ours(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, error: int, expected: type[Exception]
) -> None:
    put(store, "key", b"0")

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(error, os.strerror(error))

    for call in ("rename", "unlink"):
        monkeypatch.setattr(os, call, fail)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected):
        put(store, "key", b"1")
    with pytest.raises(expected):
        delete(store, "key")
    assert contents(store) == {"key": b"0"}
