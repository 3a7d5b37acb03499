"""What is written about Acra's reading order and split directories, sentence by sentence."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from own_store import ALL_FILES, ALL_KEYS, FILES, OwnStore, names_in, new_store, with_history

from keyfs.testing.mounted import mounted

pytest_plugins = ["own_store"]

NOT_FOUND = 4


@pytest.fixture
def store(tmp_path: Path) -> OwnStore:
    return new_store(tmp_path)


# --- reading order ---


def test_current_is_the_file_itself(rotated_store: OwnStore) -> None:
    """Current: the file F itself."""
    current = {key.path.name: key.plaintext for key in rotated_store.contents().keys if key.kind == "current"}
    for key, names in FILES.items():
        for name, half in zip(names, ("", ".pub"), strict=False):
            path = key if "/" in key else f"{key}/@global"
            assert rotated_store.keyfs("read", f"{path}/current{half}") == current[Path(name).name]


def test_all_versions_are_the_file_and_its_history(rotated_store: OwnStore) -> None:
    """All versions, newest first: F, then every *regular* file of `F.old/` in reverse name order."""
    for key, (private, *_) in FILES.items():
        labels = [path.name for path in reversed(rotated_store.history(private))]
        _, *lines = rotated_store.keyfs("list", "--versions", key).decode().splitlines()
        rows = [line.split("\t") for line in lines]
        shown = [version for _, _, version, _, is_public, *_ in rows if is_public == "no"]
        assert list(reversed(shown)) == ["current", *labels]


STRAYS: dict[str, Callable[[Path], object]] = {
    "symbolic link": lambda path: path.symlink_to("../alice_hmac"),
    "sub-directory": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
}


@pytest.mark.parametrize("make", STRAYS.values(), ids=STRAYS)
def test_what_is_no_regular_file_is_skipped(make: Callable[[Path], object], store: OwnStore) -> None:
    """A symlink or sub-directory is skipped, whatever its name."""
    store.keyfs("generate", "hmac-sym/alice")
    store.keyfs("rotate", "hmac-sym/alice")
    before = store.keyfs("list", "--versions")
    make(store.root / "alice_hmac.old" / "2026-01-01T00:00:00.5")
    assert store.keyfs("list", "--versions") == before


@pytest.mark.parametrize("name", ["README.md", "2026-01-01T00:00:00Z", "2026-13-01T00:00:00", "core"])
def test_a_stray_in_the_history(name: str, store: OwnStore) -> None:
    """A stray regular file breaks the read [of Acra]; keyfs reads on, and `check` names the file."""
    store.keyfs("generate", "hmac-sym/alice")
    store.keyfs("rotate", "hmac-sym/alice")
    before = store.keyfs("list", "--versions")
    (store.root / "alice_hmac.old" / name).write_bytes(b"stray")
    assert store.keyfs("list", "--versions") == before
    assert store.findings() == [("fault", "stray", f"alice_hmac.old/{name}")]


def test_no_history(store: OwnStore) -> None:
    """Missing `F.old/` is fine."""
    store.keyfs("generate", "audit-log")
    assert names_in(store.root) == {"secure_log_key"}
    assert len(store.keyfs("list", "--versions").splitlines()) == 1 + 1


@pytest.mark.parametrize("key", ALL_KEYS)
def test_no_current_version(key: str, rotated_store: OwnStore, tmp_path: Path) -> None:
    """Missing F makes the whole read fail [in Acra]; keyfs reads the history that is still on the disk."""
    shutil.copytree(rotated_store.root, tmp_path / "keys")
    store = OwnStore(tmp_path / "keys")
    path = key if "/" in key else f"{key}/@global"
    labels = [retired.name for retired in store.history(FILES[key][0])]
    before = [store.keyfs("read", f"{path}/{label}") for label in labels]
    for name in FILES[key]:
        (store.root / name).unlink()
    assert store.refusal("read", key)[0] == NOT_FOUND
    assert [store.keyfs("read", f"{path}/{label}") for label in labels] == before
    assert store.findings() == [("note", "no-current", path)]


# --- split directories ---


def test_public_keys_lie_apart(split_store: OwnStore) -> None:
    """`*.pub` files, their `*.pub.old` history and the poison public key lie under the public directory."""
    assert split_store.public is not None
    public = [name for name in ALL_FILES if name.endswith(".pub")]
    private = [name for name in ALL_FILES if not name.endswith(".pub")]
    assert names_in(split_store.public) == with_history(public, split_store)
    assert names_in(split_store.root) == with_history(private, split_store)
    split_store.contents()


def test_the_relative_names_are_the_same(split_store: OwnStore, tmp_path: Path) -> None:
    """Everything else [lies] under the private one, with the same relative names."""
    assert split_store.public is not None
    shutil.copytree(split_store.root, tmp_path / "keys")
    shutil.copytree(split_store.public, tmp_path / "keys", dirs_exist_ok=True)
    joined = OwnStore(tmp_path / "keys")
    assert joined.contents().by_label() == split_store.contents().by_label()
    assert joined.keyfs("list", "--versions") == split_store.keyfs("list", "--versions")
    assert joined.keyfs("check") == b""


def test_one_directory_for_both(rotated_store: OwnStore) -> None:
    """AcraServer/Translator take only one directory: naming it twice is no split_store."""
    twice = OwnStore(rotated_store.root, rotated_store.root)
    assert twice.keyfs("list", "--versions") == rotated_store.keyfs("list", "--versions")
    assert twice.keyfs("check") == b""


def test_a_public_key_in_the_private_directory(split_store: OwnStore, tmp_path: Path) -> None:
    """One that lies in the wrong directory is not read: Acra would not find it there."""
    assert split_store.public is not None
    shutil.copytree(split_store.root, tmp_path / "keys")
    shutil.copytree(split_store.public, tmp_path / "public-keys")
    store = OwnStore(tmp_path / "keys", tmp_path / "public-keys")
    shutil.move(tmp_path / "public-keys" / "alice_storage.pub", tmp_path / "keys")
    assert store.refusal("read", "storage/alice/current.pub")[0] == NOT_FOUND
    assert ("fault", "stray", "alice_storage.pub") in store.findings()


@pytest.mark.parametrize(
    ("private", "public"),
    [("keys", "keys/public"), ("public/keys", "public")],
    ids=["public inside", "private inside"],
)
@pytest.mark.usefixtures("fuse_required")
def test_one_directory_inside_the_other(private: str, public: str, tmp_path: Path) -> None:
    """`--keys_dir` and `--keys_dir_public` may differ; nobody says that they must lie side by side."""
    store = OwnStore(tmp_path / private, tmp_path / public)
    for path in sorted((store.root, tmp_path / public)):
        path.mkdir(0o700)
    store.keyfs("generate", "storage/alice")
    with mounted(tmp_path / "mount", environment=store.environment) as mountpoint:
        ring = mountpoint / "storage" / "alice"
        before = (ring / "current").read_bytes()
        store.keyfs("rotate", "storage/alice")
        for label in ("current", "current.pub"):
            assert (ring / label).read_bytes() == store.keyfs("read", f"storage/alice/{label}")
        assert (ring / "current").read_bytes() != before
        assert len(list(ring.glob("2*"))) == 2
    assert store.findings() == []
