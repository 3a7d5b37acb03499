"""A key store that was copied with a half-done rotation in it: what was a hard link is a file of its own."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core.names import Half, KeyRef, parse_key_ref
from keyfs.core.secret import Secret
from keyfs.layout.v1 import LayoutV1
from keyfs.seal.protection import Protections
from keyfs.seal.pure import PureSealer
from keyfs.store.directory import DirectoryStore

KEY = parse_key_ref("storage-sym/alice")
PAIR = parse_key_ref("storage/alice")
STAMP = "2030-01-01T00:00:00.123456789"
LATER = "2030-01-01T00:00:00.12356"


class Stop(Exception):
    """The process dies here."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    with closing(opened(root)) as keys:
        writer = RingWriter(keys)
        for ref in (KEY, PAIR):
            writer.generate(ref)
            writer.rotate(ref)
    return root


def opened(root: Path) -> KeyStore:
    keys = KeyStore(DirectoryStore(root), LayoutV1(), Protections.under(PureSealer(Secret(b"m" * 32))))
    keys.load()
    return keys


@pytest.fixture
def keys(root: Path) -> Iterator[KeyStore]:
    with closing(opened(root)) as keys:
        yield keys


def copy(root: Path, name: str, stamp: str) -> None:
    """As `cp -r` leaves what was a second name: other file, same bytes, same time."""
    shutil.copy2(root / name, root / f"{name}.old" / stamp)


def versions(keys: KeyStore, ref: KeyRef) -> list[bytes]:
    return [keys.read(ref, v.id, Half.SECRET)[0].material.reveal() for v in keys.ring(ref).versions]


@pytest.mark.parametrize(
    ("ref", "names"),
    [
        (KEY, {"alice_storage_sym": STAMP}),
        (PAIR, {"alice_storage": STAMP}),
        (PAIR, {"alice_storage": STAMP, "alice_storage.pub": LATER}),
    ],
)
def test_a_copied_half_done_rotation_is_named_and_mended(
    root: Path, keys: KeyStore, ref: KeyRef, names: dict[str, str]
) -> None:
    """No version is lost by that, and no byte: what was there twice lies beside the store."""
    before = versions(keys, ref)
    for name, stamp in names.items():
        copy(root, name, stamp)
    keys.load()
    assert versions(keys, ref) == [*before, before[-1]]
    found = {(finding.code, finding.where) for finding in check(keys).findings}
    assert found == {("half-done", f"{name}.old/{stamp}") for name, stamp in names.items()}
    assert check(keys, RingWriter(keys)).is_clean
    keys.load()
    assert not check(keys).findings
    assert versions(keys, ref) == before
    aside = [path for path in (root.with_name("keys.keyfs") / "set-aside").rglob("*") if path.is_file()]
    assert {path.read_bytes() for path in aside} == {(root / name).read_bytes() for name in names}


def test_an_old_version_that_was_made_current_again_is_none(root: Path, keys: KeyStore) -> None:
    """Its bytes are there twice, and both are versions: there is another one between them."""
    oldest, current = versions(keys, KEY)
    [old] = (root / "alice_storage_sym.old").iterdir()
    copy(root, "alice_storage_sym", STAMP)
    shutil.copy2(old, root / "alice_storage_sym")
    keys.load()
    assert versions(keys, KEY) == [oldest, current, oldest]
    assert not check(keys).findings


def copy_of_retired(root: Path, name: str, stamp: str) -> None:
    """As an archive that came late, when somebody else had archived the same."""
    [retired] = (root / f"{name}.old").iterdir()
    shutil.copy2(retired, root / f"{name}.old" / stamp)


EARLIER, JUST_AFTER = "2020-01-01T00:00:00.1", "2020-01-01T00:00:00.1001"


@pytest.mark.parametrize(
    ("ref", "names", "gone"),
    [
        (KEY, {"alice_storage_sym": EARLIER}, {f"alice_storage_sym.old/{EARLIER}"}),
        (PAIR, {"alice_storage": EARLIER}, {f"alice_storage.old/{EARLIER}"}),
        (
            PAIR,
            {"alice_storage": EARLIER, "alice_storage.pub": JUST_AFTER},
            {f"alice_storage.old/{EARLIER}", f"alice_storage.pub.old/{JUST_AFTER}"},
        ),
    ],
)
def test_an_archive_that_came_late_is_named_and_mended(
    root: Path, keys: KeyStore, ref: KeyRef, names: dict[str, str], gone: set[str]
) -> None:
    before = versions(keys, ref)
    for name, stamp in names.items():
        copy_of_retired(root, name, stamp)
    keys.load()
    assert versions(keys, ref) == [before[0], *before]
    assert {(finding.code, finding.where) for finding in check(keys, settle_s=0).findings} == {
        ("half-done", where) for where in gone
    }
    assert check(keys, RingWriter(keys), settle_s=0).is_clean
    keys.load()
    assert not check(keys, settle_s=0).findings
    assert versions(keys, ref) == before


def test_of_two_that_are_one_the_whole_one_stays(root: Path, keys: KeyStore) -> None:
    """Its public half is the only one."""
    before = versions(keys, PAIR)
    copy_of_retired(root, "alice_storage", LATER)
    keys.load()
    assert check(keys, RingWriter(keys), settle_s=0).is_clean
    keys.load()
    assert versions(keys, PAIR) == before
    retired = keys.ring(PAIR).versions[0]
    assert retired.public is not None
    assert keys.reader.stored_matches(PAIR, retired)
