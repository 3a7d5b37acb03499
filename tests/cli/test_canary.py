"""No key byte in any log, error, repr, argument or file: canaries go all the ways that real keys go.

Sealed bytes may lie in files, plain ones only where a test put them: files called *.canary-input.
"""

import copy
import dataclasses
import logging
import pickle
import pprint
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path

import pytest
from command_line import Ran, keyfs

from keyfs import app, logs
from keyfs.broker.reader import Opened
from keyfs.broker.snapshot import Snapshot
from keyfs.core.names import Half, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.core.staging import StagedWrite
from keyfs.core.tree import Facts, key_node
from keyfs.errors import MaterialCorrupt
from keyfs.fs.handles import Handles, ReadHandle, WriteHandle
from keyfs.master.base import MasterKey
from keyfs.master.encoding import decode
from keyfs.master.registry import open_provider
from keyfs.seal.registry import open_sealer
from keyfs.store.base import BlobStat
from keyfs.testing import canary

MASTER_TEXT = b64encode(canary.MASTER_KEY).decode()
ENVIRONMENT = {"ACRA_MASTER_KEY": MASTER_TEXT, "KEYFS_DEBUG": "1", "KEYFS_LOG_LEVEL": "debug"}
KEYS = {
    "storage-sym/alice": canary.SYMMETRIC,
    "hmac-sym/alice": canary.TEXT,
    "storage/alice": canary.PRIVATE,
    "poison-record": canary.PRIVATE,
    "audit-log": canary.SYMMETRIC,
}


def quiet(ran: Ran) -> Ran:
    """Holds what a command printed to the rule."""
    assert canary.found_in(ran.out) == []
    assert canary.found_in(ran.err) == []
    return ran


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A store full of canaries; at the end nothing below *tmp_path* may hold one in plain."""
    made = ENVIRONMENT | {"KEYFS_STORE": str(tmp_path / "keys")}
    assert keyfs("init", environment=made).code == 0
    for label, material in KEYS.items():
        ran = keyfs("generate", label, "--from-file", "-", environment=made, stdin=material)
        assert (quiet(ran).code, ran.out) == (0, b"")
    yield made
    assert canary.left_below(tmp_path) == {}


# --- commands ---


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--versions"),
        ("list", "--versions", "--json"),
        ("list", "--versions", "--csv"),
        ("list", "--overdue", "0"),
        ("report", "--html", "-"),
        ("rotate", "--older-than", "0", "--json"),
        ("archive", "fill", "--keep", "1"),
        ("archive", "list", "--json"),
        ("check",),
        ("check", "--json"),
        ("check", "--repair"),
        ("doctor",),
        ("status",),
        ("rotate", "storage-sym/alice"),
        ("rotate", "storage/alice"),
    ],
    ids=" ".join,
)
def test_a_command_that_succeeds_shows_no_key(environment: dict[str, str], words: tuple[str, ...]) -> None:
    assert quiet(keyfs(*words, environment=environment)).code in (0, 1)


def test_read_shows_just_the_key(environment: dict[str, str]) -> None:
    for label, material in KEYS.items():
        ran = keyfs("read", label, environment=environment)
        assert (ran.code, ran.out, ran.err) == (0, material, "")


def flipped(material: bytes, position: int) -> bytes:
    return material[:position] + bytes([material[position] ^ 1]) + material[position + 1 :]


IMPORTS = {
    "symmetric, too long": ("storage-sym/alice", canary.SYMMETRIC + b"x"),
    "symmetric, cut": ("storage-sym/alice", canary.SYMMETRIC[:-1]),
    "symmetric, much too long": ("storage-sym/alice", canary.SYMMETRIC * 4000),
    "a pair's for a symmetric one": ("storage-sym/alice", canary.PRIVATE),
    "symmetric for a pair's": ("storage/alice", canary.SYMMETRIC),
    "private, wrong checksum": ("storage/alice", flipped(canary.PRIVATE, 9)),
    "private, one bit wrong": ("storage/alice", flipped(canary.PRIVATE, 44)),
    "private, wrong tag": ("storage/alice", b"REC3" + canary.PRIVATE[4:]),
    "private, wrong size": ("storage/alice", flipped(canary.PRIVATE, 7)),
    "private, as hex": ("storage/alice", canary.PRIVATE.hex().encode()),
    "private, as base64": ("storage/alice", b64encode(canary.PRIVATE)),
    "for no client": ("storage/nobody", canary.PRIVATE),
    "for a wrong name": ("storage/no", canary.PRIVATE),
}


@pytest.mark.parametrize(("label", "content"), IMPORTS.values(), ids=IMPORTS)
def test_a_refused_import_shows_no_key(environment: dict[str, str], label: str, content: bytes) -> None:
    words = ("rotate", label, "--from-file", "-")
    assert quiet(keyfs(*words, environment=environment, stdin=content)).code in (3, 4, 6)


@pytest.mark.parametrize(
    "master_key", [b"another key of 32 bytes or more.", canary.MASTER_KEY[:-1]], ids=["another", "cut"]
)
def test_a_wrong_master_key_shows_neither_itself_nor_the_right_one(
    environment: dict[str, str], master_key: bytes
) -> None:
    wrong = environment | {"ACRA_MASTER_KEY": b64encode(master_key).decode()}
    for words, code in ((("read", "storage/alice"), 9), (("check",), 8), (("read", "audit-log"), 9)):
        assert quiet(keyfs(*words, environment=wrong)).code == code


# The mistakes with which a master key ends up where it does not belong.
MISPLACED = {
    "cut": {"ACRA_MASTER_KEY": MASTER_TEXT[:-3]},
    "with a space": {"ACRA_MASTER_KEY": f"{MASTER_TEXT[:30]} {MASTER_TEXT[30:]}"},
    "short": {"ACRA_MASTER_KEY": b64encode(canary.MASTER_KEY[:31]).decode()},
    "quoted": {"ACRA_MASTER_KEY": f"'{MASTER_TEXT}'"},
    "as its own place": {"KEYFS_MASTER_KEY": MASTER_TEXT},
    "as hex for its place": {"KEYFS_MASTER_KEY": canary.MASTER_KEY.hex()},
    "behind env:": {"KEYFS_MASTER_KEY": f"env:{MASTER_TEXT}"},
    "as hex behind env:": {"KEYFS_MASTER_KEY": f"env:{canary.MASTER_KEY.hex()}"},
    "as a scheme": {"KEYFS_MASTER_KEY": f"{canary.MASTER_KEY.hex()}:x"},
}


@pytest.mark.parametrize("more", MISPLACED.values(), ids=MISPLACED)
def test_a_misplaced_master_key_is_not_repeated(environment: dict[str, str], more: dict[str, str]) -> None:
    for words in (("read", "storage/alice"), ("check",), ("rotate", "audit-log")):
        assert quiet(keyfs(*words, environment=environment | more)).code in (2, 7)


IN_TOML = {
    "as a value": f"master-key = '{MASTER_TEXT}'",
    "without quotes": f"master-key = {MASTER_TEXT}",
    "alone": MASTER_TEXT,
    "with half its quotes": f"master-key = '{MASTER_TEXT}",
}


@pytest.mark.parametrize("line", IN_TOML.values(), ids=IN_TOML)
def test_a_configuration_file_with_the_key_in_it_is_not_repeated(
    environment: dict[str, str], tmp_path: Path, line: str
) -> None:
    path = tmp_path / "toml.canary-input"
    path.write_text(line)
    assert quiet(keyfs("read", "audit-log", "--config", path, environment=environment)).code == 2


def test_a_damaged_store_shows_no_key(environment: dict[str, str], tmp_path: Path) -> None:
    """Also where a blob opens but holds something else, or lies in plain where Acra has it so."""
    with closing(app.open_store(environment["KEYFS_STORE"])):
        sealer = open_sealer(Secret(canary.MASTER_KEY))
        blob = sealer.seal(Secret(canary.SYMMETRIC + b"x"), b"alice")
        (tmp_path / "keys/alice_storage_sym").write_bytes(blob)
        (tmp_path / "keys/alice_storage").write_bytes(
            sealer.seal(Secret(flipped(canary.PRIVATE, 8)), b"alice")
        )
        (tmp_path / "keys/alice_hmac").write_bytes(blob[:-1])
    for words in (("check",), ("check", "--json"), *(("read", label) for label in list(KEYS)[:3])):
        assert quiet(keyfs(*words, environment=environment)).code in (1, 9)


# --- objects ---

REF = parse_key_ref("storage-sym/alice")
NODE = key_node(REF, "current", Half.SECRET)
FACTS = Facts(0o400, 32, 0)


def holders() -> dict[str, object]:
    """One of each kind of object that holds a key, or leads to one."""
    secret = Secret(canary.SYMMETRIC)
    staged = StagedWrite(33, buffer=bytearray(canary.SYMMETRIC))
    snapshot = Snapshot(Secret(canary.PRIVATE), FACTS)
    handles = Handles()
    reader = ReadHandle(NODE, 1, 1, snapshot, 0.0)
    handles.add(reader)
    return {
        "Secret": secret,
        "MasterKey": MasterKey(Secret(canary.MASTER_KEY), Secret(canary.SYMMETRIC)),
        "decoded": decode(MASTER_TEXT.encode(), "v1"),
        "StagedWrite": staged,
        "Snapshot": snapshot,
        "Opened": Opened(secret, BlobStat(76, 0, 0o600, "x")),
        "ReadHandle": reader,
        "WriteHandle": WriteHandle(NODE, staged, FACTS),
        "Handles": handles,
        "sealer": open_sealer(Secret(canary.MASTER_KEY)),
        "list": [secret, {"key": secret}],
    }


@pytest.mark.parametrize("name", holders())
def test_an_object_with_a_key_shows_only_what_it_is(name: str) -> None:
    held = holders()[name]
    shown = [repr(held), str(held), f"{held}", f"{held!a}", pprint.pformat(held), "%s %r" % (held, held)]  # noqa: UP031 - one more way
    shown += traceback.format_exception_only(MaterialCorrupt(held))
    if dataclasses.is_dataclass(held):
        shown.append(
            repr({field.name: getattr(held, field.name) for field in dataclasses.fields(held)}.keys())
        )
    assert canary.found_in("\n".join(shown)) == []


@contextmanager
def log_into(path: Path) -> Iterator[None]:
    """Sends the log to a file, and to a handler before it that formats tracebacks in its own way."""
    root, top = logging.getLogger(), logging.getLogger("keyfs")
    kept, levels = list(root.handlers), (root.level, top.level)
    root.handlers[:] = [logging.StreamHandler(StringIO())]
    logs.configure("debug", str(path))
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = kept
        root.setLevel(levels[0])
        top.setLevel(levels[1])


@pytest.mark.parametrize("name", holders())
def test_the_log_takes_no_key_from_an_object(name: str, tmp_path: Path) -> None:
    held = holders()[name]
    logger = logging.getLogger("keyfs.canary")
    with log_into(tmp_path / "log"):
        logger.info("%s and %r", held, held)
        logger.info(held)
        logs.event(logger, logging.INFO, "canary.seen", held=held, listed=[held], error=ValueError(held))
        logs.event(logger, logging.INFO, "canary.seen", exc_info=KeyError(canary.MASTER_KEY.hex(), held))
    assert (tmp_path / "log").read_text().count("canary.seen") == 2
    assert canary.found_in((tmp_path / "log").read_bytes()) == []


def test_a_secret_does_not_travel() -> None:
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Secret is not serialised"):
            travel(Secret(canary.SYMMETRIC))


def test_the_key_store_itself_shows_no_key(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACRA_MASTER_KEY", MASTER_TEXT)
    access = app.Access(environment["KEYFS_STORE"])
    keys, writer = app.open_keys(access)
    with closing(keys):
        keys.load()
        opened, version = keys.read(REF, "current", Half.SECRET)
        provider = open_provider("env:ACRA_MASTER_KEY", "v1")
        held = [
            keys,
            writer,
            keys.reader,
            keys.index,
            keys.store,
            keys.ring(REF),
            opened,
            version,
            access,
            provider,
        ]
        assert opened.material.reveal() == canary.SYMMETRIC
        assert canary.found_in("\n".join(map(repr, held)) + provider.describe()) == []
