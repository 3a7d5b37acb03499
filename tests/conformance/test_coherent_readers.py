"""Readers, a watcher and rotators of every kind at once: no old, no torn, no contradictory answer.

`pytest -m soak` does the same with 100,000 reads in each mode and on each medium.
"""

import json
import mmap
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from coherence_probes import fetch, key

from keyfs.core.names import parse_key_ref
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.shared_store import Mount, SharedStore, mount_of, shared_store
from keyfs.testing.waiting import wait_until
from keyfs.testing.watched import watching

READER = Path(__file__).with_name("coherent_reader.py")
LABEL = "storage-sym/alice"
READERS = 4
MODES = {"cached": (), "direct-io": ("--direct-io",)}


class Rotator:
    """Makes versions one after the other and says which was acknowledged last."""

    def __init__(self, store: SharedStore, mount: Mount, shared: Path) -> None:
        self.store = store
        self.directory = mount.path / LABEL
        self.current = self.directory / "current"
        self.number = 1
        self._shared = shared
        shared.write_bytes(bytes(8))
        self.past_the_mount()
        wait_until(self.current.exists)
        self._acknowledge()

    def by_a_write(self) -> None:
        self.current.write_bytes(key(self.number))

    def by_a_rename(self) -> None:
        (self.directory / "new").write_bytes(key(self.number))
        (self.directory / "new").rename(self.current)

    def past_the_mount(self) -> None:
        """Acknowledged is what has arrived here."""
        with self.store.opened() as (_, writer):
            writer.import_material(parse_key_ref(LABEL), key(self.number))

    def rotate(self, way: Callable[[], None]) -> None:
        self.number += 1
        way()
        if way == self.past_the_mount:
            wait_until(lambda: fetch(self.current) == key(self.number))
        self._acknowledge()

    def _acknowledge(self) -> None:
        with self._shared.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
            struct.pack_into("<Q", shared, 0, self.number)


@pytest.fixture(scope="module", params=["directory", "redis"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fuse_required: None
) -> Iterator[SharedStore]:
    place = tmp_path_factory.mktemp("coherent")
    with ExitStack() as stack:
        uri = f"dir:{place / 'keys'}"
        if request.param == "redis":
            uri = stack.enter_context(redis_server()).unix_uri()
        yield shared_store(place, uri)


def run_all(rotator: Rotator, reads: int) -> list[dict[str, Any]]:
    """All readers to their end, with rotations all the time; returns what each says."""
    times = "exact" if rotator.store.uri.startswith("dir:") else "derived"
    command = [sys.executable, READER, rotator.current, rotator._shared, str(reads), times]
    readers = [subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE) for _ in range(READERS)]
    ways = cycle((rotator.by_a_write, rotator.past_the_mount, rotator.by_a_rename))
    with watching(rotator.current) as watcher:
        while any(reader.poll() is None for reader in readers):
            rotator.rotate(next(ways))
        watcher.forget()
        rotator.rotate(rotator.past_the_mount)
        watcher.wait_for(rotator.current)
    return [json.loads(reader.communicate()[0]) for reader in readers]


def check_readers(store: SharedStore, place: Path, options: tuple[str, ...], reads: int) -> None:
    with mount_of(store, place / "mounted", *options) as mount:
        rotator = Rotator(store, mount, place / "shared")
        said = run_all(rotator, reads // READERS)
        assert [reader["wrong"] for reader in said] == [""] * READERS
        if store.uri.startswith("dir:"):  # Redis keeps no times: they follow from those of rotations
            check_times([reader["times"] for reader in said])


def check_times(of_readers: list[Any]) -> None:
    """All saw the same time with the same version, a later one with each later version."""
    times: dict[str, int] = {}
    for seen in of_readers:
        assert {number: times.setdefault(number, ns) for number, ns in seen.items()} == seen
    assert len(times) > 2
    assert [times[number] for number in sorted(times, key=int)] == sorted(times.values())


@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
def test_no_reader_is_ever_served_what_is_old_torn_or_contradictory(
    store: SharedStore, tmp_path: Path, options: tuple[str, ...]
) -> None:
    check_readers(store, tmp_path, options, 5_000)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
def test_nor_in_a_hundred_thousand_reads(
    store: SharedStore, tmp_path: Path, options: tuple[str, ...]
) -> None:
    check_readers(store, tmp_path, options, 100_000)
