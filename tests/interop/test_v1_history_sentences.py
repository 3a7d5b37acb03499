"""What is written about Acra's rotation and history, sentence by sentence, held against what keyfs does."""

import time
from pathlib import Path

import pytest
from independent_reader import STAMP, public_of
from own_store import ALL_FILES, ALL_KEYS, FILES, OwnStore, mode_of, names_in, new_store, with_history

from keyfs.app import Access, open_keys
from keyfs.broker.writer import RingWriter
from keyfs.core.names import parse_key_ref
from keyfs.core.stamps import parse_stamp

SECOND = 10**9
NEW_YEAR = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


pytest_plugins = ["own_store"]


@pytest.fixture
def store(tmp_path: Path) -> OwnStore:
    return new_store(tmp_path)


def rotations_at(store: OwnStore, key: str, moments: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Generate and rotate a key by a clock that shows these moments."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    keys, _ = open_keys(Access(store.uri))
    keys.load()
    clock = iter(moments)
    writer = RingWriter(keys, lambda: next(clock))
    writer.generate(parse_key_ref(key))
    for _ in moments[1:]:
        writer.rotate(parse_key_ref(key))
    keys.close()


def test_one_file_per_retired_version(rotated_store: OwnStore) -> None:
    """History lives in directory `F.old/`, one file per retired version; and nothing else is in the store."""
    assert [len(rotated_store.history(name)) for name in ALL_FILES] == [2] * len(ALL_FILES)
    assert names_in(rotated_store.root) == with_history(ALL_FILES, rotated_store)


def test_everything_else_lies_beside(rotated_store: OwnStore) -> None:
    """No file of its own in the store: the lock lies in D.keyfs, and nothing temporary is left anywhere."""
    assert names_in(rotated_store.beside) == {"lock", "staging/"}
    assert mode_of(rotated_store.beside) == mode_of(rotated_store.beside / "staging") == 0o700
    assert {path.name for path in rotated_store.root.parent.iterdir()} == {"keys", "keys.keyfs"}


@pytest.mark.parametrize("key", ALL_KEYS)
def test_the_retired_file_is_the_file_itself(key: str, store: OwnStore) -> None:
    """The content is the retired file's bytes. The hard link keeps the old inode and modification time."""
    store.keyfs("generate", key)
    before = [(path.read_bytes(), path.stat()) for path in (store.root / name for name in FILES[key])]
    store.keyfs("rotate", key)
    for name, (content, facts) in zip(FILES[key], before, strict=True):
        (retired,) = store.history(name)
        after = retired.stat()
        assert retired.read_bytes() == content
        assert (after.st_ino, after.st_mtime_ns, after.st_mode, after.st_nlink) == (
            facts.st_ino,
            facts.st_mtime_ns,
            facts.st_mode,
            1,
        )
        assert (store.root / name).stat().st_ino != facts.st_ino


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_the_name_is_the_time_of_retirement(zone: str, store: OwnStore) -> None:
    """Named by the UTC time of retirement, without a zone suffix, wherever the machine is."""
    store.keyfs("generate", "storage/alice", TZ=zone)
    before = time.time_ns()
    store.keyfs("rotate", "storage/alice", TZ=zone)
    after = time.time_ns()
    for name in FILES["storage/alice"]:
        (retired,) = store.history(name)
        assert STAMP.fullmatch(retired.name)
        assert before <= parse_stamp(retired.name) <= after


@pytest.mark.parametrize(
    ("fraction_ns", "label"),
    [
        (0, "2026-01-01T00:00:00"),
        (500_000_000, "2026-01-01T00:00:00.5"),
        (120_000_000, "2026-01-01T00:00:00.12"),
        (100, "2026-01-01T00:00:00.0000001"),
        (1, "2026-01-01T00:00:00.000000001"),
        (999_999_999, "2026-01-01T00:00:00.999999999"),
    ],
)
def test_the_fraction(fraction_ns: int, label: str, store: OwnStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fraction has 1-9 digits, trailing zeros removed, the whole part with its dot absent when zero."""
    rotations_at(store, "audit-log", [NEW_YEAR - 1, NEW_YEAR + fraction_ns], monkeypatch)
    assert [path.name for path in store.history("secure_log_key")] == [label]


@pytest.mark.parametrize("key", ["hmac-sym/alice", "storage/alice"])
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([0, SECOND, SECOND // 2, 0, -3600 * SECOND], id="a clock that is set back"),
        pytest.param([0, 0, 0, 0], id="a clock that stands still"),
        pytest.param([0, 100, 110, 1_000_000, 1_100_000], id="trimmed fractions"),
        pytest.param([0, 50_000, 100_000, 150_000], id="faster than the delay between the halves"),
    ],
)
def test_text_order_is_time_order(
    key: str, steps: list[int], store: OwnStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lexicographic order equals time order (also with trimmed fractions); and no rotation goes back."""
    rotations_at(store, key, [NEW_YEAR + step for step in steps], monkeypatch)
    for name in FILES[key]:
        by_name = store.history(name)
        assert len(by_name) == len(steps) - 1
        written = [path.stat().st_mtime_ns for path in by_name]
        assert written == sorted(written)
        assert len({*written, (store.root / name).stat().st_mtime_ns}) == len(steps)
        assert [path.name for path in by_name] == [
            path.name for path in sorted(by_name, key=lambda p: parse_stamp(p.name))
        ]
    store.contents()


def test_private_before_public(rotated_store: OwnStore) -> None:
    """Each half gets its own history time stamp (observed difference 0.1-0.4 ms), the private half first."""
    for private, public in (FILES["storage/alice"], FILES["poison-record"]):
        for one, other in zip(rotated_store.history(private), rotated_store.history(public), strict=True):
            assert 0 < parse_stamp(other.name) - parse_stamp(one.name) <= 400_000


def test_halves_match_by_rank(rotated_store: OwnStore) -> None:
    """Match halves by rank, and verify by deriving the public from the private."""
    found: dict[tuple[str, str, str], list[bytes]] = {}
    for key in rotated_store.contents().keys:
        found.setdefault((key.purpose, key.half, key.kind), []).append(key.plaintext)
    for purpose in ("storage", "poison-record"):
        for kind, count in (("retired", 2), ("current", 1)):
            private, public = found[purpose, "private", kind], found[purpose, "public", kind]
            assert list(map(public_of, private)) == public
            assert len(public) == count


@pytest.mark.parametrize("content", [b"", b"complete"], ids=["empty", "complete"])
def test_a_left_over_temporary(content: bytes, store: OwnStore) -> None:
    """A crash can leave a temporary file whose name looks like `alice_storage_sym7491238890363647508`."""
    store.keyfs("generate", "storage-sym/alice")
    before = store.keyfs("list")
    left = store.root / "alice_storage_sym7491238890363647508"
    left.write_bytes(content or (store.root / "alice_storage_sym").read_bytes())
    assert store.keyfs("list") == before
    store.keyfs("rotate", "storage-sym/alice")
    assert left.exists()
