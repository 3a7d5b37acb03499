"""Names that lead elsewhere, keys of the wrong form, places that cannot be written: nothing is changed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import keyfs
from pictures import picture

from keyfs.seal.keypair import generate_pair
from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, run_keyfs
from keyfs.testing.other_user import beside_nobody

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LiveStore:
    store = new_live_store(tmp_path_factory.mktemp("arguments"))
    for label in ("storage/alice", "storage/alice", "storage-sym/alice", "audit-log"):
        store.make(label)
    return store


@pytest.fixture
def store(made: LiveStore) -> Iterator[LiveStore]:
    """A store that must be at the end as it was, and everything beside it, too."""
    before = picture(made.root.parent)
    yield made
    assert picture(made.root.parent) == before


def refusal(store: LiveStore, *words: str | Path, code: int, stdin: bytes = b"") -> str:
    ran = keyfs(*words, environment=store.environment, stdin=stdin)
    assert ran.code == code, ran.err
    return ran.refusal()


TRICKS = [
    "../../etc/passwd",
    "/etc/passwd",
    "storage/../storage/alice",
    "storage/..",
    "storage/../../master.key",
    "storage/alice/..",
    "storage/alice/../alice",
    "storage//current",
    "storage/alice/",
    "storage/alice//current",
    "storage/alice/current/x",
    "storage/alice/current/",
    "./storage/alice",
    " storage/alice",
    "storage /alice",
    "STORAGE/alice",
    "storage/@global",
    "storage/alice%2f..",
    "storage/alice\\current",
    "storage/al\nice",
    "storage/al\tice",
    "storage/al*ce",
    "storage/al.ce",
    "storage/\u00e4lice",
    "storage/al\udcffce",
    "storage/\u0430lice",
    "audit-log/alice",
    "audit-log/alice/current",
    "audit-log/@global/@global/current",
    "poison-record/..",
    "master.key",
    "",
    "/",
    ".",
    "-",
    "storage",
    "storage/",
    "x" * 100_000,
]


@pytest.mark.parametrize("label", TRICKS, ids=lambda label: ascii(label)[:30])
def test_a_name_that_leads_elsewhere_leads_nowhere(store: LiveStore, label: str) -> None:
    for command in ("read", "rotate", "generate", "destroy"):
        ran = keyfs(command, "--", label, environment=store.environment)
        assert ran.code in (3, 4), ran.err
        assert len(ran.refusal()) < 400


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("nonsense/alice", "unknown purpose 'nonsense': use one of storage, storage-sym, hmac-sym, "),
        ("storage", "storage keys belong to a client: write storage/CLIENT"),
        ("storage/al", "'al' is not a client id: 5 to 256 characters of A-Z a-z 0-9 _ - and space"),
        ("audit-log/alice", "audit-log has no clients: write audit-log or audit-log/@global"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_form(store: LiveStore, label: str, said: str) -> None:
    assert refusal(store, "generate", label, code=3).startswith(said)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("read", "storage/nobody"), 4),
        (("read", "hmac-sym/alice"), 4),
        (("read", "storage/alice/2020-01-01T00:00:00"), 4),
        (("read", "storage/alice/1"), 4),
        (("read", "storage-sym/alice/current.pub"), 4),
        (("read", "storage-sym/alice", "--public"), 4),
        (("read", "storage/alice/current.pub.pub"), 4),
        (("rotate", "storage/nobody"), 4),
        (("rotate", "poison-record"), 4),
        (("destroy", "storage/alice/2020-01-01T00:00:00"), 4),
        (("destroy", "storage/nobody/2020-01-01T00:00:00"), 4),
        (("destroy", "storage/alice/current"), 12),
        (("destroy", "storage/alice"), 2),
        (("list", "storage/nobody"), 4),
        (("list", "nonsense"), 3),
        (("generate", "storage/alice"), 5),
        (("generate", "audit-log"), 5),
        (("generate", "legacy-server/alice"), 12),
        (("rotate", "legacy-auth"), 12),
    ],
    ids=str,
)
def test_a_key_that_is_not_there_or_is_already(store: LiveStore, words: tuple[str, ...], code: int) -> None:
    assert refusal(store, *words, code=code)


def test_a_client_id_that_does_not_fit_into_file_names(store: LiveStore) -> None:
    for purpose, longest in (("storage", 233), ("storage-sym", 233), ("hmac-sym", 240)):
        said = refusal(store, "generate", f"{purpose}/{'x' * (longest + 1)}", code=3)
        assert f"at most {longest} fit" in said
    assert "is not a client id" in refusal(store, "generate", f"storage/{'x' * 257}", code=3)


SYMMETRIC = [b"", b"\n", b"x", b"x" * 31, b"x" * 33, b"x" * 32 + b"\r\n", b"x" * 64, b"x" * 100_000]
CONTAINER = generate_pair()[0].reveal()
CONTAINERS = [
    b"",
    b"x" * 32,
    b"x" * 45,
    CONTAINER[:-1],
    CONTAINER + b"\n\n",
    CONTAINER[:-1] + bytes([CONTAINER[-1] ^ 1]),
    generate_pair()[1],
    b"REC2\0\0\0-" + bytes(37),
]


@pytest.mark.parametrize(
    ("purpose", "content"),
    [("storage-sym", content) for content in SYMMETRIC] + [("storage", content) for content in CONTAINERS],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_what_is_no_key_is_not_imported(store: LiveStore, purpose: str, content: bytes) -> None:
    for words in (("rotate", f"{purpose}/alice"), ("generate", f"{purpose}/carol")):
        said = refusal(store, *words, "--from-file", "-", code=6, stdin=content)
        assert said.startswith((f"a {purpose} key is ", f"not a private key container for {purpose}: "))


@pytest.mark.parametrize("source", ["/no/such/file", "/", "/proc/self/mem"])
def test_a_source_that_cannot_be_read(store: LiveStore, source: str) -> None:
    said = refusal(store, "rotate", "storage-sym/alice", "--from-file", source, code=2)
    assert said.startswith(f"cannot read {source}: ")


def test_bytes_in_arguments_that_are_no_text(store: LiveStore) -> None:
    """In a real process: there they arrive as bytes."""
    bad: list[list[str | bytes]] = [
        ["list", b"\xff\xfe"],
        ["read", b"storage/\xff"],
        ["rotate", "audit-log", "--from-file", b"\xff"],
    ]
    for words in bad:
        ran = subprocess.run(
            [sys.executable, "-m", "keyfs", *words],
            env=keyfs_environment(store.environment),
            capture_output=True,
            check=False,
        )
        assert ran.returncode in (2, 3)
        assert ran.stdout == b""
        assert ran.stderr.startswith(b"keyfs: ")
        assert ran.stderr.count(b"\n") == 1


# --- places ---


PLACES = {
    "unreadable store": (
        "chown root: keys",
        "list",
        10,
        "dir:/mnt/keys: cannot read version: Permission denied",
    ),
    "unreadable way": (
        "mkdir -m 700 way; mv keys way; export KEYFS_STORE=/mnt/way/keys",
        "list",
        10,
        "cannot open the key store /mnt/way/keys: Permission denied",
    ),
    "unreadable key": (
        "chown root: keys/secure_log_key",
        "read audit-log",
        10,
        "cannot read secure_log_key: Permission denied",
    ),
    "unwritable sibling": (
        "chown -R root: keys.keyfs; chmod 755 keys.keyfs",
        "rotate audit-log",
        10,
        "cannot lock the key store (needs to write in /mnt/keys.keyfs): Permission denied",
    ),
    "no sibling and no room for one": (
        "rm -r keys.keyfs",
        "rotate audit-log",
        10,
        "cannot lock the key store (needs to write in /mnt/keys.keyfs): Permission denied",
    ),
    "a file for a sibling": (
        "rm -r keys.keyfs; touch keys.keyfs",
        "rotate audit-log",
        16,
        "cannot lock the key store (needs to write in /mnt/keys.keyfs): Not a directory",
    ),
    "unreadable master key": (
        "chown root: master.key",
        "read audit-log",
        7,
        "master key file /mnt/master.key",
    ),
    "unwritable place for a new store": (
        "true",
        "init --store /mnt/new",
        10,
        "cannot make /mnt/new: Permission",
    ),
}


@ROOT_ONLY
@pytest.mark.parametrize(("prepare", "words", "code", "said"), PLACES.values(), ids=PLACES)
def test_a_place_that_does_not_let_us(
    store: LiveStore, prepare: str, words: str, code: int, said: str
) -> None:
    compared = '[ "$before" = "$(picture)" ]; exit $code'
    script = f"{prepare}; before=$(picture); code=0; keyfs {words} || code=$?; {compared}"
    ran = beside_nobody(store.root.parent, script)
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stderr
    assert ran.stderr.startswith(f"keyfs: {said}")
    assert ran.stderr.count("\n") == 1


@ROOT_ONLY
def test_a_store_can_be_read_where_nothing_beside_it_can_be_written(store: LiveStore) -> None:
    ran = beside_nobody(
        store.root.parent, "rm -r keys.keyfs; keyfs list | wc -l; keyfs check; keyfs read audit-log | wc -c"
    )
    assert (ran.returncode, ran.stdout) == (0, "5\n32\n"), ran.stderr


def test_a_real_process_answers_as_this_one_does(store: LiveStore) -> None:
    for words in (("read", "storage/nobody"), ("list", "--bogus"), ("read", "storage/..")):
        ran = run_keyfs(*words, environment=store.environment)
        here = keyfs(*words, environment=store.environment)
        assert (ran.returncode, ran.stdout, ran.stderr.decode()) == (here.code, here.out, here.err)
