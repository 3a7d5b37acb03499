"""What crashes leave in a key store is known for what it is, and moved out of it whole, wherever that is."""

import itertools
import os
import threading
import time
from pathlib import Path

import pytest
from dying import (
    MASTER,
    Place,
    assert_clean,
    assert_mends,
    assert_survived,
    beside,
    die_at,
    mounted_tmpfs,
    new_place,
    refused_by_acra,
    values,
)

from keyfs.broker.check import check
from keyfs.broker.keystore import KeyStore
from keyfs.broker.writer import RingWriter
from keyfs.core import purposes as p
from keyfs.core.names import KeyRef
from keyfs.core.secret import Secret
from keyfs.layout.v1 import LayoutV1
from keyfs.layout.v1_names import is_public
from keyfs.seal.protection import Protections
from keyfs.seal.registry import open_sealer
from keyfs.store.directory import DirectoryStore

PAIR = KeyRef(p.STORAGE, "alice")
POISON = KeyRef(p.POISON_RECORD, None)
SYMMETRIC = KeyRef(p.STORAGE_SYM, "alice")
# The longest id whose file names Acra can still lengthen by ten digits.
LONG = KeyRef(p.STORAGE, "x" * (255 - 10 - len("_storage.pub")))
FIRST_SWITCH = 8  # of a pair that has been rotated before: everything is archived, nothing switched
LEFT_OVER = "alice_storage_sym7491238890"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "keys").mkdir(0o700)
    return Place(tmp_path / "keys")


def set_aside(place: Place) -> dict[str, bytes]:
    """By their names in the key store."""
    folder = beside(place) / "set-aside"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {"/".join(path.relative_to(folder).parts[1:]): path.read_bytes() for path in files}


# --- a key store that is a mount of its own: new files are staged inside ---


@pytest.mark.parametrize(
    ("ref", "layout", "least_steps"),
    [(PAIR, "v1", 12), (POISON, "v1", 6), (SYMMETRIC, "v1", 7), (PAIR, "v2", 4), (POISON, "v2", 4)],
    ids=str,
)
def test_a_change_that_dies_in_a_store_that_is_a_mount_leaves_nothing_for_long(
    tmp_path: Path, ref: KeyRef, layout: str, least_steps: int
) -> None:
    root = tmp_path / "keys"
    root.mkdir()
    change = (lambda _k, w: w.generate(ref)) if ref is POISON else (lambda _k, w: w.rotate(ref))
    inside = 0
    for step in itertools.count():
        with mounted_tmpfs(root):
            place = new_place(root, layout)
            if ref is not POISON:
                place.open()[1].generate(ref)
            before = values(place.open()[0], ref)
            death = die_at(step, place, change)
            inside += bool(refused_by_acra(place))
            assert_survived(place, ref, before)
            place.open()[1].generate(KeyRef(p.HMAC_SYM, "the-next"))
            assert not refused_by_acra(place), "the next writer leaves it there"
            assert_mends(place, ref)
        if not death.was_killed:
            assert len(death.steps) >= least_steps
            assert inside >= (2 if layout == "v1" else 1), "nothing was staged inside"
            return


@pytest.mark.parametrize("is_mount", [True, False], ids=["store is a mount", "store is a directory"])
def test_a_repair_moves_what_is_left_over_out_of_the_store(tmp_path: Path, is_mount: bool) -> None:
    root = tmp_path / "keys"
    root.mkdir(0o700)
    with mounted_tmpfs(root, is_mount=is_mount):
        place = Place(root)
        place.open()[1].generate(PAIR)
        place.open()[1].rotate(PAIR)
        die_at(FIRST_SWITCH, place, lambda _keys, writer: writer.rotate(PAIR))
        (root / LEFT_OVER).write_bytes(b"left over")
        orphans = place.open()[0].ring(PAIR).orphans
        contents = {name: (root / name).read_bytes() for name in (*orphans, LEFT_OVER)}
        assert len(contents) == 3
        assert_mends(place, PAIR)
        assert set_aside(place) == contents


def test_a_repair_has_room_for_the_longest_names(place: Place) -> None:
    place.open()[1].generate(LONG)
    die_at(FIRST_SWITCH, place, lambda _keys, writer: writer.rotate(LONG))
    left_over = f"{LONG.client}_storage.pub1234567890"
    (place.root / left_over).write_bytes(b"left over")
    assert_mends(place, LONG)
    aside = set_aside(place)
    assert aside[left_over] == b"left over"
    assert len(aside) == 3


def test_a_repair_in_the_legacy_view_does_what_it_says(place: Place) -> None:
    """There, a left-over's name is also that of a key which an old program could have made."""
    (place.root / LEFT_OVER).write_bytes(b"left over")
    store = DirectoryStore(place.root, None, is_public)
    keys = KeyStore(store, LayoutV1(legacy=True), Protections.under(open_sealer(Secret(MASTER))))
    keys.load()
    report = check(keys, RingWriter(keys), settle_s=0)
    assert [finding.code for finding in report.findings] == ["left-over"]
    assert report.is_clean
    assert set_aside(place) == {LEFT_OVER: b"left over"}
    assert_clean(place)


# --- what is young may be alive ---


@pytest.mark.parametrize("with_repair", [True, False])
def test_a_temporary_file_that_goes_away_was_none_of_ours(place: Place, with_repair: bool) -> None:
    temporary = place.root / LEFT_OVER
    temporary.touch()
    keys, writer = place.open()
    removal = threading.Timer(0.1, temporary.unlink)
    removal.start()
    report = check(keys, writer if with_repair else None, settle_s=10)
    removal.join()
    assert not report.findings
    assert not set_aside(place)


def test_a_rotation_that_gets_on_is_no_finding(place: Place) -> None:
    place.open()[1].generate(PAIR)
    die_at(FIRST_SWITCH, place, lambda _keys, writer: writer.rotate(PAIR))
    keys, _ = place.open()
    assert len(keys.ring(PAIR).orphans) == 2
    completion = threading.Timer(0.1, lambda: place.open()[1].rotate(PAIR))
    completion.start()
    report = check(keys, settle_s=10)
    completion.join()
    assert not report.findings


@pytest.mark.parametrize("age_s", [0, 100])
def test_a_check_waits_only_for_what_is_young(place: Place, age_s: int) -> None:
    temporary = place.root / LEFT_OVER
    temporary.touch()
    written_ns = time.time_ns() - age_s * 10**9
    os.utime(temporary, ns=(written_ns, written_ns))
    begin = time.monotonic()
    assert [finding.code for finding in check(place.open()[0], settle_s=0.3).findings] == ["left-over"]
    assert (time.monotonic() - begin >= 0.25) == (age_s == 0)
