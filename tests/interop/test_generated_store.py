"""A store that keyfs made, by commands and through a mount: a stranger to keyfs reads the same in it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from independent_reader import Contents, public_of
from own_store import OwnStore, names_in, new_store

from keyfs.app import Access, open_keys
from keyfs.core.names import parse_key_ref
from keyfs.testing.mounted import mounted

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = json.loads((VECTORS / "client_ids.json").read_text())["cases"]
VALID = [case["id"] for case in CASES if case["valid"] and case["rotated_on_filesystem"]]
TOO_LONG = [case["id"] for case in CASES if case["valid"] and not case["rotated_on_filesystem"]]
INVALID = [case["id"] for case in CASES if not case["valid"]]
FEW = [max(VALID, key=len), "     ", "-dash", "alice_storage"]
CLIENT_PURPOSES = ("storage", "storage-sym", "hmac-sym")
GLOBAL = ("audit-log/@global", "poison-record/@global", "poison-record-sym/@global")
PAIRS = ("storage", "poison-record")
# One made by libthemis.
PRIVATE_KEY = bytes.fromhex(
    next(
        case["hex"]
        for case in json.loads((VECTORS / "themis_keys.json").read_text())["cases"]
        if case["id"] == "libthemis-private-0"
    )
)
INVALID_NAME = 3


def material_for(ring: str) -> bytes:
    """The key that is imported into a ring."""
    is_pair = ring.partition("/")[0] in PAIRS
    return PRIVATE_KEY if is_pair else hashlib.sha256(ring.encode()).digest()


def generate_all(store: OwnStore, rings: Iterable[str]) -> None:
    """As the command does, but in this process: there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACRA_MASTER_KEY", store.environment["ACRA_MASTER_KEY"])
        keys, writer = open_keys(Access(store.uri))
    keys.load()
    for ring in rings:
        writer.generate(parse_key_ref(ring))
    keys.close()


@dataclass(frozen=True)
class Made:
    """A store with three versions of every key: generated, generated through the mount, imported there."""

    store: OwnStore
    rings: list[str]  # purpose/client
    shown: dict[str, bytes]  # what the mount shows, by path
    contents: Contents  # what the independent reader reads


@pytest.fixture(scope="module", params=[False, True], ids=["one directory", "two directories"])
def made(
    request: pytest.FixtureRequest, fuse_required: None, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    store = new_store(tmp_path_factory.mktemp("made"), split=request.param)
    clients = FEW if request.param else VALID
    rings = [f"{purpose}/{client}" for purpose in CLIENT_PURPOSES for client in clients]
    rings += GLOBAL
    by_command = [ring for ring in rings if ring.partition("/")[2] in (*FEW, "@global")]
    for ring in by_command:
        store.keyfs("generate", ring)
    generate_all(store, [ring for ring in rings if ring not in by_command])
    with mounted(store.root.parent / "mount", environment=store.environment) as mountpoint:
        for ring in rings:
            (mountpoint / ring / "rotate").write_bytes(b"1")
            (mountpoint / ring / "current").write_bytes(material_for(ring))
        shown = {
            str(path.relative_to(mountpoint)): path.read_bytes()
            for ring in rings
            for path in (mountpoint / ring).iterdir()
            if path.name != "rotate"
        }
    return Made(store, rings, shown, store.contents())


def test_the_independent_reader_reads_what_the_mount_shows(made: Made) -> None:
    read = {
        f"{purpose}/{client or '@global'}/{label}{'.pub' if half == 'public' else ''}": content
        for (purpose, client, half, label), content in made.contents.by_label().items()
    }
    assert read == made.shown
    assert not made.contents.ignored


def test_every_key_has_three_versions(made: Made) -> None:
    for ring in made.rings:
        labels = {path.rpartition("/")[2] for path in made.shown if path.startswith(f"{ring}/")}
        private = {label for label in labels if not label.endswith(".pub")}
        assert len(private) == 3, ring
        is_pair = ring.partition("/")[0] in PAIRS
        assert labels == private | ({f"{label}.pub" for label in private} if is_pair else set()), ring


def test_what_was_written_to_current_is_the_key(made: Made) -> None:
    for ring in made.rings:
        assert made.shown[f"{ring}/current"] == material_for(ring), ring
        if f"{ring}/current.pub" in made.shown:
            assert made.shown[f"{ring}/current.pub"] == public_of(PRIVATE_KEY), ring


def test_generated_keys_are_all_different(made: Made) -> None:
    generated = [content for path, content in made.shown.items() if "/current" not in path]
    assert len(set(generated)) == len(generated)


def test_read_gives_what_the_mount_shows(made: Made) -> None:
    longest = max(VALID, key=len)
    paths = [
        path
        for path in made.shown
        if longest in path
        or path.startswith("audit-log")
        or (path.startswith("storage/") and "/current" in path)
    ]
    assert [made.store.keyfs("read", path) for path in paths] == [made.shown[path] for path in paths]


def test_the_inventory_is_complete(made: Made) -> None:
    rows = json.loads(made.store.keyfs("list", "--versions", "--json"))
    listed = [
        f"{row['purpose']}/{row['client'] or '@global'}/{row['version']}{'.pub' if row['public'] else ''}"
        for row in rows
    ]
    assert sorted(listed) == sorted(made.shown)


def test_check_finds_it_clean(made: Made) -> None:
    assert made.store.findings() == []


# --- what is no client id, or too long a one ---


@pytest.fixture
def empty(tmp_path: Path) -> OwnStore:
    return new_store(tmp_path)


@pytest.mark.parametrize("client", INVALID, ids=repr)
def test_an_invalid_client_id_is_refused_and_nothing_written(client: str, empty: OwnStore) -> None:
    for command in ("generate", "rotate", "read"):
        code, _ = empty.refusal(command, f"storage/{client}")
        assert code == INVALID_NAME
    assert names_in(empty.root.parent) == {"keys/"}


@pytest.mark.usefixtures("fuse_required")
def test_a_mount_has_no_place_for_an_invalid_client_id(empty: OwnStore) -> None:
    with mounted(empty.root.parent / "mount", environment=empty.environment) as mountpoint:
        for client in INVALID:
            path = mountpoint / "storage" / client / "current"
            with pytest.raises(OSError, match=r"No such file|Permission denied|name too long"):
                path.write_bytes(PRIVATE_KEY)
    assert names_in(empty.root) == set()


@pytest.mark.parametrize(
    ("purpose", "longest"), [("storage", 233), ("storage-sym", 233), ("hmac-sym", 240)], ids=str
)
def test_a_client_id_that_acra_could_not_rotate_is_refused_before_anything_is_written(
    purpose: str, longest: int, empty: OwnStore
) -> None:
    """File name and up to ten random digits have to fit in 255 bytes."""
    for length in sorted({longest + 1, 243, 256, *map(len, TOO_LONG)}):
        code, line = empty.refusal("generate", f"{purpose}/{'a' * length}")
        assert code == INVALID_NAME
        assert f"client id of {length} bytes is too long" in line
        assert f"at most {longest}" in line
    assert names_in(empty.root.parent) == {"keys/"}
    empty.keyfs("generate", f"{purpose}/{'a' * longest}")
    empty.keyfs("rotate", f"{purpose}/{'a' * longest}")
    assert {key.kind for key in empty.contents().keys} == {"current", "retired"}


def test_a_client_id_has_at_most_256_bytes(empty: OwnStore) -> None:
    code, line = empty.refusal("generate", f"storage/{'a' * 257}")
    assert code == INVALID_NAME
    assert "5 to 256" in line
