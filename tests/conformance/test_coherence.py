"""What the kernel keeps is never older than what was acknowledged; and each rule that makes it so is needed.

The kernel is slow to forget here (150 ms), so that who should wait for it, and does not, is found out; and it
keeps for an hour what it is not told to forget, so that no slow machine sees something run out.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import coherence_probes as probes
import pytest
from mutated_keyfs import MUTANTS

from keyfs.testing.live import LiveStore, new_live_store
from keyfs.testing.mounted import keyfs_environment, run_keyfs

MUTATED = Path(__file__).with_name("mutated_keyfs.py")
TTL = ("--plaintext-ttl", "1h")
Probe = Callable[[LiveStore], None]

PROBES: dict[str, Probe] = {
    probe.__name__.replace("_", " "): probe
    for probe in (
        probes.a_write_is_read_once_it_is_acknowledged,
        probes.a_generated_version_is_seen_once_it_is_acknowledged,
        probes.an_open_agrees_with_its_attributes,
        probes.an_open_follows_a_change_of_the_very_moment,
        probes.what_changed_elsewhere_is_soon_seen_by_stat,
        probes.a_file_that_is_held_keeps_its_bytes,
        probes.a_key_renamed_away_is_a_copy,
        probes.a_name_removed_here_is_hidden_here_alone,
    )
}
FOUND_BY: dict[str, Probe] = {
    "other versions share the pages": probes.a_file_that_is_held_keeps_its_bytes,
    "attributes of changed files stay": probes.what_changed_elsewhere_is_soon_seen_by_stat,
    "those of their directories stay": probes.what_changed_elsewhere_is_soon_seen_by_stat,
    "opens do not wait for the kernel": probes.an_open_follows_a_change_of_the_very_moment,
    "changes are acknowledged before": probes.a_generated_version_is_seen_once_it_is_acknowledged,
    "names that move are kept": probes.a_key_renamed_away_is_a_copy,
}


@contextmanager
def mutated(place: Path, mutant: str, *options: str) -> Iterator[LiveStore]:
    """A new key store, mounted by a keyfs that lacks something."""
    store = new_live_store(place)
    log = ("--log-level", "info", "--log-file", str(store.log))
    command: list[str | Path] = [sys.executable, MUTATED, mutant, "mount", *log, *options, store.mountpoint]
    subprocess.run(command, env=keyfs_environment(store.environment), check=True, timeout=60)
    try:
        yield store
    finally:
        assert run_keyfs("umount", store.mountpoint, environment=store.environment).returncode == 0


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with mutated(tmp_path_factory.mktemp("cached"), "none", *TTL) as store:
        yield store


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory, fuse_required: None) -> Iterator[LiveStore]:
    with mutated(tmp_path_factory.mktemp("direct"), "none", "--direct-io") as store:
        yield store


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_what_the_kernel_keeps_is_what_is_true(cached: LiveStore, probe: Probe) -> None:
    probe(cached)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_where_it_keeps_nothing_it_is_so_too(direct: LiveStore, probe: Probe) -> None:
    probe(direct)


def test_each_rule_is_taken_away_once() -> None:
    assert {*FOUND_BY, "none"} == set(MUTANTS)


@pytest.mark.parametrize(("mutant", "probe"), FOUND_BY.items(), ids=FOUND_BY)
def test_without_a_rule_somebody_is_served_what_is_not_true(
    tmp_path: Path, fuse_required: None, mutant: str, probe: Probe
) -> None:
    # Waking watchers makes the kernel forget, too; on a read-only mount nobody does that.
    is_passive = probe in (
        probes.a_file_that_is_held_keeps_its_bytes,
        probes.what_changed_elsewhere_is_soon_seen_by_stat,
        probes.an_open_follows_a_change_of_the_very_moment,
    )
    options = (*TTL, "--read-only") if is_passive else TTL
    with mutated(tmp_path, mutant, *options) as store, pytest.raises(AssertionError):
        probe(store)
