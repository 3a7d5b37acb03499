"""What is written about Acra's files and their rights, sentence by sentence, held against what keyfs does."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from independent_reader import container_payload, unseal
from own_store import ALL_KEYS, MASTER_KEY, OwnStore, mode_of, names_in, new_store

UNSEAL_FAILED, MASTER_KEY_UNAVAILABLE, INSECURE, REFUSED = 9, 7, 11, 12

# File, sealed size, context, mode.
SEALED = [
    ("alice_storage", 89, "alice"),
    ("alice_storage_sym", 76, "alice"),
    ("alice_hmac", 76, "alice"),
    ("secure_log_key", 76, "secure_log_key"),
    (".poison_key/poison_key", 89, ".poison_key/poison_key"),
    (".poison_key/poison_key_sym", 76, ".poison_key/poison_key_sym"),
]
PUBLIC = ["alice_storage.pub", ".poison_key/poison_key.pub"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> OwnStore:
    """All six purposes, first versions. Tests only look at it."""
    store = new_store(tmp_path_factory.mktemp("written"))
    for key in ALL_KEYS:
        store.keyfs("generate", key)
    return store


@pytest.fixture
def store(written: OwnStore, tmp_path: Path) -> OwnStore:
    """A copy that a test may change."""
    return copied(written, tmp_path)


def copied(store: OwnStore, place: Path) -> OwnStore:
    shutil.copytree(store.root, place / "keys", copy_function=shutil.copy2)
    return OwnStore(place / "keys")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Commands started meanwhile inherit it."""
    before = os.umask(request.param)
    yield
    os.umask(before)


# --- files ---


@pytest.mark.parametrize(("name", "size", "context"), SEALED)
def test_a_sealed_file(name: str, size: int, context: str, written: OwnStore) -> None:
    """Sealed: Secure Cell Seal with the master key; context is the exact byte string given."""
    path = written.root / name
    assert (path.stat().st_size, mode_of(path)) == (size, 0o600)
    plaintext = unseal(path.read_bytes(), MASTER_KEY, context.encode())
    if size == 89:
        container_payload(plaintext, b"REC2")
    else:
        assert len(plaintext) == 32


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_file(name: str, written: OwnStore) -> None:
    """<id>_storage.pub, .poison_key/poison_key.pub: plain UEC2 container, 45 bytes, 0644."""
    path = written.root / name
    assert mode_of(path) == 0o644
    container_payload(path.read_bytes(), b"UEC2")


def test_names(written: OwnStore) -> None:
    """The files of the six kinds of key, and no others."""
    assert names_in(written.root) == {".poison_key/", *PUBLIC, *(name for name, _, _ in SEALED)}
    assert not written.contents().ignored


def test_random(written: OwnStore) -> None:
    """Sealed 32 random bytes: no two keys are alike."""
    plaintexts = {key.plaintext for key in written.contents().keys}
    assert len(plaintexts) == len(SEALED) + len(PUBLIC)


def test_context_is_never_the_purpose(store: OwnStore) -> None:
    """A storage-symmetric blob copied over the HMAC file of the same client decrypts fine."""
    shutil.copy2(store.root / "alice_storage_sym", store.root / "alice_hmac")
    assert store.keyfs("read", "hmac-sym/alice") == store.keyfs("read", "storage-sym/alice")


def test_moving_the_key_directory(store: OwnStore) -> None:
    """Moving or renaming the key directory is harmless."""
    before = {key: store.keyfs("read", key) for key in ALL_KEYS}
    moved = OwnStore(store.root.rename(store.root.with_name("moved")))
    assert {key: moved.keyfs("read", key) for key in ALL_KEYS} == before


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("alice_hmac", "carol_hmac", "hmac-sym/carol"),
        ("alice_storage_sym", "secure_log_key", "audit-log"),
        (".poison_key/poison_key_sym", "secure_log_key", "audit-log"),
    ],
)
def test_renaming_a_file(old: str, new: str, key: str, store: OwnStore) -> None:
    """Renaming a file is not [harmless]."""
    (store.root / old).rename(store.root / new)
    code, line = store.refusal("read", key)
    assert code == UNSEAL_FAILED
    assert new in line


@pytest.mark.parametrize("kind", ["connector", "server", "translator", "zone", "zone-sym"])
def test_legacy_keys_are_never_written(kind: str, written: OwnStore) -> None:
    """Connector/server/translator generators are still in the source but no tool calls them."""
    before = names_in(written.root)
    for command in ("generate", "rotate"):
        code, _ = written.refusal(command, f"legacy-{kind}/alice", KEYFS_LEGACY="1")
        assert code == REFUSED
    assert names_in(written.root) == before


def test_poison_keys_at_the_top(store: OwnStore) -> None:
    """Before 2017 poison files lay directly in the key directory: they take nothing from those of today."""
    before = store.keyfs("list", "--json")
    for path in (store.root / ".poison_key").iterdir():
        shutil.copy2(path, store.root)
    assert store.keyfs("list", "--json") == before
    assert b"fault" not in store.keyfs("check")


# --- rights ---


@pytest.mark.parametrize("is_split", [False, True], ids=["one directory", "two directories"])
@pytest.mark.usefixtures("umask")
def test_the_key_directory_is_made_private(is_split: bool, tmp_path: Path) -> None:
    """Key directory: created 0700. Sub-directories (`.poison_key`, `*.old`) are created 0700."""
    store = new_store(tmp_path, split=is_split)
    for command in ("generate", "rotate"):
        store.keyfs(command, "poison-record")
    roots = [root for root in (store.root, store.public) if root is not None]
    made = [
        path for root in roots for path in (root, *root.rglob("*"), *store.beside.glob("**")) if path.is_dir()
    ]
    assert {mode_of(path) for path in made} == {0o700}
    store.contents()


@pytest.mark.parametrize("mode", [0o500, 0o711, 0o750, 0o755, 0o770, 0o777, 0o000], ids=oct)
def test_the_private_directory_has_one_mode(mode: int, store: OwnStore) -> None:
    """The private key directory must be exactly 0700 or every tool and server refuses to open."""
    store.root.chmod(mode)
    for command in (["list"], ["rotate", "audit-log"]):
        code, line = store.refusal(*command)
        assert code == INSECURE
        assert f"chmod 700 {store.root}" in line


@pytest.mark.parametrize("mode", [0o2700, 0o1700, 0o4700], ids=oct)
def test_only_the_permission_bits_count(mode: int, store: OwnStore) -> None:
    """Acra compares the nine permission bits: an inherited set-group-ID bit is no matter."""
    store.root.chmod(mode)
    private = store.root / "alice_storage"
    private.chmod(mode & 0o7000 | 0o600)
    assert store.keyfs("read", "storage/alice")[:4] == b"REC2"


@pytest.mark.parametrize("mode", [0o500, 0o755, 0o777], ids=oct)
def test_other_directories_have_any_mode(mode: int, tmp_path: Path) -> None:
    """The public directory and sub-directories are not checked."""
    store = new_store(tmp_path, split=True)
    for command in ("generate", "rotate"):
        store.keyfs(command, "poison-record")
    assert store.public is not None
    directories = [path for path in (*store.root.rglob("*"), *store.public.rglob("*")) if path.is_dir()]
    for path in (store.public, *directories):
        path.chmod(mode)
    assert len(store.keyfs("list", "--versions").splitlines()) == 1 + 4
    assert b"fault" not in store.keyfs("check")


@pytest.mark.parametrize("mode", [0o601, 0o604, 0o640, 0o644, 0o700], ids=oct)
@pytest.mark.parametrize("name", ["alice_storage", ".poison_key/poison_key"])
def test_an_open_private_key(name: str, mode: int, store: OwnStore) -> None:
    """Private key *pair* files: refused if the permission number is numerically greater than 0600."""
    (store.root / name).chmod(mode)
    code, line = store.refusal("read", "storage/alice" if "alice" in name else "poison-record")
    assert code == INSECURE
    assert f"{mode:04o}" in line
    assert "chmod 600" in line


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o577, 0o600], ids=oct)
def test_a_private_key_with_a_small_number(mode: int, store: OwnStore) -> None:
    """0400, 0440, 0444 and even 0577 pass."""
    (store.root / "alice_storage").chmod(mode)
    assert store.keyfs("read", "storage/alice")[:4] == b"REC2"


@pytest.mark.parametrize("mode", [0o440, 0o644, 0o666, 0o777], ids=oct)
def test_other_keys_have_any_mode(mode: int, store: OwnStore) -> None:
    """Symmetric, HMAC, log and public files: no check at all."""
    symmetric = [name for name, size, _ in SEALED if size == 76]
    for name in (*symmetric, *PUBLIC):
        (store.root / name).chmod(mode)
    assert store.keyfs("check") == b""


def test_a_wrong_master_key(store: OwnStore) -> None:
    """A wrong master key shows up only when a key is read."""
    wrong = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I="
    assert store.keyfs("list", ACRA_MASTER_KEY=wrong) == store.keyfs("list")
    assert store.keyfs("read", "storage/alice/current.pub", ACRA_MASTER_KEY=wrong)[:4] == b"UEC2"
    for key in ALL_KEYS:
        assert store.refusal("read", key, ACRA_MASTER_KEY=wrong)[0] == UNSEAL_FAILED


def test_a_short_master_key(store: OwnStore) -> None:
    """The master key length is the only other gate."""
    code, line = store.refusal("read", "audit-log", ACRA_MASTER_KEY="c2hvcnQ=")
    assert code == MASTER_KEY_UNAVAILABLE
    assert "32" in line
