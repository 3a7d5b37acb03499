"""The master key is changed under readers and a rotator, killed 20 times: nobody notices, nothing is lost."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyfs.testing.folders import in_memory
from keyfs.testing.mounted import run_keyfs
from keyfs.testing.redis_servers import redis_server
from keyfs.testing.rekey_scenario import Scenario, play

KILLS = 20
LOCK_LIFE_MS = 300  # nobody has to wait for 20 dead writers
scale = pytest.mark.parametrize(
    ("layout", "blobs", "kills"),
    [
        ("v1", 400, KILLS),
        ("v2", 120, 6),
        pytest.param("v1", 10_000, KILLS, marks=pytest.mark.soak),
        pytest.param("v2", 2_000, KILLS, marks=pytest.mark.soak),
    ],
)


@contextmanager
def medium(kind: str, folder: Path) -> Iterator[str]:
    """The URI of a place for a new key store."""
    if kind == "directory":
        yield f"dir:{folder / 'keys'}"
        return
    with redis_server() as server:
        yield server.unix_uri()


@scale
@pytest.mark.parametrize("kind", ["directory", "Redis"])
@pytest.mark.usefixtures("fuse_required")
def test_the_master_key_is_changed_under_readers_and_a_rotator_whatever_is_killed(
    tmp_path: Path, kind: str, layout: str, blobs: int, kills: int
) -> None:
    with in_memory(tmp_path) as folder, medium(kind, folder) as uri:
        scenario = Scenario(uri, tmp_path, blobs, kills, lock_life_ms=LOCK_LIFE_MS, layout=layout)
        outcome = play(scenario)
        assert outcome.blobs >= blobs
        assert not outcome.readings.errors
        assert outcome.readings.wrong == 0
        assert outcome.readings.reads > outcome.blobs
        assert outcome.rotations > 2
        assert (outcome.lost, outcome.left_old, outcome.moved) == (0, 0, 0)
        assert outcome.report["failed"] == {}
        settings = {"KEYFS_STORE": uri, "KEYFS_MASTER_KEY": scenario.key("new")}
        checked = run_keyfs("check", "--repair", "--json", environment=settings)
        assert json.loads(checked.stdout)["clean"], checked.stdout
        assert " error " not in (tmp_path / "daemon.log").read_text()
