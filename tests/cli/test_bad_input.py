"""Bad keys, bad stores, bad names: one line, the right exit code, and not a byte of the store changed."""

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import keyfs
from pictures import picture

from keyfs.master.generate import generate as new_master_key
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.stores import restore_small_store

VECTORS = Path(__file__).parents[1] / "vectors"
LABELS = ("storage-sym/alice", "storage-sym/bobby", "storage/alice", "audit-log")


@pytest.fixture
def store(tmp_path: Path) -> LiveStore:
    made = new_live_store(tmp_path)
    for label in (*LABELS, *LABELS):
        made.make(label)
    return made


@pytest.fixture
def untouched(store: LiveStore) -> Iterator[LiveStore]:
    """A store that must be at the end as it is when the test itself calls nothing but keyfs."""
    before = picture(store.root)
    yield store
    assert picture(store.root) == before


def refusal(store: LiveStore, *words: str | Path, code: int, **environment: str) -> str:
    ran = keyfs(*words, environment=store.environment | environment)
    assert ran.code == code, ran.err
    return ran.refusal()


# --- master keys ---

COMMANDS = [
    ("read", "storage-sym/alice"),
    ("rotate", "storage-sym/alice"),
    ("rotate", "storage/alice", "--from-file", "-"),
    ("generate", "hmac-sym/alice"),
    ("check",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "environment variable K is not set; export the key store's master key in it"),
        ("", "environment variable K is empty; put the text there that 'keyfs master-key generate' prints"),
        ("not base64!", "environment variable K is not standard base64 with padding"),
        ("a" * 43, "environment variable K is not standard base64 with padding"),
        (base64.urlsafe_b64encode(b"\xff" * 32).decode(), "environment variable K is not standard base64"),
        (
            base64.b64encode(b"k" * 31).decode(),
            "environment variable K has a key of 31 bytes, 32 is the least",
        ),
    ],
    ids=["unset", "empty", "nonsense", "no padding", "URL alphabet", "short"],
)
def test_a_master_key_that_is_none(
    untouched: LiveStore, words: tuple[str, ...], value: str | None, said: str
) -> None:
    more = {"KEYFS_MASTER_KEY": "env:K"} | ({} if value is None else {"K": value})
    assert refusal(untouched, *words, code=7, **more).startswith(said)


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("file:/no/such/file", 7, "master key file /no/such/file cannot be read (No such file or directory)"),
        ("file:", 2, "'file:' needs the path of a file"),
        ("env:", 2, "'env:' needs the name of an environment variable"),
        ("env:A-B", 2, "'env:' needs the name of an environment variable"),
        ("awskms:x", 2, ""),
        ("nonsense:x", 2, ""),
        ("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=", 2, "the master key is named by a URI such as "),
        ("", 2, ""),
    ],
)
def test_a_place_of_a_master_key_that_is_none(untouched: LiveStore, uri: str, code: int, said: str) -> None:
    shown = refusal(untouched, "read", "storage-sym/alice", "--master-key", uri, code=code)
    assert shown.startswith(said)
    assert "c2VjcmV0" not in shown


@pytest.mark.parametrize("words", COMMANDS[:4], ids=" ".join)
def test_a_master_key_file_that_others_can_read(untouched: LiveStore, words: tuple[str, ...]) -> None:
    untouched.master_key.chmod(0o640)
    said = refusal(untouched, *words, code=11)
    assert said.endswith(f"is open to others (mode 0640); run: chmod 600 {untouched.master_key}")


@pytest.mark.expects_log("master_key.suspicious")
def test_a_master_key_of_hex_digits_is_taken_as_acra_takes_it_with_a_warning(store: LiveStore) -> None:
    ran = keyfs(
        "read",
        "storage-sym/alice",
        environment=store.environment | {"KEYFS_MASTER_KEY": "env:K", "K": "ab" * 32},
    )
    assert ran.code == 9, "as base64 these 64 digits are another key"
    assert "64 hex digits, which Acra reads as base64 of 48 bytes, a different key" in ran.err


# --- a wrong master key ---


def another_key() -> dict[str, str]:
    return {"KEYFS_MASTER_KEY": "env:K", "K": base64.b64encode(b"another-" * 4).decode()}


def test_a_wrong_master_key_is_told_at_mount(untouched: LiveStore, fuse_required: None) -> None:
    environment = untouched.environment | another_key()
    for words in ((), ("--foreground",), ("--read-only",)):
        ran = run_keyfs("mount", *words, untouched.mountpoint, environment=environment)
        assert (ran.returncode, ran.stdout) == (8, b"")
        assert ran.stderr.decode() == (
            "keyfs: the master key opens none of the 4 keys tried (first: audit-log/@global): "
            "it is not the one this key store was sealed with\n"
        )
        assert not os.path.ismount(untouched.mountpoint)
    assert refusal(untouched, "check", code=8, **another_key())


@pytest.mark.parametrize("label", LABELS)
def test_a_wrong_master_key_opens_nothing(untouched: LiveStore, label: str) -> None:
    said = refusal(untouched, "read", label, code=9, **another_key())
    assert said.endswith("does not open: it is damaged, or sealed for another key")


@pytest.mark.parametrize("layout", ["v1", "v2"])
@pytest.mark.parametrize(
    "words",
    [
        ("rotate", "storage-sym/alice"),
        ("rotate", "storage/alice"),
        ("rotate", "--from-file", "-", "audit-log"),
        ("rotate", "--older-than", "0"),
        ("generate", "hmac-sym/alice"),
    ],
    ids=" ".join,
)
def test_nothing_is_sealed_under_a_wrong_master_key(
    tmp_path: Path, layout: str, words: tuple[str, ...]
) -> None:
    """Neither Acra nor anybody else who has the right one could read it."""
    store = new_live_store(tmp_path, layout=layout)
    for label in ("storage-sym/alice", "storage/alice", "audit-log"):
        store.make(label)
    before = picture(store.root)
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(new_master_key(layout))
    said = refusal(store, *words, code=8, KEYFS_MASTER_KEY=f"file:{wrong}")
    assert "not the one this key store was s" in said
    assert picture(store.root) == before


def test_rings_that_are_not_seen_under_a_wrong_master_key_are_told(tmp_path: Path) -> None:
    store = new_live_store(tmp_path, layout="v2")
    store.make("storage/alice")
    environment = store.environment | {"KEYFS_MASTER_KEY": "env:K", "K": new_master_key("v2")}
    for words in (
        ("list",),
        ("report", "--html", "-"),
        ("rotate", "--older-than", "0", "--dry-run"),
        ("archive", "fill", "--keep", "1"),
    ):
        ran = keyfs(*words, environment=environment)
        assert ran.code == 0
        assert ran.err.startswith("left out client/alice/storage.keyring: its signature is wrong"), words


# --- damaged blobs ---


def damage(store: LiveStore, how: str) -> bytes:
    path = store.root / "alice_storage_sym"
    blob = path.read_bytes()
    path.write_bytes(
        {
            "flipped": blob[:50] + bytes([blob[50] ^ 4]) + blob[51:],
            "cut": blob[:-1],
            "longer": blob + b"\0",
            "tiny": b"x",
            "empty": b"",
            "of another": (store.root / "bobby_storage_sym").read_bytes(),
        }[how]
    )
    return blob


@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "tiny", "empty", "of another"])
def test_a_damaged_blob_fails_alone_and_check_names_it(store: LiveStore, how: str) -> None:
    damage(store, how)
    before = picture(store.root)
    said = refusal(store, "read", "storage-sym/alice", code=9)
    assert said == "alice_storage_sym does not open: it is damaged, or sealed for another key"
    for label in (*LABELS[1:], f"storage-sym/alice/{next(iter(store_versions(store)))}"):
        assert keyfs("read", label, environment=store.environment).code == 0
    assert keyfs("list", environment=store.environment).code == 0
    ran = keyfs("check", environment=store.environment)
    assert (ran.code, ran.out.count(b"\n")) == (1, 1)
    assert ran.out.startswith(
        b"fault\tunreadable\tstorage-sym/alice/current\talice_storage_sym does not open"
    )
    assert picture(store.root) == before


def store_versions(store: LiveStore) -> list[str]:
    return sorted(os.listdir(store.root / "alice_storage_sym.old"))


def test_a_damaged_key_can_be_rotated_and_its_bytes_stay(store: LiveStore) -> None:
    damage(store, "flipped")
    damaged = (store.root / "alice_storage_sym").read_bytes()
    assert keyfs("rotate", "storage-sym/alice", environment=store.environment).code == 0
    assert keyfs("read", "storage-sym/alice", environment=store.environment).code == 0
    assert (store.root / "alice_storage_sym.old" / store_versions(store)[-1]).read_bytes() == damaged


def test_the_damaged_store_of_acra(tmp_path: Path) -> None:
    """Each file that must not be served is named by check, and none of the others."""
    damaged = restore_small_store(VECTORS, "damaged", tmp_path)
    before = picture(damaged.root)
    ran = keyfs("check", environment=damaged.environment)
    assert ran.code == 1
    bad = {Path(f["path"]).name for f in damaged.manifest["files"] if f.get("expect") == "error"}
    assert {name for name in bad if name.encode() in ran.out} == bad
    assert picture(damaged.root) == before


# --- places that are no store ---


def test_a_store_that_is_open_to_others(store: LiveStore) -> None:
    for mode in (0o755, 0o750, 0o701, 0o500):
        store.root.chmod(mode)
        before = picture(store.root)
        for words in (("list",), ("read", "audit-log"), ("rotate", "audit-log"), ("check",)):
            said = refusal(store, *words, code=11)
            assert said.endswith(f"chmod 700 {store.root}")
        assert picture(store.root) == before


NO_STORES = {
    "a file": ("master.key", 17, "is not a directory"),
    "nothing": ("nothing", 17, "make a key store with keyfs init --store "),
    "below a file": ("master.key/keys", 17, ""),
}


@pytest.mark.parametrize(("place", "code", "said"), NO_STORES.values(), ids=NO_STORES)
def test_a_place_that_is_no_store(untouched: LiveStore, place: str, code: int, said: str) -> None:
    path = untouched.root.parent / place
    for words in (("list",), ("read", "audit-log"), ("generate", "audit-log"), ("check",)):
        assert said in refusal(untouched, *words, "--store", path, code=code)
    assert not (untouched.root.parent / "nothing").exists()


@pytest.mark.parametrize("uri", ["s3://bucket/keys", "ftp:x", "dir:", "", "dir://host/keys"])
def test_a_store_uri_that_is_not_supported(untouched: LiveStore, uri: str) -> None:
    assert refusal(untouched, "list", "--store", uri, code=2)


def test_a_store_of_layout_v2_without_its_master_key_is_not_touched(
    tmp_path: Path, fuse_required: None
) -> None:
    root, empty = tmp_path / "v2", tmp_path / "empty"
    shutil.copytree(VECTORS / "stores/v2-dir", root)
    root.chmod(0o700)
    empty.mkdir()
    before = picture(root)
    for words in (["check"], ["read", "audit-log"], ["rotate", "audit-log"], ["mount", str(empty)]):
        ran = run_keyfs(*words, "--store", root, environment={})
        assert (ran.returncode, ran.stdout) == (7, b""), ran.stderr
    ran = run_keyfs("list", "--store", root, environment={})
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert picture(root) == before
    assert not root.with_name("v2.keyfs").exists()


def test_init_refuses_a_place_with_something_in_it(untouched: LiveStore) -> None:
    said = refusal(untouched, "init", code=17)
    assert said == f"{untouched.root} is not an empty directory: a new key store needs one of its own"
    refusal(untouched, "init", "--store", untouched.master_key, code=17)
